"""A run, its fitted curve and its forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.lines import count_axis
from rbridge_tasks.charts.style import INK, PAPER, look, new_panels, save, series
from rbridge_tasks.tables.catalogue import axis_label
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.forecast import Forecasts

_POINTS = 60  # of the curve


@look()
def draw_forecast(forecasts: Forecasts, path: str | Path | None = None) -> Figure:
    """Draw the first run: the checkpoints fitted (filled), those held out (open), the curve and its interval.

    Args:
        forecasts: the curve goes as far as their times, or the last checkpoint.
        path: of the file; None to write none.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    run, law, hidden = forecasts.runs[0].run, forecasts.runs[0].law, ~forecasts.runs[0].shown
    figure, (axes,) = new_panels(6.0, 3.8)
    last, until = law.tokens[-1], max([*forecasts.times, float(run.tokens[-1])])
    along, ahead = np.geomspace(law.tokens[0], until, _POINTS), np.geomspace(last, until, _POINTS)
    low, high = law.interval(ahead, level=forecasts.level)
    colour = series(0)["color"]
    axes.fill_between(
        ahead, low, high, color=colour, alpha=0.16, linewidth=0, label=f"{100 * forecasts.level:g} % interval"
    )
    axes.plot(along, law.predict(along), color=colour, label="a − b·t⁻ᶜ")
    axes.plot(law.tokens, law.values, "o", color=INK, label="fitted")
    if hidden.any():
        label = "not shown to the fit"
        axes.plot(run.tokens[hidden], run.values[hidden], "o", markerfacecolor=PAPER, color=INK, label=label)
    count_axis(axes, count_text, log=True)
    axes.set_xlabel("training tokens")
    axes.set_ylabel(axis_label(forecasts.metric))
    axes.set_title(run.name)
    axes.legend(loc="best")
    return save(figure, path)
