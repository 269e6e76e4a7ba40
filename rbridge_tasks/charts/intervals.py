"""Dots with intervals, one row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbridge_tasks.charts.style import INK, PAPER, name_rows, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


@dataclass(frozen=True)
class IntervalRow:
    """A row of a chart.

    Attributes:
        name: its label.
        value: place of the dot.
        low, high: ends of the interval, NaN if unknown.
        colour, marker, filled: of the dot.
        label: in the legend; empty for none.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    colour: str = INK
    marker: str = "o"
    filled: bool = True
    label: str = ""

    @classmethod
    def of_look(cls, name: str, value: float, low: float, high: float, look: int | None) -> IntervalRow:
        """A row with the colour and marker of a look, see ``style.series``."""
        style = series(look)
        return cls(name, value, low, high, style["color"], style["marker"])


def draw_intervals(axes: Axes, rows: Sequence[IntervalRow], *, width: float = 1.6) -> list[tuple[Line2D, list[int]]]:
    """Draw rows from the top: a dot at each value over a bar, ``width`` points wide, at its interval.

    Returns:
        The artists of the dots, each with the places of its rows.
    """
    kinds: dict[tuple[object, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if math.isfinite(row.low):
            axes.hlines(place, row.low, row.high, color=row.colour, linewidth=width, alpha=0.45, clip_on=False)
        kinds.setdefault((row.colour, row.marker, row.filled, row.label), []).append(place)
    dots = []
    for places in kinds.values():
        row = rows[places[0]]
        (artist,) = axes.plot(
            [rows[place].value for place in places],
            places,
            linestyle="none",
            marker=row.marker,
            color=row.colour,
            markerfacecolor=row.colour if row.filled else PAPER,
            label=row.label or None,
            zorder=3,
            clip_on=False,
        )
        dots.append((artist, places))
    name_rows(axes, (row.name for row in rows), color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return dots
