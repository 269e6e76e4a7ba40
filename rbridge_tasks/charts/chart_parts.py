"""What charts are made of, as ``templates/charts.html`` draws them: pixels of an SVG 360 wide, and its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rbridge_tasks.charts.axes import Axis

WIDTH, TOP, BOTTOM = 360.0, 12.0, 30.0
_LONGEST_LABEL = 132.0  # pixels of a name beside a chart
_NARROW, _WIDE = frozenset("iljtfr.,:;'|!()[]1 "), frozenset("mwMWQ@%")


@dataclass(frozen=True)
class Mark:
    """A point: pixels, and what hovering says."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class DrawnLine:
    """One line of a chart, in pixels; paths are SVG."""

    look: int | None
    path: str
    band: str
    whiskers: str
    dots: str
    crosses: str
    marks: list[Mark]
    name: str
    label: str
    label_x: float
    label_y: float
    joined_y: float
    reference: bool


@dataclass(frozen=True)
class Tick:
    """A label of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Row:
    """A row of a chart of intervals, in pixels."""

    look: int | None
    label: str
    name: str
    y: float
    x: float
    low: float | None
    high: float | None
    tip: str
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart, ready to draw.

    Attributes:
        key: unique on the page.
        title, description: for those who cannot see it.
        width, height, left, right, top, bottom: of the whole, and ends of the plot in it.
        x_ticks, y_ticks: of the axes.
        x_name: of the horizontal axis.
        lines: back to front.
        rows: of a chart of intervals; see ``interval_chart``.
        zero: where a reference line lies, horizontal in a line chart and vertical in one of intervals; None for none.
    """

    key: str
    title: str
    description: str
    height: float
    left: float
    right: float
    x_ticks: list[Tick]
    x_name: str
    y_ticks: list[Tick] = field(default_factory=list)
    lines: list[DrawnLine] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    zero: float | None = None
    width: float = WIDTH
    top: float = TOP

    @property
    def bottom(self) -> float:
        """Lower end of the plot."""
        return self.height - BOTTOM


def tip_text(name: str, value: str, low: str, high: str) -> str:
    """What hovering a point says; ``low`` is empty where there is no interval."""
    return f"{name}: {value}" + (f" ({low} to {high})" if low else "")


def shortened(name: str) -> str:
    """A name that fits beside a chart."""
    if text_width(name) <= _LONGEST_LABEL:
        return name
    fits = next(at for at in range(len(name), 0, -1) if text_width(name[:at] + "…") <= _LONGEST_LABEL)
    return name[:fits].rstrip() + "…"


def text_width(text: str) -> float:
    """Pixels of a name in bold, on the safe side: no font is known here."""
    return 14.0 * sum(0.42 if x in _NARROW else 1.0 if x in _WIDE or ord(x) > 0x2E80 else 0.68 for x in text)


def tick_texts(axis: Axis, text: Callable[[float], str] | None) -> list[str]:
    """Labels of ticks, with the same number of decimals."""
    if text is not None:
        return [text(tick) for tick in axis.ticks]
    step = axis.ticks[1] - axis.ticks[0] if len(axis.ticks) > 1 else abs(axis.ticks[0]) or 1.0
    if max(map(abs, axis.ticks)) >= 1e5 or step < 1e-4:
        return [f"{tick:.3g}".replace("-", "−") for tick in axis.ticks]
    shown = f"{step:.4f}".rstrip("0")
    decimals = len(shown.partition(".")[2])
    return [f"{tick:.{decimals}f}".replace("-", "−") for tick in axis.ticks]
