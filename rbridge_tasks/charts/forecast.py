"""A run, its fitted curve and what is to come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.log_axis import log_x
from rbridge_tasks.charts.style import new_figure, save
from rbridge_tasks.tables.catalogue import axis_label

if TYPE_CHECKING:
    import numpy.typing as npt

    from rbridge_metrics import PowerLaw

_POINTS = 60  # of the curve


def draw_forecast(
    law: PowerLaw,
    hidden: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    path: str | Path,
    *,
    title: str,
    metric: str,
    until: float,
    level: float,
) -> None:
    """Draw the checkpoints shown (filled), those hidden (open), the curve and its interval.

    Args:
        law: the fitted curve.
        hidden: tokens and values of later checkpoints, which the fit did not see; may be empty.
        path: of the file.
        title: above the panel.
        metric: for the axis.
        until: how far the curve goes, in tokens.
        level: of the interval.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    figure, axes = new_figure(6.0, 3.8)
    last = law.tokens[-1]
    along, ahead = np.geomspace(law.tokens[0], max(until, last), _POINTS), np.geomspace(last, max(until, last), _POINTS)
    low, high = law.interval(ahead, level=level)
    axes.fill_between(ahead / 1e9, low, high, color="0.85", linewidth=0, label=f"{100 * level:g} % interval")
    axes.plot(along / 1e9, law.predict(along), color="0.0", label="$a - b\\,t^{-c}$")
    axes.plot(law.tokens / 1e9, law.values, "o", color="0.0", label="fitted")
    if hidden[0].size:
        axes.plot(hidden[0] / 1e9, hidden[1], "o", markerfacecolor="white", color="0.0", label="not shown to the fit")
    log_x(axes)
    axes.set_xlabel("training tokens (billions)")
    axes.set_ylabel(axis_label(metric))
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend(loc="best", frameon=False, fontsize=8)
    save(figure, path)
