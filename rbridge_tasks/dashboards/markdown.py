"""Scores as Markdown tables, for a pull request or a wiki: one table for each metric, one column a benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from rbridge_tasks.dashboards.histories import dashboard_name
from rbridge_tasks.tables.directions import DirectionError, Metric, metric_called
from rbridge_tasks.tables.sizes import count_text

_DIGITS = 4  # significant ones of a score


def as_markdown(table: pd.DataFrame) -> str:
    """A checked score table as Markdown; the best score of each column is bold, an arrow says which way is better.

    >>> row = {"run": "a", "model": "m", "params": 1e9, "benchmark": "gsm8k", "metric": "acc", "stderr": 0.01}
    >>> print(as_markdown(pd.DataFrame([row | {"tokens": 1e9, "value": 0.2}, row | {"tokens": 2e9, "value": 0.3}])))
    ### acc ↑
    <BLANKLINE>
    | run | tokens | gsm8k |
    |---|--:|--:|
    | a-1B | 1B | 0.2000 ± 0.01 |
    | a-1B | 2B | **0.3000 ± 0.01** |
    <BLANKLINE>
    """
    return "\n".join(_section(metric, part) for metric, part in table.groupby("metric", sort=True))


def _section(metric: str, part: pd.DataFrame) -> str:
    try:
        known: Metric | None = metric_called(metric)
    except DirectionError:
        known = None
    benchmarks = sorted(set(part["benchmark"]))
    best = {name: _best(part[part["benchmark"] == name]["value"].to_list(), known) for name in benchmarks}
    arrow = "" if known is None else " ↓" if known.lower_is_better else " ↑"
    lines = [f"### {_cell(metric)}{arrow}", "", _line(["run", "tokens", *benchmarks]), _rule(len(benchmarks))]
    rows = part.groupby(["run", "params", "tokens", "model"], dropna=False, sort=True)
    for (run, params, tokens, _), scores in rows:
        cells = {row.benchmark: _score(row.value, row.stderr, best[row.benchmark]) for row in scores.itertuples()}
        lines.append(
            _line([dashboard_name(run, params), count_text(tokens), *(cells.get(name, "") for name in benchmarks)])
        )
    return "\n".join(lines) + "\n"


def _best(values: Sequence[float], metric: Metric | None) -> float | None:
    """The best of several scores; None for a single score or an unknown direction."""
    if metric is None or len(values) < 2:
        return None
    return min(values) if metric.lower_is_better else max(values)


def _score(value: float, stderr: float, best: float | None) -> str:
    text = f"{value:#.{_DIGITS}g}".rstrip(".") + ("" if math.isnan(stderr) else f" ± {stderr:.2g}")
    return f"**{text}**" if value == best else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _rule(benchmarks: int) -> str:
    return "|---|--:|" + "--:|" * benchmarks
