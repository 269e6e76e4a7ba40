"""A run, its fitted curve and its forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_tasks.charts.log_axis import log_x
from rbridge_tasks.charts.rank import axis_label
from rbridge_tasks.charts.style import new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.forecast import Forecasts

_POINTS = 60  # of the curve


def draw_forecast(forecasts: Forecasts, path: str | Path | None = None) -> Figure:
    """Draw the first run: checkpoints fitted (filled) and not fitted (open), the curve and its interval.

    Args:
        forecasts: the curve goes as far as their times, or the last checkpoint.
        path: also write the figure there.

    Raises:
        OutputError: the path is neither ``.svg`` nor ``.png``.
    """
    run, law, hidden = forecasts.runs[0].run, forecasts.runs[0].law, ~forecasts.runs[0].shown
    figure, axes = new_figure(6.0, 3.8)
    last, until = law.tokens[-1], max([*forecasts.times, float(run.tokens[-1])])
    along, ahead = np.geomspace(law.tokens[0], until, _POINTS), np.geomspace(last, until, _POINTS)
    low, high = law.interval(ahead, level=forecasts.level)
    axes.fill_between(ahead / 1e9, low, high, color="0.85", linewidth=0, label=f"{100 * forecasts.level:g} % interval")
    axes.plot(along / 1e9, law.predict(along), color="0.0", label="$a - b\\,t^{-c}$")
    axes.plot(law.tokens / 1e9, law.values, "o", color="0.0", label="fitted")
    if hidden.any():
        style: dict[str, Any] = {"markerfacecolor": "white", "color": "0.0"}
        axes.plot(run.tokens[hidden] / 1e9, run.values[hidden], "o", label="not shown to the fit", **style)
    log_x(axes)
    axes.set_xlabel("training tokens (billions)")
    axes.set_ylabel(axis_label(forecasts.metric))
    axes.set_title(run.name, loc="left", fontsize=9)
    axes.legend(loc="best", frameon=False, fontsize=8)
    if path is not None:
        save(figure, path)
    return figure
