"""Section: the headline metric over training, a chart for each benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from rbridge_tasks.charts.chart_parts import Chart
from rbridge_tasks.charts.interval_charts import interval_chart
from rbridge_tasks.charts.line_charts import Series, line_chart
from rbridge_tasks.report.cells import Cell, count, interval_text, number, number_text, whole
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import LOOKS, Line, room, thinned
from rbridge_tasks.report.sections import Panel, Section, Table
from rbridge_tasks.tables.catalogue import axis_label
from rbridge_tasks.tables.directions import Metric, bounds_of
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

_MOST_DOTS = 12  # rows of a chart of runs with one checkpoint each


def training_section(inputs: Inputs, lines: Sequence[Line]) -> Section:
    """Scores over training tokens with their intervals, runs as lines."""
    metric, rows = inputs.metric, inputs.headline
    ends = NormalDist().inv_cdf(0.5 + inputs.level / 2)
    benchmarks = [*dict.fromkeys(rows["benchmark"])]
    most = room(len(lines), len(benchmarks))
    panels = [
        _panel(f"training-{at}", rows[rows["benchmark"] == name], metric, lines, ends, inputs, most)
        for at, name in enumerate(benchmarks)
    ]
    notes = []
    unknown = int(rows["tokens"].isna().sum())
    if unknown:
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
    without = [name for name in inputs.benchmarks if name not in benchmarks]
    if without:
        notes.append(f"No {metric.name} of {', '.join(without[:8])}{' and others' if len(without) > 8 else ''}.")
    return Section(
        key="training",
        title="Scores over training",
        lede=(
            f"{axis_label(metric.name)} of each run as it trained; {_way(metric)}. Bars and bands are "
            f"{inputs.level_text} intervals from the standard error over traces: they say how far another sample of "
            "traces of the same kind might move the score, not another seed of the same training."
        ),
        panels=[panel for panel in panels if panel is not None],
        notes=notes,
        missing="" if any(panels) else "Nothing to draw.",
    )


def _panel(
    key: str, rows: pd.DataFrame, metric: Metric, lines: Sequence[Line], ends: float, inputs: Inputs, most: int
) -> Panel | None:
    benchmark = str(rows["benchmark"].iloc[0])
    parts = [(line, thinned(line.of(rows), most)) for line in lines]
    parts = [(line, part) for line, part in parts if len(part)]
    if all(len(part) == 1 for _, part in parts):
        parts = parts[:_MOST_DOTS]
        chart = _dots(key, benchmark, parts, metric, ends)
        subtitle = f"{metric.name}, one checkpoint each"
    else:
        drawn = [_series(line, part[part["tokens"].notna()], ends) for line, part in parts]
        drawn = [one for one in drawn if len(one.x)]
        if not drawn:
            return None
        bounds = bounds_of(metric.name, rows["value"].tolist())
        chart = line_chart(
            key,
            drawn,
            title=f"{metric.name} of {benchmark} over training",
            description=" ".join(_in_words(one) for one in drawn if one.look is not None),
            bounds=bounds,
        )
        subtitle = f"{metric.name}, {_way(metric)}"
    return Panel(benchmark, subtitle, chart, _table(benchmark, parts, metric, ends, inputs.level_text))


def _series(line: Line, part: pd.DataFrame, ends: float) -> Series:
    x, y, stderr = (part[name].to_numpy(np.float64) for name in ("tokens", "value", "stderr"))
    return Series(line.name, line.look, x, y, y - ends * stderr, y + ends * stderr)


def _dots(key: str, benchmark: str, parts: Sequence[tuple[Line, pd.DataFrame]], metric: Metric, ends: float) -> Chart:
    rows = []
    for line, part in parts:
        value, stderr = float(part["value"].iloc[0]), float(part["stderr"].iloc[0])
        rows.append((line.name, line.look, value, value - ends * stderr, value + ends * stderr))
    return interval_chart(
        key,
        rows,
        title=f"{metric.name} of {benchmark}",
        description=" ".join(f"{name}: {number_text(value)}." for name, _, value, _, _ in rows),
        x_name=f"{axis_label(metric.name)}, {_way(metric)}",
    )


def _table(
    benchmark: str, parts: Sequence[tuple[Line, pd.DataFrame]], metric: Metric, ends: float, level: str
) -> Table:
    rows = []
    for line, part in parts:
        if line.look is None and len(parts) > 1:
            continue
        for tokens, value, stderr, n in zip(*(part[name] for name in ("tokens", "value", "stderr", "n")), strict=True):
            interval = Cell("–", None, "b")
            if not math.isnan(stderr):
                interval = Cell(interval_text(value - ends * stderr, value + ends * stderr))
            rows.append([Cell(line.name), count(tokens), number(value), interval, number(stderr, "b"), whole(n)])
    return Table(
        caption=f"{metric.name} of {benchmark} by run and checkpoint",
        columns=["run", "tokens", metric.name, f"{level} interval", "standard error", "n"],
        rows=rows,
        headers=2,
        folded="Numbers of this chart",
    )


def _in_words(one: Series) -> str:
    first, last = one.y[0], one.y[-1]
    if len(one.y) == 1:
        return f"{one.name}: {number_text(last)} at {count_text(one.x[-1])} tokens."
    return (
        f"{one.name}: from {number_text(first)} at {count_text(one.x[0])} tokens to {number_text(last)} at "
        f"{count_text(one.x[-1])}."
    )


def _way(metric: Metric) -> str:
    return f"{'lower' if metric.lower_is_better else 'higher'} is better"
