"""Charts of a dot with its interval a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rbridge_tasks.charts.axes import linear_axis
from rbridge_tasks.charts.chart_parts import (
    BOTTOM,
    TOP,
    WIDTH,
    Chart,
    Row,
    Tick,
    shortened,
    text_width,
    tick_texts,
    tip_text,
)
from rbridge_tasks.report.cells import number_text

_ROW = 26.0


def interval_chart(
    key: str,
    rows: Sequence[tuple[str, int | None, float, float, float]],
    *,
    title: str,
    description: str,
    x_name: str,
    y_text: Callable[[float], str] | None = None,
    value_text: Callable[[float], str] = number_text,
) -> Chart:
    """A dot with its interval for each row, from the top.

    Args:
        key: unique on the page.
        rows: name, look, value and the ends of its interval, which are NaN where unknown.
        title, description: for those who cannot see the chart.
        x_name: of the axis.
        y_text: labels of ticks.
        value_text: of the number at the right.
    """
    left, right = max(text_width(shortened(name)) for name, *_ in rows) + 10, WIDTH - 60
    axis = linear_axis([number for _, _, *numbers in rows for number in numbers], left + 6, right - 6)
    height = TOP + _ROW * len(rows) + BOTTOM
    return Chart(
        key=key,
        title=title,
        description=description,
        height=height,
        left=left,
        right=right,
        x_ticks=[
            Tick(float(axis.at(tick)), text) for tick, text in zip(axis.ticks, tick_texts(axis, y_text), strict=True)
        ],
        x_name=x_name,
        rows=[
            Row(
                look=look,
                label=shortened(name),
                name=name,
                y=TOP + _ROW * (at + 0.5),
                x=float(axis.at(value)),
                low=float(axis.at(low)) if math.isfinite(low) else None,
                high=float(axis.at(high)) if math.isfinite(high) else None,
                tip=tip_text(name, value_text(value), value_text(low) if math.isfinite(low) else "", value_text(high)),
                text=value_text(value),
            )
            for at, (name, look, value, low, high) in enumerate(rows)
        ],
    )
