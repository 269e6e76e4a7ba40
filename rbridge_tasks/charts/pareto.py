"""Decision accuracy against training compute, with the Pareto frontier of every metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_tasks.charts.lines import Series, draw_lines
from rbridge_tasks.charts.style import RULE, ChartError, look, panel_grid, save, shared_legend
from rbridge_tasks.charts.texts import flops_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.target_agreement import TargetAgreement

FRONTIER_AXES: dict[str, Any] = {"x_text": flops_text, "log": True, "bounds": (0.0, 100.0), "reference": 50.0}


@look()
def draw_frontier(points: Sequence[TargetAgreement], path: str | Path | None = None, *, level: float) -> Figure:
    """Draw a panel for each benchmark: the frontier as a line, sizes off it as dots with a grey bar.

    Sizes of unknown compute, and benchmarks whose targets tie, are left out. Bars are intervals over items.

    Raises:
        ChartError: compute is unknown at every size, or all targets tie.
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    if not any(math.isfinite(point.flops) for point in points):
        raise ChartError(
            "compute is unknown at every size, so there is no frontier to draw; give runs their params and tokens with "
            "rbridge collect --runs TABLE"
        )
    points = [point for point in points if point.is_known]
    if not points:
        raise ChartError(
            "no two candidates differ in their targets' accuracy, so no order can be right and there is no frontier to "
            "draw; give targets that differ"
        )
    benchmarks = list(dict.fromkeys(point.benchmark for point in points))
    metrics = list(dict.fromkeys(point.metric for point in points))
    figure, panels = panel_grid(len(benchmarks), columns=2, width_in=4.8, height_in=3.6)
    for benchmark, axes in zip(benchmarks, panels, strict=True):
        group = [point for point in points if point.benchmark == benchmark]
        for point in group:
            if not point.on_frontier:
                axes.vlines(point.flops, *_percent(point)[1:], color=RULE, linewidth=1)
        lines = [replace(line, name=f"{line.name}, frontier") for line in frontier_lines(group, metrics)]
        draw_lines(axes, lines, **FRONTIER_AXES)
        axes.set_xlabel("training compute of one candidate (FLOPs)")
        axes.set_ylabel("decision accuracy (% of pairs)")
        axes.set_title(f"{benchmark}, bars {100 * level:g} % over items")
    shared_legend(figure, columns=3)
    return save(figure, path)


def frontier_lines(points: Sequence[TargetAgreement], metrics: Sequence[str]) -> list[Series]:
    """The frontier of each metric as a line, in percent against FLOPs.

    Args:
        points: of one benchmark and known compute.
        metrics: their place decides the look, so that a metric looks the same in every panel.
    """
    lines = []
    for index, metric in enumerate(metrics):
        group = [point for point in points if point.metric == metric]
        rows = [(point.flops, *_percent(point)) for point in group if point.on_frontier]
        if rows:
            others = [(point.flops, _percent(point)[0]) for point in group if not point.on_frontier]
            lines.append(Series.of_rows(metric, index, rows, others=others))
    return lines


def _percent(point: TargetAgreement) -> list[float]:
    return [100 * side["decision_accuracy"] for side in (point.value, point.low, point.high)]
