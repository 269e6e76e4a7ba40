"""Charts of the report: the figures of ``lines`` and ``intervals`` at the size of the page, with tips on hovering."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_tasks.charts.inline_svg import inline_svg
from rbridge_tasks.charts.intervals import IntervalRow, draw_intervals
from rbridge_tasks.charts.ladder import draw_contours
from rbridge_tasks.charts.lines import MOST_MARKS, Series, draw_lines
from rbridge_tasks.charts.style import RULE, look, name_rows
from rbridge_tasks.charts.texts import number_text, shortened, text_width, tip_text
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.ladder_result import LadderBenchmark

_WIDTH, _HEIGHT, _TOP, _BOTTOM, _LEFT, _ROW = 360.0, 242.0, 12.0, 46.0, 48.0, 26.0  # points
_LABEL_STEP, _CONTOUR_HEIGHT = 15.0, 300.0


@look(page=True)
def line_chart(
    key: str,
    lines: Sequence[Series],
    *,
    title: str,
    description: str,
    x_name: str = "training tokens",
    x_text: Callable[[float], str] = count_text,
    x_tip: Callable[[float], str] = lambda tokens: f"{count_text(tokens)} tokens",
    log: bool = False,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    reference: float | None = None,
) -> str:
    """Lines with their names at their right ends, as SVG for a page.

    Args:
        key: unique on the page.
        lines, x_text, log, bounds, reference: see ``draw_lines``.
        title, description: for readers who cannot see the chart.
        x_name: of the horizontal axis.
        x_tip: a place in a tip.
    """
    named = [line for line in lines if line.look is not None or line.reference]
    margin = max((text_width(shortened(line.name)) for line in named), default=0.0) + 10
    figure, axes = _page_panel(_HEIGHT, left=_LEFT, right=_WIDTH - margin)
    artists = draw_lines(axes, lines, x_text=x_text, log=log, bounds=bounds, reference=reference)
    axes.set_xlabel(x_name, loc="right")
    _name_ends(axes, named)
    tips = {}
    marked = [(line, artist) for line, artist in zip(lines, artists, strict=True) if line.marked]
    for place, (line, artist) in enumerate(marked):
        name, few = shortened(line.name), len(line.x) <= MOST_MARKS
        tips[f"tips-{place}"] = [
            tip_text(f"{name}, {x_tip(x)}", y, *np.clip([low, high], *bounds).tolist())
            for x, y, low, high in zip(line.x.tolist(), line.y.tolist(), line.low, line.high, strict=True)
        ]
        if not few:  # each mark shows under the pointer
            (artist,) = axes.plot(line.x, line.y, "o", color=line.colour, markersize=8, zorder=30, alpha=0)
        artist.set_gid(f"tips-{place}")
    return _svg(figure, key, title, description, tips)


@look(page=True)
def interval_chart(key: str, rows: Sequence[IntervalRow], *, title: str, description: str, x_name: str) -> str:
    """Rows of dots with intervals and their values at the right, as SVG for a page.

    Args:
        key: unique on the page.
        rows: at least one.
        title, description: for readers who cannot see the chart.
        x_name: of the axis.
    """
    left = max(text_width(shortened(row.name)) for row in rows) + 10
    figure, axes = _page_panel(_TOP + _ROW * len(rows) + _BOTTOM, left=left, right=_WIDTH - 60)
    dots = draw_intervals(axes, rows, width=3)
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    name_rows(axes, (shortened(row.name) for row in rows))
    axes.set_xlabel(x_name)
    side = 1 + 60 / (_WIDTH - 60 - left)
    for place, row in enumerate(rows):
        text: dict[str, Any] = {"ha": "right", "va": "center_baseline", "transform": axes.get_yaxis_transform()}
        axes.text(side, place, number_text(row.value), **text)
    tips = {}
    for group, (artist, places) in enumerate(dots):
        artist.set_gid(f"tips-{group}")
        shown = [rows[place] for place in places]
        tips[f"tips-{group}"] = [tip_text(row.name, row.value, row.low, row.high) for row in shown]
    return _svg(figure, key, title, description, tips)


@look(page=True)
def contour_chart(key: str, result: LadderBenchmark, *, title: str, description: str) -> str:
    """Contours of the accuracy over size and tokens, with the runs and the targets, as SVG for a page.

    Args:
        key: unique on the page.
        result: forecasts on one benchmark.
        title, description: for readers who cannot see the chart.
    """
    figure, axes = _page_panel(_CONTOUR_HEIGHT, left=_LEFT + 20, right=_WIDTH - 10)
    draw_contours(axes, result)
    places = {
        "runs fitted": zip(result.runs, result.params, result.tokens, result.accuracy_pct, strict=True),
        "targets": (("target", row.params, row.tokens, row.accuracy_pct) for row in result.forecasts),
    }
    tips = {}
    for number, (label, points) in enumerate(places.items()):
        if marks := [line for line in axes.lines if line.get_label() == label]:
            marks[0].set_gid(f"tips-{number}")
            tips[f"tips-{number}"] = [
                f"{name}, {count_text(params)} params, {count_text(tokens)} tokens: {accuracy:.1f} %"
                for name, params, tokens, accuracy in points
            ]
    return _svg(figure, key, title, description, tips)


def _page_panel(height: float, *, left: float, right: float) -> tuple[Figure, Axes]:
    """A transparent figure as wide as the page's charts, with one panel between ``left`` and ``right``."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH / 72, height / 72), frameon=False)
    FigureCanvasSVG(figure)
    place = (left / _WIDTH, _BOTTOM / height, (right - left) / _WIDTH, 1 - (_TOP + _BOTTOM) / height)
    axes = figure.add_axes(place, frameon=True)
    axes.patch.set_visible(False)
    return figure, axes


