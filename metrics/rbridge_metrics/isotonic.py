"""Check the shape of a fitted curve against isotonic regression, which only assumes monotonicity."""

from __future__ import annotations

import numpy as np

from rbridge_metrics.folds import Indices
from rbridge_metrics.functions import Floats
from rbridge_metrics.regression import SWITCH_AT_STANDARD_ERRORS, ProxyRegressor


def isotonic_left_out_errors(x: Floats, y: Floats, *, falling: bool, blocks: Indices | None = None) -> Floats:
    """Absolute error at each point, in points, of isotonic regression on all others.

    Between two fitted scores its value is interpolated; beyond the outermost scores it is constant.

    Args:
        x: scores, shape (points,).
        y: accuracies in percent, shape (points,).
        falling: whether accuracy falls as the score rises.
        blocks: shape (points,): points of one block are left out together; by default each alone.

    >>> isotonic_left_out_errors(np.arange(4.0), np.array([10.0, 20.0, 30.0, 40.0]), falling=False)
    array([10.,  0.,  0., 10.])
    """
    from sklearn.isotonic import isotonic_regression

    scores, place = np.unique(-x if falling else x, return_inverse=True)
    numbers = np.arange(len(x)) if blocks is None else blocks
    errors = np.empty(len(x))
    for block in np.unique(numbers):
        others, own = numbers != block, numbers == block
        weights = np.bincount(place[others], minlength=len(scores)).astype(np.float64)
        kept = weights > 0
        sums = np.bincount(place[others], y[others], minlength=len(scores))
        values = isotonic_regression(sums[kept] / weights[kept], sample_weight=weights[kept])
        errors[own] = np.abs(np.interp(scores[place[own]], scores[kept], values) - y[own])
    return errors


def shape_check(fit: ProxyRegressor, x: Floats, y: Floats, blocks: Indices | None = None) -> str | None:
    """A sentence where isotonic regression predicts points left out clearly better than the fitted curve, else None.

    Scores beyond those of all other blocks are not counted: isotonic regression cannot follow a trend to them. The
    standard error is that of the blocks' mean gains.
    """
    numbers = np.arange(len(x)) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    inside = np.array(
        [x[numbers != own].min() < at < x[numbers != own].max() for at, own in zip(x, numbers, strict=True)]
    )
    isotonic = isotonic_left_out_errors(x, y, falling=fit.direction_ == "falling", blocks=numbers)[inside]
    curve = np.abs(fit.left_out_residuals_)[inside]
    counts = np.bincount(numbers[inside], minlength=1)
    gain = np.bincount(numbers[inside], curve - isotonic, minlength=1)[counts > 0] / counts[counts > 0]
    if len(gain) < 3 or gain.mean() <= SWITCH_AT_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
        return None
    return (
        f"isotonic regression, which only assumes that accuracy goes with the score, errs by {isotonic.mean():.3f} "
        f"points at points left out, the {fit.function_} curve by {curve.mean():.3f}: it misses some shape"
    )
