"""Candidates in order, their scores and ranks with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.style import new_panels, save
from rbridge_tasks.tables.catalogue import axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rbridge_tasks.decisions.candidate_ranking import Ranking


def draw_ranks(rankings: Sequence[Ranking], path: str | Path, *, level: float) -> None:
    """Draw each ranking in a row of two panels, scores beside ranks, the best candidate on top.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    longest = max(len(ranking.candidates.runs) for ranking in rankings)
    figure, panels = new_panels(8.0, len(rankings) * (1.2 + 0.22 * longest), rows=len(rankings), columns=2)
    for ranking, left, right in zip(rankings, panels[::2], panels[1::2], strict=True):
        candidates, summary = ranking.candidates, ranking.summary
        metric = candidates.metric
        better = "lower" if metric.lower_is_better else "higher"
        _draw(left, candidates.value[summary.order], ranking.score_interval)
        left.set_xlabel(f"{axis_label(metric.name)}, {better} is better")
        left.set_yticks(range(len(candidates.runs)), [candidates.runs[at] for at in summary.order])
        left.set_title(f"{candidates.benchmark}, {candidates.size}", loc="left", fontsize=9)
        _draw(right, summary.rank, summary.rank_interval)
        right.set_xlabel(f"rank, with {100 * level:g} % interval")
        right.set_xlim(0.5, len(candidates.runs) + 0.5)
        right.set_yticks(range(len(candidates.runs)), [""] * len(candidates.runs))
    save(figure, path)


def _draw(axes: Axes, value: np.ndarray, interval: tuple[np.ndarray, np.ndarray]) -> None:
    rows = np.arange(len(value))
    low, high = interval
    axes.hlines(rows, low, high, color="0.45", linewidth=1.6)
    axes.plot(value, rows, "o", color="0.0", markersize=4.5)
    axes.set_ylim(len(value) - 0.4, -0.6)
