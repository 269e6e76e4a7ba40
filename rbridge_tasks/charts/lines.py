"""Lines with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rbridge_tasks.charts.style import PAPER, SOFT, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Values = npt.NDArray[np.float64]

#: Points up to which a line gets a bar and a mark at each; a longer one gets a band.
MOST_MARKS = 16
_LOG_FROM = 20.0  # ratio of the largest to the smallest place above which the horizontal axis is logarithmic


@dataclass(frozen=True)
class Series:
    """One line of a chart; arrays of shape (points,), finite but for unknown ends of intervals.

    Attributes:
        name: for its label and the tips of its points.
        look: see ``style.series``; None for a thin grey line without marks.
        x, y, low, high: places and the ends of their intervals.
        reference: thin and dashed, to compare with.
        others: further points of the same kind, drawn pale and not joined.
        measured: points to compare the line with, drawn as crosses.
    """

    name: str
    look: int | None
    x: Values
    y: Values
    low: Values
    high: Values
    reference: bool = False
    others: Sequence[tuple[float, float]] = ()
    measured: Sequence[tuple[float, float]] = ()

    @classmethod
    def of_rows(
        cls,
        name: str,
        look: int | None,
        rows: npt.ArrayLike,
        *,
        others: Sequence[tuple[float, float]] = (),
        measured: Sequence[tuple[float, float]] = (),
    ) -> Series:
        """A line through rows of x, y, low and high, shape (points, 4)."""
        x, y, low, high = np.asarray(rows, dtype=np.float64).T
        return cls(name, look, x, y, low, high, others=others, measured=measured)

    @property
    def marked(self) -> bool:
        """Whether points and intervals are drawn, not the line alone."""
        return self.look is not None and not self.reference

    @property
    def colour(self) -> str:
        """Of the line and its label."""
        return SOFT if self.reference else str(series(self.look)["color"])


def draw_lines(
    axes: Axes,
    lines: Sequence[Series],
    *,
    x_text: Callable[[float], str],
    log: bool = False,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
) -> list[Line2D]:
    """Draw lines with their intervals, the first on top.

    Args:
        axes: an empty panel.
        lines: at least one point in all.
        x_text, log: of the horizontal axis, see ``count_axis``.
        bounds: what values cannot leave; intervals are cut there.
        reference: value of a dotted horizontal line.

    Returns:
        The artist of each line.
    """
    if reference is not None:
        axes.axhline(reference, color=SOFT, linewidth=1, linestyle=(0, (2, 3)))
    drawn = [
        _draw(axes, line, bounds, {"zorder": 2 + height, "color": line.colour, "clip_on": False})
        for height, line in enumerate(reversed(lines))
    ]
    count_axis(axes, x_text, log=log)
    axes.locator_params(axis="y", nbins=5)
    return drawn[::-1]


def count_axis(axes: Axes, text: Callable[[float], str], *, log: bool = False) -> None:
    """Scale the horizontal axis for the counts drawn: from 0, or logarithmic if asked or if they span a wide range."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    low, high = axes.dataLim.intervalx
    if low > 0 and (log or high / low >= _LOG_FROM):
        decades = math.log10(high / low)
        multiples = (1, 2, 5) if decades < 1.2 else (1, 3) if decades < 2.5 else (1,)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=multiples, numticks=6))
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        if 0 <= low < 0.25 * high:
            axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _draw(axes: Axes, line: Series, bounds: tuple[float, float], common: dict[str, Any]) -> Line2D:
    if not line.marked:
        dashes: Any = (0, (4, 4)) if line.reference else "-"
        width = 1.25 if line.reference else 1
        return axes.plot(line.x, line.y, **common, linewidth=width, linestyle=dashes, label=line.name)[0]
    known = np.isfinite(line.low) & np.isfinite(line.high)
    interval = (line.x[known], *np.clip([line.low[known], line.high[known]], *bounds))
    few = len(line.x) <= MOST_MARKS
    if few:
        axes.vlines(*interval, **common, linewidth=1.25, alpha=0.6)
    elif known.any():
        axes.fill_between(*interval, **common, linewidth=0, alpha=0.16)
    if line.others:
        dots = {"marker": series(line.look)["marker"], "markersize": 4.5, "markeredgewidth": 0, "alpha": 0.45}
        axes.plot(*zip(*line.others, strict=True), linestyle="none", **dots, **common)
    if line.measured:
        axes.plot(*zip(*line.measured, strict=True), "x", **common, markersize=6, markeredgewidth=1.4)
    marks = {"markeredgecolor": PAPER} if few else {"marker": "none"}
    return axes.plot(line.x, line.y, **series(line.look) | common | marks, label=line.name)[0]
