"""Charts of lines with intervals, their names at their right ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_tasks.charts.axes import Axis, apart, linear_axis, tokens_axis
from rbridge_tasks.charts.chart_parts import (
    BOTTOM,
    TOP,
    WIDTH,
    Chart,
    DrawnLine,
    Mark,
    Tick,
    shortened,
    text_width,
    tick_texts,
    tip_text,
)
from rbridge_tasks.report.cells import number_text
from rbridge_tasks.tables.sizes import count_text

Values = npt.NDArray[np.float64]

_HEIGHT, _LEFT = 226.0, 48.0
_WHISKERS_UP_TO = 16  # points of a line that get bars; more get a band


@dataclass(frozen=True)
class Series:
    """What a line chart draws of one line: arrays of shape (points,), NaN where unknown.

    Attributes:
        name: for its label and the tips of its points.
        look: see ``run_lines.Line``.
        x, y, low, high: places and ends of their intervals.
        reference: drawn thin and without points, to compare with.
        others: further points of the same kind that the line does not join, drawn as dots.
        measured: points to hold the line against, drawn as crosses.
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


def line_chart(
    key: str,
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    x_name: str = "training tokens",
    x_axis: Callable[..., Axis] = tokens_axis,
    x_text: Callable[[float], str] = count_text,
    y_text: Callable[[float], str] | None = None,
    x_tip: Callable[[float], str] = lambda tokens: f"{count_text(tokens)} tokens",
    bounds: tuple[float, float] = (-math.inf, math.inf),
    zero: float | None = None,
) -> Chart:
    """Lines with intervals and their names at their right ends.

    Args:
        key: unique on the page.
        series: at least one point in all; the first is drawn on top.
        title, description: for those who cannot see the chart.
        x_name: of the horizontal axis.
        x_axis: makes it.
        x_text, y_text: labels of ticks; ``y_text`` by default with as many digits as the ticks need.
        x_tip: places in tips.
        bounds: what values cannot leave; intervals are cut there.
        zero: value at which to draw a horizontal reference.
    """
    named = [one for one in series if one.look is not None or one.reference]
    longest = max((text_width(shortened(one.name)) for one in named), default=0.0)
    right = WIDTH - (longest + 10 if longest else 10)
    loose = [point for one in series for point in (*one.others, *one.measured)]
    across, along = (np.array([point[at] for point in loose], dtype=np.float64) for at in (0, 1))
    xs = x_axis(np.concatenate([*(one.x for one in series), across]), _LEFT, right - 4)
    low = max(bounds[0], _least([*(one.low for one in series), *(one.y for one in series), along]))
    high = min(bounds[1], -_least([*(-one.high for one in series), *(-one.y for one in series), -along]))
    ys = linear_axis([low, high, *([] if zero is None else [zero])], _HEIGHT - BOTTOM, TOP)
    ends = [ys.at(one.y[np.isfinite(one.y)][-1]).item() for one in named]
    places = dict(zip(map(id, named), apart(ends, 15.0, TOP + 2, _HEIGHT - BOTTOM), strict=True))
    drawn = [_drawn(one, xs, ys, right, places.get(id(one)), x_tip) for one in reversed(series)]
    return Chart(
        key=key,
        title=title,
        description=description,
        height=_HEIGHT,
        left=_LEFT,
        right=right,
        x_ticks=[Tick(float(xs.at(tick)), x_text(tick)) for tick in xs.ticks],
        x_name=x_name,
        y_ticks=[Tick(float(ys.at(tick)), text) for tick, text in zip(ys.ticks, tick_texts(ys, y_text), strict=True)],
        lines=drawn,
        zero=None if zero is None else float(ys.at(zero)),
    )


def _drawn(
    one: Series, xs: Axis, ys: Axis, right: float, label_y: float | None, x_tip: Callable[[float], str]
) -> DrawnLine:
    there = np.isfinite(one.x) & np.isfinite(one.y)
    x, y = xs.at(one.x[there]), ys.at(one.y[there])
    low, high = (np.clip(ends[there], ys.low, ys.high) for ends in (one.low, one.high))
    sure = np.isfinite(low) & np.isfinite(high)
    low_at, high_at = ys.at(low), ys.at(high)
    whiskers, band = "", ""
    if one.look is not None and sure.any() and not one.reference:
        if int(there.sum()) <= _WHISKERS_UP_TO:
            ends = zip(x[sure], low_at[sure], high_at[sure], strict=True)
            whiskers = "".join(f"M{_px(a)} {_px(b)}V{_px(c)}" for a, b, c in ends)
        else:
            upper, lower = zip(x[sure], high_at[sure], strict=True), [*zip(x[sure], low_at[sure], strict=True)][::-1]
            band = _path([*upper, *lower]) + "Z"
    marks = []
    if one.look is not None and not one.reference:
        texts = zip(one.x[there], one.y[there], low, high, sure, strict=True)
        tips = [
            tip_text(
                f"{shortened(one.name)}, {x_tip(a)}", number_text(b), number_text(c) if known else "", number_text(d)
            )
            for a, b, c, d, known in texts
        ]
        marks = [Mark(round(float(a), 1), round(float(b), 1), tip) for a, b, tip in zip(x, y, tips, strict=True)]
    return DrawnLine(
        look=one.look,
        path=_path([*zip(x, y, strict=True)]),
        band=band,
        whiskers=whiskers,
        dots="".join(f"M{_px(xs.at(a).item())} {_px(ys.at(b).item())}h0" for a, b in one.others),
        crosses="".join(
            f"M{_px(xs.at(a).item() - 3)} {_px(ys.at(b).item() - 3)}l6 6m0-6l-6 6" for a, b in one.measured
        ),
        marks=marks,
        name=one.name,
        label=shortened(one.name) if label_y is not None else "",
        label_x=right + 8,
        label_y=label_y or 0.0,
        joined_y=float(y[-1]),
        reference=one.reference,
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_px(x)} {_px(y)}" for x, y in points)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _least(parts: Sequence[Values]) -> float:
    finite = np.concatenate(parts)
    return float(finite[np.isfinite(finite)].min())
