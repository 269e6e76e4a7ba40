"""Scorers beside what chance gives, and the models in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.intervals import IntervalRow, draw_intervals
from rbridge_tasks.charts.style import GRID, INK, PAPER, SOFT, look, name_rows, new_panels, save, shared_legend

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_metrics.selection.results import ScorerTrials


@look()
def draw_selection(
    selection: ScorerTrials,
    benchmarks: Sequence[str],
    ranking: pd.DataFrame | None,
    chosen: str | None,
    path: str | Path | None = None,
) -> Figure:
    """Draw every scorer's rho on benchmarks left out over the range of chance, and beside it the ranking, if any.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    models = 0 if ranking is None else len(ranking)
    height = 1.6 + max(0.45 * len(selection.trials), 0.17 * models)
    figure, panels = new_panels(9.0 if models else 5.0, height, columns=2 if models else 1)
    _draw_trials(panels[0], selection, len(benchmarks))
    if ranking is not None and chosen is not None:
        _draw_models(panels[1], ranking, chosen)
    shared_legend(figure, columns=3)
    return save(figure, path)


@look()
def draw_ranking(ranking: pd.DataFrame, scorer: str, path: str | Path | None = None) -> Figure:
    """Draw models in order, the best on top.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    figure, panels = new_panels(5.5, 1.4 + 0.17 * len(ranking))
    _draw_models(panels[0], ranking, scorer)
    shared_legend(figure)
    return save(figure, path)


def _draw_trials(axes: Axes, selection: ScorerTrials, benchmarks: int) -> None:
    trials = selection.trials
    rows = np.arange(len(trials))
    low, high = np.array([trial.chance_interval() for trial in trials]).T
    axes.barh(rows, high - low, left=low, height=0.6, color=GRID, label="chance, middle 90 %", linewidth=0)
    for row, trial in zip(rows, trials, strict=True):
        label = "one benchmark, left out" if row == 0 else None
        axes.plot(trial.by_task, [row] * len(trial.by_task), "|", color=SOFT, markersize=9, label=label)
    axes.plot([trial.mean for trial in trials], rows, "o", color=INK, label="mean")
    axes.plot([trial.new_models for trial in trials], rows, "D", color=INK, markerfacecolor=PAPER, label="new models")
    name_rows(axes, (trial.name.replace("_", " ") for trial in trials), color=INK)
    axes.set_ylim(len(trials) - 0.4, -0.6)
    axes.set_xlabel("Spearman's rho with accuracy (-1 to 1)")
    axes.set_title(f"two of {benchmarks} benchmarks left out")
    axes.margins(x=0.08)
    axes.grid(visible=False)


def _draw_models(axes: Axes, ranking: pd.DataFrame, scorer: str) -> None:
    columns = (ranking[name] for name in ("name", "score", "stderr", "judged"))
    rows = [
        IntervalRow(
            name, score, score - error, score + error, filled=judged, label="with accuracies" if judged else "without"
        )
        for name, score, error, judged in zip(*columns, strict=True)
    ]
    draw_intervals(axes, rows)
    axes.tick_params(axis="y", labelsize="small")
    axes.set_xlabel("score ± standard error over benchmarks\n(standard deviations of this population)")
    axes.set_title(f"models by {scorer.replace('_', ' ')}")
