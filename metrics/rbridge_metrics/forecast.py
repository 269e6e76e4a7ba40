"""Test a forecast on the later part of its run, and convert it to an accuracy of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.bootstrap import Interval, tails
from rbridge_metrics.errors import ForecastError
from rbridge_metrics.power_law import Loss, PowerLaw, fit_power_law, ordered_run

#: What a forecast has to beat: nothing more happens; the straight line in log tokens goes on.
BASELINES = ("last_value", "linear_in_log_tokens")


@dataclass(frozen=True)
class Backtest:
    """A forecast of the hidden part of a run beside the baselines, arrays of shape (hidden checkpoints,).

    Attributes:
        shown: checkpoints that the forecast was made from.
        tokens, actual: of the hidden checkpoints.
        forecast: of each method, ``power_law`` and ``BASELINES``.
        interval: of the power law.
    """

    shown: int
    tokens: FloatArray
    actual: FloatArray
    forecast: dict[str, FloatArray]
    interval: Interval

    @property
    def mean_absolute_error(self) -> dict[str, float]:
        """Over the hidden checkpoints, by method, in units of the metric."""
        return {name: float(np.abs(values - self.actual).mean()) for name, values in self.forecast.items()}

    @property
    def coverage(self) -> float:
        """Fraction of the hidden checkpoints inside the interval. They are few, and they move together."""
        return float(((self.interval.low <= self.actual) & (self.actual <= self.interval.high)).mean())

    @property
    def beats_baselines(self) -> bool:
        """Whether the power law's error is below that of every baseline."""
        errors = self.mean_absolute_error
        return all(errors["power_law"] < errors[name] for name in BASELINES)


def backtest(
    tokens: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    until: float,
    loss: Loss = "squared",
    bounds: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.9,
) -> Backtest:
    """Forecast every checkpoint after ``until`` from those up to it.

    Args:
        tokens, values: shape (checkpoints,), as in ``fit_power_law``.
        until: the last time shown to the forecast, in the unit of ``tokens``.
        loss, bounds: as in ``fit_power_law``; the baselines keep to the bounds too.
        level: of the interval.

    Raises:
        ForecastError: nothing to hide, or as ``fit_power_law`` for the part shown.

    >>> t = np.arange(1.0, 13.0)
    >>> report = backtest(t, 3 - t**-0.5, until=6)
    >>> report.shown, report.tokens.size, report.beats_baselines
    (6, 6, True)
    """
    times, metric = ordered_run(tokens, values)
    shown = times <= until
    if shown.all():
        last = f"; the last is at {times[-1]:g}" if times.size else ""
        raise ForecastError(f"no checkpoint after {until:g} tokens to test a forecast on{last}")
    law = fit_power_law(times[shown], metric[shown], loss=loss, bounds=bounds)
    hidden = times[~shown]
    forecasts = {
        "power_law": law.predict(hidden),
        "last_value": np.full(hidden.size, metric[shown][-1]),
        "linear_in_log_tokens": np.clip(_log_linear(times[shown], metric[shown], hidden), *bounds),
    }
    return Backtest(int(shown.sum()), hidden, metric[~shown], forecasts, law.interval(hidden, level=level))


class AccuracyOfScore(Protocol):
    """What ``ProxyRegressor`` does: accuracies in percent from proxy scores."""

    def predict(self, X: npt.ArrayLike, /) -> FloatArray:  # noqa: N803  # scikit-learn's name
        """Accuracies, shape (points,)."""

    def predict_interval(self, X: npt.ArrayLike, /, level: float) -> tuple[FloatArray, FloatArray]:  # noqa: N803
        """Lower and upper bounds, each of shape (points,)."""


def accuracy_through_proxy(
    law: PowerLaw, fit: AccuracyOfScore, tokens: npt.ArrayLike, *, level: float = 0.9
) -> tuple[FloatArray, Interval]:
    """The target's accuracy later in training: the proxy is forecast, then the fitted function applied to it.

    The interval allows for both: with a probability of half the error each, the proxy score leaves its interval or the
    accuracy that of the fit, so the widest bounds over the proxy's interval hold with at least ``level`` (Bonferroni).

    Args:
        law: the proxy's forecast.
        fit: accuracy in percent as a function of the proxy score.
        tokens: shape (times,).
        level: of the interval.

    Returns:
        Accuracies in percent, shape (times,), and their interval.

    Raises:
        ForecastError: a time at or below 0, or a level outside (0, 1).
    """
    tails(level, ForecastError)  # refuses a level whose half would be accepted below
    times = np.atleast_1d(np.asarray(tokens, dtype=np.float64))
    each = 1 - (1 - level) / 2
    low, high = law.interval(times, level=each)
    across = np.linspace(low, high, 33)  # a bound need not be monotone in the score
    bounds = fit.predict_interval(across.ravel(), level=each)
    lower, upper = (bound.reshape(across.shape) for bound in bounds)
    return fit.predict(law.predict(times)), Interval(lower.min(axis=0), upper.max(axis=0))


def _log_linear(times: FloatArray, metric: FloatArray, later: FloatArray) -> FloatArray:
    """The straight line of least squares in log t, drawn on."""
    x = np.log(times)
    slope = (x - x.mean()) @ (metric - metric.mean()) / ((x - x.mean()) ** 2).sum()
    line: FloatArray = metric.mean() + slope * (np.log(later) - x.mean())
    return line
