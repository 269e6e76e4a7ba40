"""The curve of training, ``a - b * t^(-c)``: fitted by variable projection, with intervals for any later time.

For a given exponent c the curve is linear in a and b, so both have a closed form; c is searched on a grid and then
ever finer (variable projection). The search runs in the basis ``(1 - u^(-c)) / c`` with u = t / (geometric mean of t),
which tends to ``log u`` as c goes to 0 and stays well conditioned there. b may have either sign: an accuracy rises
(b > 0), an NLL falls (b < 0). c > 0.

``predictive`` has the method of the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.bootstrap import Interval, tails
from rbridge_metrics.errors import ForecastError
from rbridge_metrics.predictive import EXPONENTS, Predictive, predictive, training_basis

Loss = Literal["squared", "huber"]

#: Three parameters, and one point to estimate the noise.
FEWEST_POINTS = 4

_HUBER = 1.345  # residuals of this many standard deviations count less: 95 % efficient under normal noise


@dataclass(frozen=True)
class PowerLaw:
    """A fitted ``a - b * t^(-c)``.

    Attributes:
        a: value that the curve tends to.
        b: what is left to gain at t = 1, in units of the value; below 0 for a falling curve.
        c: exponent, > 0, within ``EXPONENTS``.
        tokens, values: what it was fitted to, shape (checkpoints,), in order of tokens.
        weights: of each checkpoint in the fit, at most 1; below 1 where a robust loss found it off the curve.
        bounds: no forecast or interval leaves these.
    """

    a: float
    b: float
    c: float
    tokens: FloatArray
    values: FloatArray
    weights: FloatArray
    bounds: tuple[float, float]

    @property
    def at_limit(self) -> bool:
        """Whether the exponent ran into an end of ``EXPONENTS``: the data then say no more than that, and not ``a``."""
        return not EXPONENTS[0] * 1.001 < self.c < EXPONENTS[1] / 1.001

    def predict(self, tokens: npt.ArrayLike) -> FloatArray:
        """The curve at these times, any shape, within ``bounds``.

        Raises:
            ForecastError: a time at or below 0, or not finite.
        """
        curve: FloatArray = np.clip(self.a - self.b * _times(tokens) ** -self.c, *self.bounds)
        return curve

    def interval(self, tokens: npt.ArrayLike, *, level: float = 0.9) -> Interval:
        """Where a checkpoint at each of these times will score, with probability ``level``; see ``predictive``.

        Args:
            tokens: any shape.
            level: in (0, 1).

        Raises:
            ForecastError: a time at or below 0, or a level outside (0, 1).
        """
        ends, times = tails(level, ForecastError), _times(tokens)
        scores, centre = self._predictive(times.ravel()), self.predict(times)
        low, high = (np.clip(scores.quantile(end), *self.bounds).reshape(times.shape) for end in ends)
        return Interval(np.minimum(low, centre), np.maximum(high, centre))

    def quantiles(self, tokens: float, probabilities: Sequence[float]) -> FloatArray:
        """Scores that a checkpoint at this time stays below with these probabilities; see ``predictive``.

        Args:
            tokens: one time.
            probabilities: in (0, 1).

        Returns:
            Shape (probabilities,). Not cut at ``bounds``.

        Raises:
            ForecastError: a time at or below 0.
        """
        scores = self._predictive(_times([tokens]))
        return np.array([scores.quantile(probability)[0] for probability in probabilities])

    def probability_below(self, tokens: float, score: float) -> float:
        """Probability that a checkpoint at this time scores at most ``score``; see ``predictive``.

        Raises:
            ForecastError: a time at or below 0.
        """
        return float(self._predictive(_times([tokens])).probability_below(np.array([score]))[0])

    def _predictive(self, times: FloatArray) -> Predictive:
        return predictive(self.tokens, self.values, times, weights=self.weights, fitted=self.c)


def fit_power_law(
    tokens: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    loss: Loss = "squared",
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> PowerLaw:
    """Fit ``a - b * t^(-c)`` to the checkpoints of one run; see this module.

    Args:
        tokens: shape (checkpoints,), training tokens (or steps), above 0, each once, in any order.
        values: shape (checkpoints,), the metric there; rising or falling.
        loss: ``huber`` gives checkpoints off the curve (spikes) less weight, by iteratively reweighted least squares.
        bounds: what the metric cannot leave: (0, 1) for an accuracy, (0, inf) for an NLL.

    Raises:
        ForecastError: fewer than 4 checkpoints, different lengths, a number that is not finite, a time at or below 0 or
            given twice, a metric that never changes, or values outside ``bounds``.

    >>> t = np.array([1e9, 2e9, 4e9, 8e9, 16e9])
    >>> law = fit_power_law(t, 1.8 + 90 * t**-0.25)
    >>> round(law.a, 4), round(law.b, 2), round(law.c, 4)
    (1.8, -90.0, 0.25)
    """
    times, metric = ordered_run(tokens, values)
    if times.size < FEWEST_POINTS:
        raise ForecastError(
            f"{times.size} checkpoints; a - b * t^(-c) has three parameters and needs at least {FEWEST_POINTS}"
        )
    if np.ptp(metric) <= 1e-12 * np.abs(metric).max():
        raise ForecastError(
            f"the metric is {metric[0]:g} at all {metric.size} checkpoints; there is no trend to forecast"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        spread = metric.std()
    if not 0 < spread < np.inf:
        ends = f"{metric.min():g} to {metric.max():g}"
        raise ForecastError(f"values of the metric from {ends}; expected a spread whose square a float can hold")
    if metric.min() < bounds[0] or metric.max() > bounds[1]:
        outside = metric.min() if metric.min() < bounds[0] else metric.max()
        raise ForecastError(f"value {outside:g} outside [{bounds[0]:g}, {bounds[1]:g}], which the metric cannot leave")
    u = times / np.exp(np.log(times).mean())
    weights = np.ones(times.size)
    for _ in range(1 if loss == "squared" else 50):
        c, alpha, beta, residual = _project(u, metric, weights)
        if loss == "squared":
            break
        updated = _huber_weights(residual)
        settled = np.abs(updated - weights).max() < 1e-9
        weights = updated
        if settled:
            break
    b = beta / c * float(times[0] / u[0]) ** c
    return PowerLaw(float(alpha + beta / c), float(b), float(c), times, metric, weights, bounds)


def _project(u: FloatArray, y: FloatArray, weights: FloatArray) -> tuple[float, float, float, FloatArray]:
    """Exponent, level and slope of least weighted squares, and the residuals: a grid, then ever finer ones."""
    exponents = np.geomspace(*EXPONENTS, 121)
    for _ in range(8):
        basis = training_basis(u, exponents)
        mean, mean_y = basis @ weights / weights.sum(), float(weights @ y) / weights.sum()
        centred = basis - mean[:, None]
        beta = (centred * weights) @ (y - mean_y) / ((centred**2) @ weights)
        residual = y - mean_y - beta[:, None] * centred
        best = int(np.argmin((residual**2) @ weights))
        c = float(exponents[best])
        neighbours = exponents[max(best - 1, 0)], exponents[min(best + 1, exponents.size - 1)]
        exponents = np.geomspace(*neighbours, 21)
    return c, mean_y - float(beta[best] * mean[best]), float(beta[best]), residual[best]


def _huber_weights(residual: FloatArray) -> FloatArray:
    scale = 1.4826 * float(np.median(np.abs(residual)))
    floor = 1e-9 * float(np.abs(residual).max()) + np.finfo(float).tiny
    weights: FloatArray = np.minimum(1.0, _HUBER * max(scale, floor) / np.maximum(np.abs(residual), floor))
    return weights


def ordered_run(tokens: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Check the checkpoints of a run and sort them by time: tokens and values, shape (checkpoints,) each.

    Raises:
        ForecastError: different lengths, a number that is not finite, or a time at or below 0 or given twice.
    """
    times, metric = _times(tokens), np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.shape != metric.shape:
        raise ForecastError(f"{times.size} times but {metric.size} values; one value a checkpoint is needed")
    if not np.isfinite(metric).all():
        raise ForecastError(f"value {metric[~np.isfinite(metric)][0]} among the checkpoints; leave those without out")
    order = np.argsort(times, kind="stable")
    times, metric = times[order], metric[order]
    if (twice := np.flatnonzero(np.diff(times) == 0)).size:
        raise ForecastError(f"two checkpoints at {times[twice[0]]:g} tokens; keep one value a checkpoint")
    return times, metric


def _times(tokens: npt.ArrayLike) -> FloatArray:
    times = np.asarray(tokens, dtype=np.float64)
    if not (np.isfinite(times).all() and (times > 0).all()):
        wrong = times[~(np.isfinite(times) & (times > 0))].flat[0]
        raise ForecastError(f"a checkpoint at {wrong:g} tokens; times above 0 are needed (t^(-c) has no value at 0)")
    return times
