"""The runs of a score table as lines along training, and the look that each keeps through the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.sizes import count_text

Values = npt.NDArray[np.float64]

LOOKS = 6  # told apart by colour, dash and marker, as in rbridge_tasks.charts.style
_MOST_POINTS = 1800  # on all charts of one kind together


@dataclass(frozen=True)
class Line:
    """A run of one size, or a run of unknown size.

    Attributes:
        run, params: what tells it from others; params is NaN where unknown.
        name: for people, with the size where the run has several.
        look: from 0 to ``LOOKS`` - 1, or None for those drawn in grey behind the others.
    """

    run: str
    params: float
    name: str
    look: int | None

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows, in order of tokens, unknown tokens last."""
        same = rows["params"].isna() if math.isnan(self.params) else rows["params"] == self.params
        return rows[(rows["run"] == self.run) & same].sort_values("tokens", kind="stable")

    def along(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows along training: those of known tokens, in order; where none is known, all as they stand."""
        own = self.of(rows)
        known = own[own["tokens"].notna()]
        return own if known.empty else known


def lines_of(scores: pd.DataFrame, metric: Metric) -> list[Line]:
    """The lines of a metric, the best first: by their mean rank over benchmarks at their last checkpoints.

    Args:
        scores: a checked score table.
        metric: the one that decides the order; runs without it come after the others, in the order of the table.
    """
    order = _mean_ranks(scores[scores["metric"] == metric.name], metric)
    sizes = Counter(run for run, _ in order)
    keys = [
        (str(run), float(size)) for run, size in scores[["run", "params"]].drop_duplicates().itertuples(index=False)
    ]
    keys.sort(key=lambda key: order.get((key[0], repr(key[1])), math.inf))
    lines = []
    for at, (run, params) in enumerate(keys):
        alone = sizes[run] == 1 and (run, repr(params)) in order
        name = run if alone or math.isnan(params) else f"{run} {count_text(params)}"
        lines.append(Line(run, params, name, at if at < min(LOOKS, len(order)) else None))
    return lines


def _mean_ranks(rows: pd.DataFrame, metric: Metric) -> dict[tuple[str, str], float]:
    """Mean over benchmarks of the rank at the last checkpoint, by run and size."""
    last = rows.sort_values("tokens", kind="stable", na_position="first").groupby(
        ["benchmark", "run", "params"], dropna=False, sort=False
    )
    table = last.tail(1)
    ranks = table.groupby("benchmark")["value"].rank(ascending=metric.lower_is_better)
    found: dict[tuple[str, str], list[float]] = {}
    for run, params, rank in zip(table["run"], table["params"], ranks, strict=True):
        found.setdefault((run, repr(params)), []).append(float(rank))
    return {key: sum(values) / len(values) for key, values in found.items()}


def room(lines: int, charts: int) -> int:
    """How many checkpoints of a line a page has room for.

    Args:
        lines: on a chart; those drawn in grey cost next to nothing.
        charts: of one kind.
    """
    return min(100, max(12, _MOST_POINTS // max(1, min(lines, LOOKS) * charts)))


def thinned(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many checkpoints of a line, evenly spaced, the first and last among them.

    Args:
        rows: of one line, in order.
        most: at least 2.
    """
    if len(rows) <= most:
        return rows
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def by_look(lines: Sequence[Line]) -> Mapping[tuple[str, str], Line]:
    """Lines by run and size, to look one up from a row."""
    return {(line.run, repr(line.params)): line for line in lines}
