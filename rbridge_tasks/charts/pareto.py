"""Decision accuracy against training compute, with the frontier of every metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_tasks.charts.log_axis import log_x
from rbridge_tasks.charts.style import new_panels, save, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.target_agreement import TargetAgreement


def draw_frontier(points: Sequence[TargetAgreement], path: str | Path | None, *, level: float) -> Figure:
    """Draw a panel for each benchmark: every size as a small mark, the frontier as a line through large ones.

    Sizes of unknown compute are left out. Bars are intervals over items.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    points = [point for point in points if math.isfinite(point.flops)]
    benchmarks = list(dict.fromkeys(point.benchmark for point in points))
    columns = min(len(benchmarks), 2)
    rows = math.ceil(len(benchmarks) / columns)
    figure, panels = new_panels(4.8 * columns, 3.6 * rows, rows=rows, columns=columns)
    for unused in panels[len(benchmarks) :]:
        unused.set_visible(False)
    for benchmark, axes in zip(benchmarks, panels, strict=False):
        own = [point for point in points if point.benchmark == benchmark]
        for index, metric in enumerate(dict.fromkeys(point.metric for point in points)):
            _draw_metric(axes, [point for point in own if point.metric == metric], metric, index)
        axes.axhline(50, color="0.6", linewidth=0.8, linestyle=":")
        log_x(axes)
        axes.set_xlabel("training compute of one candidate (FLOPs)")
        axes.set_ylabel("decision accuracy (% of pairs)")
        axes.set_title(f"{benchmark}, bars {100 * level:g} % over items", loc="left", fontsize=9)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    return save(figure, path)


def _draw_metric(axes: Axes, points: Sequence[TargetAgreement], metric: str, index: int) -> None:
    look = series(index)
    flops = [point.flops for point in points]
    value, low, high = (
        [100 * getattr(point, side)["decision_accuracy"] for point in points] for side in ("value", "low", "high")
    )
    axes.vlines(flops, low, high, color="0.8", linewidth=1.0)
    axes.plot(flops, value, linestyle="none", marker=look["marker"], color=look["color"], markersize=3, alpha=0.5)
    best = [(point.flops, 100 * point.value["decision_accuracy"]) for point in points if point.on_frontier]
    axes.plot(*(zip(*best, strict=True) if best else ([], [])), label=f"{metric}, frontier", **look)
