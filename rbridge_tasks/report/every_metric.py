"""Section: every metric of the table by benchmark: last value, change, standard error, direction, items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from rbridge_tasks.report.elements import Cell, PageSection, PageTable, change, count, dash, number, whole
from rbridge_tasks.report.inputs import HEADLINES, Inputs, known_metric
from rbridge_tasks.report.run_lines import RunLine
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.rows import counted

KEY, TITLE = "metrics", "Every metric"
_MOST_ROWS = 2400  # on the page
_OPEN_UP_TO = 60  # rows of the first table; a longer one is folded


def metrics_section(inputs: Inputs, lines: Sequence[RunLine]) -> PageSection:
    """A table for each benchmark with a row for each metric and run."""
    scores = inputs.scores
    metrics = _in_order(scores, inputs.metric)
    last = scores.drop_duplicates(["benchmark", "metric", "run", "params"])
    behind = np.cumsum([len(line.of(last)) for line in lines])  # rows of the page up to each line
    shown = [*lines][: max(1, int((behind <= _MOST_ROWS).sum()))]
    tables = [_table(name, scores[scores["benchmark"] == name], metrics, shown) for name in inputs.benchmarks]
    if len(tables[0].rows) <= _OPEN_UP_TO:
        tables[0] = replace(tables[0], opened=True)
    notes = []
    if len(shown) < len(lines):
        notes.append(
            f"Shown are {len(shown)} of {len(lines)} runs and sizes, the best first; the other values are in "
            f"{inputs.name}."
        )
    unknown = [name for name, metric in metrics.items() if metric is None]
    if unknown:
        notes.append(
            f"{counted(len(unknown), 'metric')} of unknown direction, such as {unknown[0]}: better and worse are not "
            "marked there."
        )
    return PageSection(
        KEY,
        TITLE,
        lede=(
            "The last checkpoint of each run. Change is the last value minus the first of the same run, with whether "
            "that is better. A dash is a number that is missing; the letter beside it says why, below the table."
        ),
        tables=tables,
        notes=notes,
    )


def _in_order(scores: pd.DataFrame, headline: Metric) -> dict[str, Metric | None]:
    """Metrics of the table, ours first, each with its direction."""
    names = [*dict.fromkeys(scores["metric"])]
    ours = [name for name in (headline.name, *HEADLINES) if name in names]
    return {name: known_metric(name) for name in dict.fromkeys([*ours, *names])} | {headline.name: headline}


def _table(
    benchmark: str, rows: pd.DataFrame, metrics: dict[str, Metric | None], lines: Sequence[RunLine]
) -> PageTable:
    by_metric = dict(iter(rows.groupby("metric", sort=False)))
    several = len(lines) > 1
    cells = []
    for name, metric in metrics.items():
        if name in by_metric:
            sizes = {repr(float(size)) for size in by_metric[name]["params"].unique()}
            # A size that never has the metric is no gap; a run of a size that has it is.
            shown = [line for line in lines if repr(line.params) in sizes]
            cells += [_row(line, line.along(by_metric[name]), name, metric, several) for line in shown]
    columns = ["metric", *(["run"] if several else []), "better", "last", "change", "std. error", "n", "at tokens"]
    runs = len({line.run for line in lines} & set(rows["run"]))
    names = counted(len(by_metric), "metric") + (f", {counted(runs, 'run')}" if several else "")
    caption = f"Every metric of {benchmark} at the last checkpoint"
    return PageTable(caption, columns, cells, headers=1 + several, folded=f"{benchmark}: {names}")


def _row(line: RunLine, rows: pd.DataFrame, name: str, metric: Metric | None, several: bool) -> list[Cell]:
    way = dash("d") if metric is None else Cell(metric.better)
    names = [Cell(name), *([Cell(line.name)] if several else []), way]
    if rows.empty:
        return [*names, *([dash("c")] * 5)]
    first, last = rows.iloc[0], rows.iloc[-1]
    difference = float(last["value"] - first["value"]) if len(rows) > 1 and not math.isnan(last["tokens"]) else math.nan
    cell = change(difference)
    if not cell.missing and metric is not None and difference != 0:
        better = (difference < 0) == metric.lower_is_better
        cell = cell._replace(text=f"{cell.text} {'better' if better else 'worse'}")
    return [*names, number(last["value"]), cell, number(last["stderr"], "b"), whole(last["n"]), count(last["tokens"])]
