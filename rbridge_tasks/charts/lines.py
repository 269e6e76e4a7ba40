"""Lines with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rbridge_tasks.charts.scales import Scale, count_scale, linear_scale, set_x, set_y
from rbridge_tasks.charts.style import PAPER, SOFT, series
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]

#: Points up to which a line gets a bar and a mark at each; a longer one gets a band.
MOST_MARKS = 16


@dataclass(frozen=True)
class Series:
    """One line of a chart; arrays of shape (points,), finite but for unknown ends of intervals.

    Attributes:
        name: for its label and the tips of its points.
        look: see ``style.series``; None for a thin grey line without marks.
        x, y, low, high: places and the ends of their intervals.
        reference: thin and dashed, to compare with.
        others: further points of the same kind, drawn as dots and not joined.
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
    x_scale: Callable[[npt.ArrayLike], Scale] = count_scale,
    x_text: Callable[[float], str] = count_text,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
) -> None:
    """Draw lines with their intervals.

    Args:
        axes: an empty panel.
        lines: at least one point in all; the first is drawn on top.
        x_scale, x_text: of the horizontal axis.
        bounds: what values cannot leave; intervals are cut there.
        reference: value of a dotted horizontal line.
    """
    points = np.array([point for line in lines for point in (*line.others, *line.measured)]).reshape(-1, 2)
    set_x(axes, x_scale(np.concatenate([*(line.x for line in lines), points[:, 0]])), x_text)
    values = np.concatenate(
        [points[:, 1], *(column for line in lines for column in (line.y, line.low, line.high))],
    )
    held = np.clip(values, *bounds)
    scale = linear_scale(held if reference is None else [*held, reference])
    set_y(axes, scale)
    if reference is not None:
        axes.axhline(reference, color=SOFT, linewidth=1, linestyle=(0, (2, 3)))
    for height, line in enumerate(reversed(lines)):
        _draw(axes, line, scale, {"zorder": 2 + height, "color": line.colour})


def _draw(axes: Axes, line: Series, scale: Scale, common: dict[str, Any]) -> None:
    if not line.marked:
        dashes: Any = (0, (4, 4)) if line.reference else "-"
        axes.plot(line.x, line.y, **common, linewidth=1.25 if line.reference else 1, linestyle=dashes, label=line.name)
        return
    known = np.isfinite(line.low) & np.isfinite(line.high)
    x, low, high = line.x[known], np.clip(line.low[known], scale.low, scale.high), line.high[known]
    high = np.clip(high, scale.low, scale.high)
    few = len(line.x) <= MOST_MARKS
    if few:
        axes.vlines(x, low, high, **common, linewidth=1.25, alpha=0.6)
    elif len(x):
        axes.fill_between(x, low, high, **common, linewidth=0, alpha=0.16)
    if line.others:
        axes.plot(*zip(*line.others, strict=True), "o", **common, markersize=4.5, markeredgewidth=0, alpha=0.45)
    marks = {"marker": "none"} if not few else {"markeredgecolor": PAPER}
    axes.plot(line.x, line.y, **series(line.look) | common | marks, label=line.name)
    if line.measured:
        axes.plot(*zip(*line.measured, strict=True), "x", **common, markersize=6, markeredgewidth=1.4)
