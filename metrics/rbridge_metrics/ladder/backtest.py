"""Forecasts of the upper part of a ladder from its lower part: they weigh the methods and give the width of intervals.

A fold holds out the sizes above one of them, or the runs above a compute. What a method gets wrong there, in squared
points, weighs it: ``1 / (its share of its benchmark's error + its share over all benchmarks)``. The error of the stack
on a fold is that with the weights of the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.ladder.methods import METHODS, Fitted, fit_all
from rbridge_metrics.ladder.rungs import Rungs

#: Fewest runs a fold is fitted to.
FEWEST_RUNS = 6
_COMPUTE_CUTS = (0.5, 0.65, 0.8)  # of the range of log compute
_FARTHER = 1.5  # times the largest compute fitted, for a run to be held out

BASELINES = ("largest run", "log compute", "mean of largest size")


@dataclass(frozen=True)
class Fold:
    """A part of the runs and the runs beyond it.

    Attributes:
        by_size: held out are all larger sizes; otherwise runs of more compute.
        limit: the largest size or the largest compute in FLOPs of the runs fitted.
        fitted, held: shape (runs,).
    """

    by_size: bool
    limit: float
    fitted: npt.NDArray[np.bool_]
    held: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BacktestFit:
    """The fits of one benchmark: row 0 to all runs, the others to the folds.

    Attributes:
        folds: in order of rows 1 and on.
        weights: shape (1 + folds, runs).
        fitted: all methods.
        predicted: at the runs, shape (methods, 1 + folds, runs), fractions.
    """

    folds: tuple[Fold, ...]
    weights: FloatArray
    fitted: Fitted
    predicted: FloatArray

    @property
    def squared_errors(self) -> FloatArray:
        """Mean over the runs held out of squared errors, shape (methods, folds), squared points."""
        error = 100.0 * (self.predicted - self.fitted.rungs.accuracy)
        means = [(error[:, 1 + row, fold.held] ** 2).mean(-1) for row, fold in enumerate(self.folds)]
        return np.stack(means, axis=1) if means else np.zeros((len(METHODS), 0))


def folds_of(rungs: Rungs) -> tuple[Fold, ...]:
    """Folds of a ladder: for each size but the smallest and the largest, and at three cuts of the compute.

    A fold is fitted to at least two sizes and ``FEWEST_RUNS`` runs, and holds out runs of 1.5 times its compute.
    """
    flops = rungs.flops
    candidates = [(True, size, rungs.params <= size) for size in np.unique(rungs.params)[1:-1].tolist()]
    low, high = np.log(flops.min()), np.log(flops.max())
    candidates += [(False, cut, flops <= cut) for cut in np.exp(low + np.array(_COMPUTE_CUTS) * (high - low)).tolist()]
    folds: list[Fold] = []
    for by_size, limit, fitted in candidates:
        if fitted.sum() < FEWEST_RUNS or np.unique(rungs.params[fitted]).size < 2:
            continue
        held = ~fitted & (flops > _FARTHER * flops[fitted].max())
        if held.any() and not any(np.array_equal(fold.fitted, fitted) for fold in folds):
            folds.append(Fold(by_size, limit, fitted, held))
    return tuple(folds)


def fit_folds(rungs: Rungs) -> BacktestFit:
    """Fit every method to all runs and to every fold."""
    folds = folds_of(rungs)
    weights = np.array([np.ones(len(rungs.params)), *(fold.fitted for fold in folds)], dtype=np.float64)
    fitted = fit_all(rungs, weights)
    return BacktestFit(folds, weights, fitted, fitted.predict(rungs.params, rungs.tokens))


def stack_weights(squared_errors: Sequence[FloatArray]) -> list[FloatArray]:
    """Weights of the methods on each benchmark.

    Args:
        squared_errors: a benchmark each, shape (methods, folds); without folds methods weigh the same.

    Returns:
        Shape (methods,) each, summing to 1.

    >>> stack_weights([np.array([[1.0], [3.0]])])[0].round(2)
    array([0.75, 0.25])
    """
    shares = []
    for errors in squared_errors:
        mean = errors.mean(axis=1) if errors.shape[1] else np.ones(len(errors))
        shares.append(mean / mean.mean() if mean.any() else np.ones(len(errors)))
    pooled = np.mean(shares, axis=0)
    weights = [1.0 / np.maximum(share + pooled, 1e-3) for share in shares]
    return [weight / weight.sum() for weight in weights]


def fold_weights(squared_errors: Sequence[FloatArray]) -> list[FloatArray]:
    """Weights for the stack on each fold, from the other folds: (methods, folds) for each benchmark."""
    most = max(errors.shape[1] for errors in squared_errors)
    without = [
        stack_weights([np.delete(errors, slice(fold, fold + 1), axis=1) for errors in squared_errors])
        for fold in range(most)
    ]
    weights = [np.zeros_like(errors) for errors in squared_errors]
    for place, of_folds in enumerate(weights):
        for fold in range(of_folds.shape[1]):
            of_folds[:, fold] = without[fold][place]
    return weights


def baseline(
    name: str, rungs: Rungs, fitted: npt.NDArray[np.bool_], params: FloatArray, tokens: FloatArray
) -> FloatArray:
    """Accuracy, a fraction, without a law: shape (points,).

    Args:
        name: of ``BASELINES``: the accuracy of the run of most compute; a straight line of the accuracy in log compute,
            level for runs of one compute; the mean over the largest size.
        rungs: the ladder.
        fitted: the runs it may use, shape (runs,).
        params, tokens: where, shape (points,).
    """
    flops, accuracy = rungs.flops[fitted], rungs.accuracy[fitted]
    if name == "largest run":
        return np.full(len(params), accuracy[flops.argmax()])
    if name == "log compute":
        if np.ptp(np.log(flops)) < 1e-9:  # runs of one compute have no slope
            return np.full(len(params), accuracy.mean())
        slope, level = np.polyfit(np.log(flops), accuracy, 1)
        return np.asarray(np.clip(level + slope * np.log(6.0 * params * tokens), 0.0, 1.0))
    largest = rungs.params[fitted] == rungs.params[fitted].max()
    return np.full(len(params), accuracy[largest].mean())
