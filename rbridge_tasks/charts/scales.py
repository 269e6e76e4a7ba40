"""Scales of axes: limits that hold the data, and few, readable ticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbridge_tasks.charts.texts import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_FROM = 20.0  # ratio of the largest to the smallest count above which an axis is logarithmic


@dataclass(frozen=True)
class Scale:
    """Limits and ticks of an axis, in data units."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def labels(self, text: Callable[[float], str] | None = None) -> list[str]:
        """Labels of the ticks; by default numbers with equally many decimals."""
        if text is not None:
            return [text(tick) for tick in self.ticks]
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(self.ticks[0]) or 1.0
        if max(map(abs, self.ticks)) >= 1e5 or step < 1e-4:
            return [f"{tick:.3g}".replace("-", MINUS) for tick in self.ticks]
        decimals = len(f"{step:.4f}".rstrip("0").partition(".")[2])
        return [f"{tick:.{decimals}f}".replace("-", MINUS) for tick in self.ticks]


def set_x(axes: Axes, scale: Scale, text: Callable[[float], str] | None = None) -> None:
    """Give the horizontal axis a scale."""
    axes.set_xscale("log" if scale.log else "linear")
    axes.set_xticks(scale.ticks, scale.labels(text))
    axes.set_xticks([], minor=True)
    axes.set_xlim(scale.low, scale.high)


def set_y(axes: Axes, scale: Scale, text: Callable[[float], str] | None = None) -> None:
    """Give the vertical axis a linear scale."""
    axes.set_yticks(scale.ticks, scale.labels(text))
    axes.set_ylim(scale.low, scale.high)


def linear_scale(values: npt.ArrayLike, *, ticks: int = 4) -> Scale:
    """A scale that holds all finite values, extended to a tick if one is near."""
    from matplotlib.ticker import MaxNLocator

    low, high = _ends(values)
    if low == high:
        margin = abs(low) * 0.05 or 1.0
        low, high = low - margin, high + margin
    candidates = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    step = candidates[1] - candidates[0]
    inside = [float(tick) for tick in candidates if low - 0.35 * step <= tick <= high + 0.35 * step]
    return Scale(min(low, *inside), max(high, *inside), tuple(inside))


def count_scale(values: npt.ArrayLike) -> Scale:
    """A scale of counts from 0, logarithmic if they span more than a factor of twenty."""
    low, high = _ends(values)
    if low <= 0 or high / low < _LOG_FROM:
        return linear_scale([min(low, 0.0) if low < 0.25 * high else low, high])
    return log_scale(values)


def log_scale(values: npt.ArrayLike) -> Scale:
    """A logarithmic scale: a tick at every power of ten; also at 3, or at 2 and 5, where that gives too few."""
    low, high = _ends(values)
    if low == high:
        low, high = low / 2, high * 2
    low, high = low / (high / low) ** 0.04, high * (high / low) ** 0.04
    decades = math.log10(high / low)
    multiples: Sequence[float] = (1.0, 2.0, 5.0) if decades < 1.2 else (1.0, 3.0) if decades < 2.5 else (1.0,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [tick for power in powers for by in multiples if low <= (tick := by * 10.0**power) <= high]
    return Scale(low, high, tuple(inside[:: max(1, math.ceil(len(inside) / 5))]), log=True)


def _ends(values: npt.ArrayLike) -> tuple[float, float]:
    numbers = np.asarray(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    return float(finite.min()), float(finite.max())
