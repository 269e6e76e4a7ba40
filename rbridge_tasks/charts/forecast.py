"""A run, its fitted curve and its forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.lines import count_axis
from rbridge_tasks.charts.style import INK, PAPER, look, new_panels, save, series
from rbridge_tasks.charts.texts import axis_label
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from rbridge_metrics import PowerLaw

_POINTS = 60  # of the curve


@look()
def draw_forecast(
    law: PowerLaw,
    hidden: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    path: str | Path | None = None,
    *,
    title: str,
    metric: str,
    until: float,
    level: float,
) -> Figure:
    """Draw the checkpoints fitted (filled), those held out (open), the curve and its interval.

    Args:
        law: the fitted curve.
        hidden: tokens and values of later checkpoints, which the fit did not see; may be empty.
        path: of the file; None to write none.
        title: above the panel.
        metric: for the axis.
        until: end of the curve, in tokens.
        level: of the interval.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    figure, (axes,) = new_panels(6.0, 3.8)
    last = law.tokens[-1]
    along, ahead = np.geomspace(law.tokens[0], max(until, last), _POINTS), np.geomspace(last, max(until, last), _POINTS)
    low, high = law.interval(ahead, level=level)
    colour = series(0)["color"]
    axes.fill_between(ahead, low, high, color=colour, alpha=0.16, linewidth=0, label=f"{100 * level:g} % interval")
    axes.plot(along, law.predict(along), color=colour, label="a − b·t⁻ᶜ")
    axes.plot(law.tokens, law.values, "o", color=INK, label="fitted")
    if hidden[0].size:
        axes.plot(*hidden, "o", markerfacecolor=PAPER, color=INK, label="not shown to the fit")
    count_axis(axes, count_text, log=True)
    axes.set_xlabel("training tokens")
    axes.set_ylabel(axis_label(metric))
    axes.set_title(title)
    axes.legend(loc="best")
    return save(figure, path)
