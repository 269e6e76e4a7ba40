"""Candidates in order: scores and ranks with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_tasks.charts.intervals import IntervalRow, draw_intervals
from rbridge_tasks.charts.style import look, new_panels, save
from rbridge_tasks.tables.catalogue import axis_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.size_ranking import SizeRanking


@look()
def draw_ranks(rankings: Sequence[SizeRanking], path: str | Path | None = None, *, level: float) -> Figure:
    """Draw each ranking in a row of two panels, scores beside ranks, the best candidate on top.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    longest = max(len(ranking.candidates.runs) for ranking in rankings)
    figure, panels = new_panels(8.0, len(rankings) * (1.2 + 0.22 * longest), rows=len(rankings), columns=2)
    for ranking, left, right in zip(rankings, panels[::2], panels[1::2], strict=True):
        candidates, summary = ranking.candidates, ranking.summary
        names = [candidates.runs[at] for at in summary.order]
        scores = zip(names, candidates.value[summary.order].tolist(), *ranking.score_interval, strict=True)
        draw_intervals(left, [IntervalRow(*row) for row in scores])
        left.set_xlabel(f"{axis_label(candidates.metric.name)}, {candidates.metric.better} is better")
        left.set_title(f"{candidates.benchmark}, {candidates.size}")
        ranks = zip(summary.rank, *summary.rank_interval, strict=True)
        draw_intervals(right, [IntervalRow("", *row) for row in ranks])
        right.set_xlabel(f"rank, with {100 * level:g} % interval")
        right.set_xlim(0.5, len(names) + 0.5)
    return save(figure, path)
