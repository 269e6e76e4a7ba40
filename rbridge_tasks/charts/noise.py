"""Relative noise of each benchmark and metric, beside the signal-to-noise ratio where it is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_tasks.charts.style import look, name_rows, new_panels, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.noise import Noise


@look()
def draw_noise(noise: Noise, path: str | Path | None = None) -> Figure:
    """Draw a bar for each benchmark and metric: relative noise, and the signal-to-noise ratio if any is known.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    rows = noise.shown
    pooled = noise.relative_noise()
    values = [("noise over score (%)", [100 * pooled[row.benchmark, row.metric] for row in rows])]
    if any(math.isfinite(row.snr) for row in rows):
        values.append(("signal-to-noise ratio", [row.snr for row in rows]))
    figure, panels = new_panels(3.0 + 2.5 * len(values), 1.0 + 0.25 * len(rows), columns=len(values))
    for axes, (label, bars) in zip(panels, values, strict=True):
        axes.barh(range(len(rows)), bars, height=0.6, color="0.35", linewidth=0)
        name_rows(axes, (f"{row.benchmark} {row.metric}" for row in rows), most=45)
        axes.invert_yaxis()
        axes.set_xlabel(label)
    return save(figure, path)
