"""The runs of a score table as lines along training, and the look that each keeps through the page."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rbridge_tasks.charts.style import LOOKS
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.sizes import count_text

_MOST_POINTS = 1800  # on all charts of one kind together


@dataclass(frozen=True)
class RunLine:
    """A run of one size, or a run of unknown size.

    Attributes:
        run, params: identify it; params is NaN where unknown.
        name: for people, with the size where the run has several.
        look: from 0 to ``LOOKS`` - 1, or None for those drawn in grey behind the others.
    """

    run: str
    params: float
    name: str
    look: int | None

    @property
    def key(self) -> tuple[str, str]:
        """Run and size, to look it up by; NaN equals NaN here."""
        return self.run, repr(self.params)

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows, in order of tokens, unknown tokens last."""
        same = rows["params"].isna() if math.isnan(self.params) else rows["params"] == self.params
        return rows[(rows["run"] == self.run) & same].sort_values("tokens", kind="stable")

    def along(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows along training: those of known tokens, in order; where none is known, all as they stand."""
        rows = self.of(rows)
        known = rows[rows["tokens"].notna()]
        return rows if known.empty else known


def lines_of(scores: pd.DataFrame, metric: Metric) -> list[RunLine]:
    """The lines of a metric, the best first: by their mean rank over benchmarks at their last checkpoints.

    Args:
        scores: a checked score table.
        metric: decides the order; runs without it come after the others, in the order of the table.
    """
    ranks = _mean_ranks(scores[scores["metric"] == metric.name], metric)
    sizes = Counter(run for run, _ in ranks)
    pairs = scores[["run", "params"]].drop_duplicates().itertuples(index=False)
    keys = sorted(
        ((str(run), float(size)) for run, size in pairs), key=lambda key: ranks.get((key[0], repr(key[1])), math.inf)
    )
    lines = []
    for place, (run, params) in enumerate(keys):
        alone = sizes[run] == 1 and (run, repr(params)) in ranks
        name = run if alone or math.isnan(params) else f"{run} {count_text(params)}"
        lines.append(RunLine(run, params, name, place if place < min(LOOKS, len(ranks)) else None))
    return lines


def _mean_ranks(rows: pd.DataFrame, metric: Metric) -> dict[tuple[str, str], float]:
    """Mean over benchmarks of the rank at the last checkpoint, by run and size."""
    columns = ["benchmark", "run", "params"]
    last = (
        rows.sort_values("tokens", kind="stable", na_position="first")
        .groupby(columns, dropna=False, sort=False)
        .tail(1)
    )
    place = last.groupby("benchmark")["value"].rank(ascending=metric.lower_is_better)
    ranks: dict[tuple[str, str], list[float]] = {}
    for run, params, rank in zip(last["run"], last["params"], place, strict=True):
        ranks.setdefault((run, repr(params)), []).append(float(rank))
    return {key: sum(values) / len(values) for key, values in ranks.items()}


def room(lines: int, charts: int) -> int:
    """Number of checkpoints of a line that the page has room for.

    Args:
        lines: on a chart; those drawn in grey cost next to nothing.
        charts: of one kind.
    """
    return min(100, max(12, _MOST_POINTS // max(1, min(lines, LOOKS) * charts)))


def thinned(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly spaced, with the first and the last.

    Args:
        rows: in order.
        most: at least 2.
    """
    if len(rows) <= most:
        return rows
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
