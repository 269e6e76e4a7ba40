"""Scorers beside what chance gives, and the models in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.style import new_figure, new_panels, save

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_metrics.selection.results import ScorerTrials


def draw_selection(
    selection: ScorerTrials,
    benchmarks: Sequence[str],
    ranking: pd.DataFrame | None,
    chosen: str | None,
    path: str | Path | None,
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
    pairs = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles, labels = zip(*pairs, strict=True)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return save(figure, path)


def draw_ranking(ranking: pd.DataFrame, scorer: str, path: str | Path | None) -> Figure:
    """Draw models in order, the best on top.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    figure, axes = new_figure(5.5, 1.4 + 0.17 * len(ranking))
    _draw_models(axes, ranking, scorer)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return save(figure, path)


def _draw_trials(axes: Axes, selection: ScorerTrials, benchmarks: int) -> None:
    trials = selection.trials
    rows = np.arange(len(trials))
    ends = np.array([trial.chance_interval() for trial in trials])
    axes.barh(
        rows,
        ends[:, 1] - ends[:, 0],
        left=ends[:, 0],
        height=0.6,
        color="0.85",
        label="chance, middle 90 %",
        linewidth=0,
    )
    for row, trial in zip(rows, trials, strict=True):
        label = "one benchmark, left out" if row == 0 else None
        axes.plot(trial.by_task, [row] * len(trial.by_task), "|", color="0.45", markersize=9, label=label)
    axes.plot([trial.mean for trial in trials], rows, "o", color="0.0", label="mean")
    axes.plot([trial.new_models for trial in trials], rows, "D", color="0.0", markerfacecolor="1.0", label="new models")
    axes.set_yticks(rows, [trial.name.replace("_", " ") for trial in trials])
    axes.set_ylim(len(trials) - 0.4, -0.6)
    axes.set_xlabel("Spearman's rho with accuracy (-1 to 1)")
    axes.set_title(f"two of {benchmarks} benchmarks left out", loc="left", fontsize=9)
    axes.margins(x=0.08)


def _draw_models(axes: Axes, ranking: pd.DataFrame, scorer: str) -> None:
    rows = np.arange(len(ranking))
    score, error = ranking["score"].to_numpy(), ranking["stderr"].to_numpy()
    judged = ranking["judged"].to_numpy(dtype=bool)
    axes.hlines(rows, score - error, score + error, color="0.45", linewidth=1.4)
    for own, fill, label in ((judged, "0.0", "with accuracies"), (~judged, "1.0", "without")):
        if own.any():
            axes.plot(score[own], rows[own], "o", color="0.0", markerfacecolor=fill, label=label)
    axes.set_yticks(rows, ranking["name"], fontsize=7)
    axes.set_ylim(len(ranking) - 0.4, -0.6)
    axes.set_xlabel("score ± standard error over benchmarks\n(standard deviations of this population)")
    axes.set_title(f"models by {scorer.replace('_', ' ')}", loc="left", fontsize=9)
