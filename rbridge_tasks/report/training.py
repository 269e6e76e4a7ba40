"""Section: the headline metric over training, a chart for each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import pandas as pd

from rbridge_tasks.charts.intervals import IntervalRow
from rbridge_tasks.charts.lines import Series
from rbridge_tasks.charts.page_charts import interval_chart, line_chart
from rbridge_tasks.charts.style import LOOKS
from rbridge_tasks.charts.texts import number_text
from rbridge_tasks.report.elements import Cell, PageSection, PageTable, Panel, count, interval, number, whole
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import RunLine, room, thinned
from rbridge_tasks.tables.catalogue import axis_label
from rbridge_tasks.tables.directions import bounds_of
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

_MOST_DOTS = 12  # rows of a chart of runs with one checkpoint each

Parts = list[tuple[RunLine, pd.DataFrame]]


def training_section(inputs: Inputs, lines: Sequence[RunLine]) -> PageSection:
    """Scores over training tokens with their intervals, runs as lines."""
    metric, rows = inputs.metric, inputs.headline
    benchmarks = [*dict.fromkeys(rows["benchmark"])]
    most = room(len(lines), len(benchmarks))
    panels = [
        _panel(f"training-{place}", rows[rows["benchmark"] == name], lines, inputs, most)
        for place, name in enumerate(benchmarks)
    ]
    return PageSection(
        key="training",
        title="Scores over training",
        lede=(
            f"{axis_label(metric.name)} of each run as it trained; {inputs.way}. Bars and bands are "
            f"{inputs.level_text} intervals from the standard error over traces: they say how far another sample of "
            "traces of the same kind might move the score, not another seed of the same training."
        ),
        panels=[panel for panel in panels if panel is not None],
        notes=_notes(inputs, lines, most),
        missing="" if any(panels) else "Nothing to draw.",
    )


def _notes(inputs: Inputs, lines: Sequence[RunLine], most: int) -> list[str]:
    """Notes on what the charts leave out."""
    rows = inputs.headline
    notes = []
    if unknown := int(rows["tokens"].isna().sum()):
        notes.append(
            f"{counted(unknown, 'score')} of unknown training tokens: not on the charts over training. "
            "rbridge collect --runs TABLE can give them."
        )
    drawn = [line for line in lines if not line.of(rows).empty]
    grey = sum(line.look is None for line in drawn)
    over_training = rows.duplicated(["benchmark", "run", "params"]).any()
    if not over_training and len(drawn) > _MOST_DOTS:
        notes.append(
            f"No run has a second checkpoint of one size: the best {_MOST_DOTS} of {len(drawn)} are drawn. Every value "
            "is in the table of every metric."
        )
    elif grey and over_training:
        notes.append(
            f"{counted(grey, 'run')} beyond the best {LOOKS} drawn in grey, without intervals; every last "
            "value is in the table of every metric."
        )
    longest = int(rows.groupby(["benchmark", "run", "params"], dropna=False).size().max())
    if longest > most:
        notes.append(f"Charts and their tables show {most} checkpoints of a run, evenly spaced, of up to {longest}.")
    without = [name for name in inputs.benchmarks if name not in set(rows["benchmark"])]
    if without:
        more = " and others" if len(without) > 8 else ""
        notes.append(f"No {inputs.metric.name} of {', '.join(without[:8])}{more}.")
    return notes


def _panel(key: str, rows: pd.DataFrame, lines: Sequence[RunLine], inputs: Inputs, most: int) -> Panel | None:
    benchmark, metric = str(rows["benchmark"].iloc[0]), inputs.metric
    errors = NormalDist().inv_cdf(0.5 + inputs.level / 2)  # standard errors from the middle to an end
    rows = rows.assign(low=rows["value"] - errors * rows["stderr"], high=rows["value"] + errors * rows["stderr"])
    parts = [(line, part) for line in lines if len(part := thinned(line.of(rows), most))]
    if all(len(part) == 1 for _, part in parts):
        parts = parts[:_MOST_DOTS]
        subtitle, chart = f"{metric.name}, one checkpoint each", _dots(key, benchmark, parts, inputs)
    else:
        subtitle, chart = f"{metric.name}, {inputs.way}", _lines(key, benchmark, parts, rows, inputs)
    return Panel(benchmark, subtitle, chart, _table(benchmark, parts, inputs)) if chart else None


def _lines(key: str, benchmark: str, parts: Parts, rows: pd.DataFrame, inputs: Inputs) -> str:
    drawn = []
    for line, part in parts:
        known = part[part["tokens"].notna()]
        if len(known):
            drawn.append(Series.of_rows(line.name, line.look, known[["tokens", "value", "low", "high"]].to_numpy()))
    if not drawn:
        return ""
    name = inputs.metric.name
    return line_chart(
        key,
        drawn,
        title=f"{name} of {benchmark} over training",
        description=" ".join(_in_words(line) for line in drawn if line.look is not None),
        bounds=bounds_of(name, rows["value"].tolist()),
    )


def _dots(key: str, benchmark: str, parts: Parts, inputs: Inputs) -> str:
    rows = []
    for line, part in parts:
        value, low, high = part[["value", "low", "high"]].iloc[0].tolist()
        rows.append(IntervalRow.of_look(line.name, value, low, high, line.look))
    return interval_chart(
        key,
        rows,
        title=f"{inputs.metric.name} of {benchmark}",
        description=" ".join(f"{row.name}: {number_text(row.value)}." for row in rows),
        x_name=f"{axis_label(inputs.metric.name)}, {inputs.way}",
    )


def _table(benchmark: str, parts: Parts, inputs: Inputs) -> PageTable:
    name = inputs.metric.name
    rows = [
        [
            Cell(line.name),
            count(row["tokens"]),
            number(row["value"]),
            interval(row["low"], row["high"], "b"),
            number(row["stderr"], "b"),
            whole(row["n"]),
        ]
        for line, part in parts
        if line.look is not None or len(parts) == 1
        for row in part.to_dict("records")
    ]
    return PageTable(
        caption=f"{name} of {benchmark} by run and checkpoint",
        columns=["run", "tokens", name, f"{inputs.level_text} interval", "standard error", "n"],
        rows=rows,
        headers=2,
        folded="Numbers of this chart",
    )


def _in_words(line: Series) -> str:
    first, last = line.y[0], line.y[-1]
    if len(line.y) == 1:
        return f"{line.name}: {number_text(last)} at {count_text(line.x[-1])} tokens."
    return (
        f"{line.name}: from {number_text(first)} at {count_text(line.x[0])} tokens to {number_text(last)} at "
        f"{count_text(line.x[-1])}."
    )
