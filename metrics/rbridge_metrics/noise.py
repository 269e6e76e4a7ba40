"""Training noise of a metric, its signal over candidates, and the checkpoints to average.

The quantities are those of "Signal and Noise" (arXiv 2508.13144): noise is the standard deviation of a score over the
last checkpoints of a run, signal the spread of the scores of different candidates at the end of training. Here the
noise is taken about a parabola through the last checkpoints: a run that still improves, faster as its learning rate
falls, is not taken as noisy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import RBridgeError

#: Final checkpoints from which noise is estimated, and the most that are averaged.
LAST = 10
#: Three are used up by the parabola; fewer than two spare ones give no noise.
MIN_CHECKPOINTS = 5
_MOST_CORRELATED = 0.95
#: Checkpoints count as equally spaced if their distances differ by no more than this share.
_EQUAL = 0.2


class NoiseError(RBridgeError, ValueError):
    """Scores or arguments that give no noise."""


@dataclass(frozen=True)
class TrainingNoise:
    """Noise of one metric, pooled over runs of one size.

    Attributes:
        noise: standard deviation of a checkpoint about the trend of its run; in units of the metric.
        autocorrelation: of neighbouring checkpoints' deviations from the trend, in 0..0.95.
        lag: squared distance from the mean of the last k checkpoints to the end of the trend, for k = 1, 2, ...;
            without noise, in the mean over runs.
        lag_spread: the same for the distance in which runs differ; equal to ``lag`` with a single run.
        freedom: degrees of freedom of ``noise``.
        runs: number of runs with at least ``MIN_CHECKPOINTS`` checkpoints.
    """

    noise: float
    autocorrelation: float
    lag: tuple[float, ...]
    lag_spread: tuple[float, ...]
    freedom: int
    runs: int

    @property
    def checkpoints(self) -> int:
        """The most checkpoints of a run that were used."""
        return len(self.lag)

    def of_mean(self, count: int) -> float:
        """Noise of the mean of ``count`` neighbouring checkpoints, correlation included.

        >>> TrainingNoise(2.0, 0.0, (0.0,), (0.0,), 8, 1).of_mean(4)
        1.0
        """
        lags = np.arange(1, count)
        factor = (1.0 + 2.0 * ((1.0 - lags / count) * self.autocorrelation**lags).sum()) / count
        return float(self.noise * math.sqrt(factor))

    def best_average(self, *, shared_trend: bool) -> int:
        """Number of final checkpoints whose mean is nearest to the end of the trend, in expected squared error.

        The mean of k checkpoints has the variance ``of_mean(k)**2`` and lags behind the trend.

        Args:
            shared_trend: candidates are compared with each other: a lag that all share cancels, and only the
                differences between their lags count.

        >>> trend = TrainingNoise(1.0, 0.0, (0.0, 0.25, 1.0), (0.0, 0.0, 0.0), 8, 2)
        >>> trend.best_average(shared_trend=False), trend.best_average(shared_trend=True)
        (2, 3)
        """
        return int(np.argmin(self.squared_errors(shared_trend=shared_trend))) + 1

    def squared_errors(self, *, shared_trend: bool) -> FloatArray:
        """Expected squared error of the mean of the last k checkpoints, for k = 1, 2, ..., shape (checkpoints,)."""
        lag = self.lag_spread if shared_trend else self.lag
        return np.array([self.of_mean(k) ** 2 + square for k, square in enumerate(lag, start=1)])


def training_noise(
    runs: Sequence[npt.ArrayLike], tokens: Sequence[npt.ArrayLike] | None = None, *, last: int = LAST
) -> TrainingNoise:
    """Noise of a metric from the last checkpoints of runs of one size.

    A parabola in tokens is fitted to the last checkpoints of every run; where they are not equally spaced, a parabola
    in the logarithm of tokens if that is nearer to all runs together. The sums of squared residuals and their degrees
    of freedom (three fewer than checkpoints) are pooled. The lag-1 autocorrelation is pooled in the same way and
    corrected for the three parameters; squared lags are reduced by what noise alone gives.

    Args:
        runs: scores of each run in order of tokens, each of shape (checkpoints,). Runs with fewer than
            ``MIN_CHECKPOINTS`` are left out.
        tokens: of each checkpoint, in the shapes of ``runs``, ascending and above 0; equally spaced if left out.
        last: number of final checkpoints to use.

    Raises:
        NoiseError: ``last`` is below ``MIN_CHECKPOINTS``, no run has that many checkpoints, or scores or tokens used
            are not finite, or tokens not as described.

    >>> round(training_noise([[0.0, 1.0, 0.0, 1.0, 0.0]]).noise, 4)
    0.6761
    """
    if last < MIN_CHECKPOINTS:
        raise NoiseError(f"noise over the last {last} checkpoints; at least {MIN_CHECKPOINTS} are needed")
    tails: list[FloatArray] = []
    places: list[FloatArray] = []
    longest = 0
    for at, run in enumerate(runs):
        scores = np.asarray(run, dtype=np.float64)
        of_run = np.arange(1.0, len(scores) + 1) if tokens is None else np.asarray(tokens[at], dtype=np.float64)
        longest = max(longest, len(scores))
        if len(scores) < MIN_CHECKPOINTS:
            continue
        tails.append(scores[-last:])
        places.append(of_run[-last:])
        if of_run.shape != scores.shape or not (np.isfinite(tails[-1]).all() and _ascending(places[-1])):
            raise NoiseError(f"run {at} needs finite scores and as many tokens, above 0, finite and ascending")
    if not tails:
        raise NoiseError(
            f"no run has {MIN_CHECKPOINTS} checkpoints, the longest has {longest}; score more checkpoints of a run"
        )
    bases = _parabolas(tails, places)
    fitted = [basis @ (basis.T @ tail) for basis, tail in zip(bases, tails, strict=True)]
    residuals = [tail - curve for tail, curve in zip(tails, fitted, strict=True)]
    freedom = sum(len(tail) - 3 for tail in tails)
    squares = sum(float((residual**2).sum()) for residual in residuals)
    noise = math.sqrt(squares / freedom)
    products = sum(float((residual[1:] * residual[:-1]).sum()) for residual in residuals)
    mean_length = sum(map(len, tails)) / len(tails)
    correlation = products / squares + 3.0 / mean_length if squares > 0 else 0.0
    correlation = min(max(correlation, 0.0), _MOST_CORRELATED)
    variance = noise**2 * (1.0 + correlation) / (1.0 - correlation)
    own, between = [], []
    for count in range(1, max(map(len, tails)) + 1):
        long = [at for at, tail in enumerate(tails) if len(tail) >= count]
        lags = np.array([fitted[at][-count:].mean() - fitted[at][-1] for at in long])
        by_chance = variance * float(np.mean([_lag_variance(bases[at], count) for at in long]))
        own.append(max(float((lags**2).mean()) - by_chance, 0.0))
        between.append(max(float(lags.var(ddof=1)) - by_chance, 0.0) if len(long) > 1 else own[-1])
    return TrainingNoise(noise, correlation, tuple(own), tuple(between), freedom, len(tails))


def common_average(noise: Sequence[TrainingNoise]) -> int:
    """Number of final checkpoints to average where several metrics or sizes are fitted together and should lag alike.

    The one with the least expected squared error, relative to that of the last checkpoint, in the mean over all.

    >>> level, rising = ((0.0, 0.0, 0.0), (0.0, 0.2, 2.0))
    >>> common_average([TrainingNoise(1.0, 0.0, lag, lag, freedom=8, runs=2) for lag in (level, rising)])
    2
    """
    most = min(part.checkpoints for part in noise)
    errors = [part.squared_errors(shared_trend=False)[:most] for part in noise]
    relative = [error / error[0] for error in errors if error[0] > 0]
    return int(np.argmin(np.mean(relative, axis=0))) + 1 if relative else 1


def implied_decision_accuracy(spread: float, noise: float) -> float:
    """Probability that noise leaves the order of two candidates as it would be without noise.

    Candidates and noise are taken as normal: with the correlation r between scores with and without noise, it is
    1/2 + arcsin(r) / pi (as in ``planning``).

    Args:
        spread: standard deviation over candidates of their scores without noise.
        noise: standard deviation of the noise of one score.

    >>> [round(implied_decision_accuracy(spread, noise), 4) for spread, noise in ((1.0, 0.0), (0.8, 0.6), (0.0, 1.0))]
    [1.0, 0.7952, 0.5]
    """
    if not (math.isfinite(spread) and math.isfinite(noise)):
        return math.nan
    return 0.5 + math.atan2(spread, noise) / math.pi if spread > 0 else 0.5


def probability_of_chance(spread: float, noise: float, candidates: int, freedom: int) -> float:
    """Probability that noise alone spreads the candidates at least this far: F test of the two variances.

    Args:
        spread: standard deviation over candidates.
        noise: standard deviation of one score.
        candidates: their number.
        freedom: degrees of freedom of the noise.

    >>> round(probability_of_chance(2.0, 1.0, 5, 20), 4)
    0.0152
    """
    from scipy.stats import f

    if not (math.isfinite(spread) and math.isfinite(noise)) or candidates < 2:
        return math.nan
    if noise == 0:
        return 0.0 if spread > 0 else 1.0
    return float(f.sf((spread / noise) ** 2, candidates - 1, freedom))


def _ascending(places: FloatArray) -> bool:
    return bool(places[0] > 0 and (np.diff(places) > 0).all() and places[-1] < np.inf)


def _parabolas(runs: Sequence[FloatArray], tokens: Sequence[FloatArray]) -> list[FloatArray]:
    """Basis of the parabolas of each run, in tokens or in their logarithm, whichever leaves less of all runs."""
    in_tokens = [_parabola(places) for places in tokens]
    if all(np.ptp(gaps := np.diff(places)) <= _EQUAL * gaps.mean() for places in tokens):
        return in_tokens
    in_logarithm = [_parabola(np.log(places)) for places in tokens]
    left = [
        sum(float(((run - basis @ (basis.T @ run)) ** 2).sum()) for run, basis in zip(runs, bases, strict=True))
        for bases in (in_tokens, in_logarithm)
    ]
    return in_tokens if left[0] <= left[1] else in_logarithm


def _parabola(places: FloatArray) -> FloatArray:
    """Orthonormal basis of the parabolas over checkpoints at these places, shape (checkpoints, 3)."""
    steps = 2.0 * (places - places[0]) / (places[-1] - places[0]) - 1.0
    basis: FloatArray = np.linalg.qr(np.stack([np.ones(len(steps)), steps, steps**2], axis=1))[0]
    return basis


def _lag_variance(basis: npt.NDArray[np.float64], count: int) -> float:
    """Variance of the lag of the mean of the last ``count`` checkpoints, for independent noise of variance 1."""
    return float(((basis[-count:].mean(axis=0) - basis[-1]) ** 2).sum())