def _name_ends(axes: Axes, lines: Sequence[Series]) -> None:
    """Write the names of lines beside their right ends, joined to them if they had to move."""
    if not lines:
        return
    height = _HEIGHT - _TOP - _BOTTOM
    low, high = axes.get_ylim()
    ends = [float(line.y[-1] - low) / (high - low) * height for line in lines]
    text: dict[str, Any] = {"transform": axes.transAxes, "va": "center_baseline", "clip_on": False}
    width = axes.get_position().width * _WIDTH
    for line, end, place in zip(lines, ends, apart(ends, _LABEL_STEP, 0.0, height - 2), strict=True):
        weight = "normal" if line.reference else "bold"
        axes.text(1 + 8 / width, place / height, shortened(line.name), color=line.colour, weight=weight, **text)
        if abs(place - end) > 6:
            sides = ([1, 1 + 6 / width], [end / height, place / height])
            axes.plot(*sides, color=RULE, linewidth=1, transform=axes.transAxes, scalex=False, scaley=False)


def apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Places moved as little as needed to lie ``least`` apart, in their order, between two ends if there is room.

    >>> apart([10.0, 12.0, 50.0], 10.0, 0.0, 60.0)
    [6.0, 16.0, 50.0]
    """

    def first(group: Sequence[int]) -> float:
        """Place of the first of neighbours that stand ``least`` apart around the mean of their places."""
        extent = (len(group) - 1) * least
        middle = sum(places[index] for index in group) / len(group)
        return max(low, min(middle - extent / 2, high - extent))

    groups: list[list[int]] = []  # neighbours that touch share their mean place
    for index in sorted(range(len(places)), key=places.__getitem__):
        groups.append([index])
        while len(groups) > 1 and first(groups[-1]) < first(groups[-2]) + len(groups[-2]) * least:
            last = groups.pop()
            groups[-1] += last
    moved = [0.0] * len(places)
    for group in groups:
        for step, index in enumerate(group):
            moved[index] = first(group) + step * least
    return moved


def _svg(figure: Figure, key: str, title: str, description: str, tips: dict[str, list[str]]) -> str:
    for artist in figure.findobj():
        artist.set_clip_on(False)  # limits hold everything drawn
    return inline_svg(figure, key=key, title=title, description=description, tips=tips)
