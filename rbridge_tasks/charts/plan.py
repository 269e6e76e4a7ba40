"""Compute of the stages of a search, beside that of every candidate at the target's size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_tasks.charts.style import look, name_rows, new_panels, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.plan import SearchPlan


@look()
def draw_plan(plan: SearchPlan, path: str | Path | None = None) -> Figure:
    """Draw a bar for each stage and for every candidate at the target's size, on a logarithmic axis.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    labels = [f"{name}, {stage.models} models" for name, stage in zip(plan.names, plan.stages, strict=True)]
    labels.append(f"all at target size, {plan.candidates} models")
    flops = [*(stage.flops for stage in plan.stages), plan.flops_without]
    figure, (axes,) = new_panels(6.0, 1.0 + 0.35 * len(flops))
    axes.barh(range(len(flops)), flops, height=0.6, color=["0.35"] * len(plan.stages) + ["0.8"], linewidth=0)
    axes.set_xscale("log")
    name_rows(axes, labels)
    axes.invert_yaxis()
    axes.set_xlabel("training compute (FLOPs)")
    return save(figure, path)
