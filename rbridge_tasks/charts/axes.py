"""Axes of a chart: from numbers to pixels, and ticks that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_LOG_FROM = 20.0  # largest over smallest from which an axis of tokens is logarithmic


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        low, high: ends, in the numbers' own unit.
        start, end: ends, in pixels.
        log: logarithmic.
        ticks: numbers that are labelled.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    def at(self, values: npt.ArrayLike) -> Values:
        """Pixels of numbers, any shape."""
        numbers = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(numbers), math.log(low), math.log(high)
        result: Values = self.start + (numbers - low) / (high - low) * (self.end - self.start)
        return result


def linear_axis(values: Sequence[float] | Values, start: float, end: float, *, ticks: int = 4) -> Axis:
    """An axis that holds all finite values, from tick to tick."""
    from matplotlib.ticker import MaxNLocator

    low, high = _ends(values)
    if low == high:
        room = abs(low) * 0.05 or 1.0
        low, high = low - room, high + room
    found = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    step = found[1] - found[0]
    inside = [float(tick) for tick in found if low - 0.35 * step <= tick <= high + 0.35 * step]
    return Axis(min(low, *inside), max(high, *inside), start, end, log=False, ticks=tuple(inside))


def tokens_axis(values: Sequence[float] | Values, start: float, end: float) -> Axis:
    """An axis of counts above or at 0, logarithmic where they span more than a factor of twenty."""
    low, high = _ends(values)
    if low <= 0 or high / low < _LOG_FROM:
        return linear_axis([min(low, 0.0) if low < 0.25 * high else low, high], start, end)
    return log_axis(values, start, end)


def log_axis(values: Sequence[float] | Values, start: float, end: float) -> Axis:
    """A logarithmic axis: a tick at every power of ten, or at 1, 2 and 5 of each where that gives few."""
    low, high = _ends(values)
    if low == high:
        low, high = low / 2, high * 2
    low, high = low / (high / low) ** 0.04, high * (high / low) ** 0.04
    decades = math.log10(high / low)
    subs = (1.0, 3.0) if 1.2 <= decades < 2.5 else (1.0, 2.0, 5.0) if decades < 1.2 else (1.0,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [sub * 10.0**power for power in powers for sub in subs if low <= sub * 10.0**power <= high]
    inside = inside[:: max(1, math.ceil(len(inside) / 5))]
    return Axis(low, high, start, end, log=True, ticks=tuple(inside))


def _ends(values: Sequence[float] | Values) -> tuple[float, float]:
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return float(finite.min()), float(finite.max())


def apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Places moved as little as needed to lie ``least`` apart, in their order, between two ends where there is room.

    >>> apart([10.0, 12.0, 50.0], 10.0, 0.0, 60.0)
    [6.0, 16.0, 50.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[list[int]] = []  # neighbours that touch share their mean place
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _first(groups[-1], places, least, low, high) < least + _last(
            groups[-2], places, least, low, high
        ):
            last = groups.pop()
            groups[-1] += last
    moved = [0.0] * len(places)
    for group in groups:
        first = _first(group, places, least, low, high)
        for at, index in enumerate(group):
            moved[index] = first + at * least
    return moved


def _first(group: Sequence[int], places: Sequence[float], least: float, low: float, high: float) -> float:
    """Place of the first of neighbours that stand ``least`` apart around the mean of where they want to be."""
    extent = (len(group) - 1) * least
    middle = sum(places[index] for index in group) / len(group)
    return max(low, min(middle - extent / 2, high - extent))


def _last(group: Sequence[int], places: Sequence[float], least: float, low: float, high: float) -> float:
    return _first(group, places, least, low, high) + (len(group) - 1) * least
