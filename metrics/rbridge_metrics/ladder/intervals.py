"""Intervals of a forecast accuracy: from the runs, the choice of the method, the backtest and the evaluation.

Refits to randomly weighted runs (the Bayesian bootstrap, Rubin 1981: no refit lacks a size) by methods drawn by their
weights give a first spread. Where the stack's own errors in the backtest, grown with the distance in log compute, are
larger, the spread is widened to them. The noise of the target's own evaluation comes on top.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.bootstrap import Interval, check_resamples, tails

_NEAREST = 0.5  # distances in log compute below this count as this
_PRIOR_FOLDS = 2.0  # folds that the drift over all benchmarks is worth beside a benchmark's own
_GROWTH = 0.5  # errors grow with this power of the distance, as those of a random walk


def run_weights(mask_rows: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Random weights of the runs in each row: (rows, runs) of 0 and 1 to (rows * resamples, runs).

    Exponential numbers, which sum to the number of runs kept: a Dirichlet distribution.

    Raises:
        BootstrapError: no resamples.
    """
    check_resamples(resamples)
    random = np.random.default_rng(seed)
    weights = random.standard_exponential((len(mask_rows), resamples, mask_rows.shape[1])) * mask_rows[:, None]
    weights *= mask_rows.sum(-1)[:, None, None] / weights.sum(-1, keepdims=True)
    return weights.reshape(-1, mask_rows.shape[1])


def distance(flops: FloatArray, largest: float) -> FloatArray:
    """How far beyond the ladder, the logarithm of the ratio of compute, at least a half."""
    return np.maximum(np.log(flops / largest), _NEAREST)


def drift(errors_pct: FloatArray, distances: FloatArray) -> float:
    """Squared error for each unit of distance, in squared points, from errors in points, shape (points,) each."""
    return float((errors_pct**2).mean() / (distances ** (2 * _GROWTH)).mean())


def shrunk(squared: float, folds: int, pooled: float) -> float:
    """The squared drift of a benchmark, drawn towards that of all; without folds that of all.

    >>> shrunk(1.0, 2, 3.0)
    2.0
    """
    return (folds * squared + _PRIOR_FOLDS * pooled) / (folds + _PRIOR_FOLDS) if folds else pooled


def predictive_interval(
    centre: FloatArray,
    samples: FloatArray,
    method_weights: FloatArray,
    *,
    drift_squared: float,
    distances: FloatArray,
    evaluation_pct: FloatArray,
    freedom: float,
    level: float,
) -> Interval:
    """Where the target's accuracy will be measured, with probability ``level``; fractions.

    Args:
        centre: forecasts, shape (points,).
        samples: forecasts of each method by refits, shape (methods, resamples, points).
        method_weights: shape (methods,).
        drift_squared: squared points for each unit of distance.
        distances: shape (points,).
        evaluation_pct: standard deviation of the target's own evaluation in points, shape (points,).
        freedom: degrees of freedom of the drift, for the tails.
        level: in (0, 1).

    Raises:
        BootstrapError: a level outside (0, 1).
    """
    deviation = 100.0 * (samples - centre)
    mixture = np.einsum("m,mbp->p", method_weights, deviation**2) / samples.shape[1]
    spread = np.sqrt(np.maximum(mixture, drift_squared * distances ** (2 * _GROWTH)) + evaluation_pct**2)
    half = 0.01 * spread * stats.t.ppf(tails(level)[1], freedom)
    return Interval(np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0))
