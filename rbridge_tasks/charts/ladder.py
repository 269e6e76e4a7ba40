"""Forecasts of a ladder over size and tokens: contours of the accuracy, lines of equal compute, runs and targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_metrics.compute import training_flops
from rbridge_tasks.charts.style import INK, PAPER, SOFT, look, panel_grid, save, series
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.ladder_result import Ladder, LadderBenchmark

_COLUMNS = 2


@look()
def draw_ladder(ladder: Ladder, path: str | Path | None = None) -> Figure:
    """Draw a panel for each benchmark.

    Args:
        ladder: its result.
        path: of the file; None to write none.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    figure, panels = panel_grid(len(ladder.benchmarks), columns=_COLUMNS, width_in=4.6, height_in=3.6)
    for axes, result in zip(panels, ladder.benchmarks, strict=True):
        draw_contours(axes, result)
        axes.set_title(f"{result.benchmark}: {ladder.target_metric}, %")
    return save(figure, path)


def draw_contours(axes: Axes, result: LadderBenchmark) -> None:
    """Draw one benchmark: contours in per cent, dashed lines of equal compute, runs (filled) and targets (open)."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    grid = result.grid
    axes.set_xscale("log")  # before the contours, whose labels need the final scale
    axes.set_yscale("log")
    axes.set_xlim(grid.params[0], grid.params[-1])
    axes.set_ylim(grid.tokens[0], grid.tokens[-1])
    colour = series(0)["color"]
    lines = axes.contour(grid.params, grid.tokens, grid.accuracy_pct.T, levels=8, colors=colour, linewidths=1.2)
    axes.clabel(lines, fmt="%g", fontsize="x-small")
    params, tokens = np.meshgrid(grid.params, grid.tokens)
    flops = np.log10(training_flops(params, tokens))
    decades = np.arange(np.ceil(flops.min()), np.floor(flops.max()) + 1)
    same = axes.contour(params, tokens, flops, levels=decades, colors=SOFT, linestyles="dashed", linewidths=0.6)
    axes.clabel(same, fmt=lambda power: f"1e{power:.0f} FLOPs", fontsize="xx-small")
    axes.plot(result.params, result.tokens, "o", color=INK, label="runs fitted")
    if result.forecasts:
        places = [(row.params, row.tokens) for row in result.forecasts]
        axes.plot(*zip(*places, strict=True), "D", color=INK, markerfacecolor=PAPER, label="targets")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: count_text(value)))
    axes.minorticks_off()
    axes.set_xlabel("parameters")
    axes.set_ylabel("training tokens")
    axes.legend(loc="upper left")
