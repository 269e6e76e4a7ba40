"""Check the shape of a fitted curve against isotonic regression, which only assumes monotonicity."""

from __future__ import annotations

import numpy as np

from rbridge_metrics.functions import Floats
from rbridge_metrics.regression import SWITCH_AT_STANDARD_ERRORS, ProxyRegressor


def isotonic_left_out_errors(x: Floats, y: Floats, *, falling: bool) -> Floats:
    """Absolute error at each point, in points, of isotonic regression on all others.

    Between two fitted scores its value is interpolated; beyond the outermost scores it is constant.

    Args:
        x: scores, shape (points,).
        y: accuracies in percent, shape (points,).
        falling: whether accuracy falls as the score rises.

    >>> isotonic_left_out_errors(np.arange(4.0), np.array([10.0, 20.0, 30.0, 40.0]), falling=False)
    array([10.,  0.,  0., 10.])
    """
    from sklearn.isotonic import isotonic_regression

    scores, place, count = np.unique(-x if falling else x, return_inverse=True, return_counts=True)
    errors = np.empty(len(x))
    for point, at in enumerate(place):
        weights = count.astype(np.float64)
        weights[at] -= 1.0
        kept = weights > 0
        sums = np.bincount(np.delete(place, point), np.delete(y, point), minlength=len(scores))
        values = isotonic_regression(sums[kept] / weights[kept], sample_weight=weights[kept])
        errors[point] = np.abs(np.interp(scores[at], scores[kept], values) - y[point])
    return errors


def shape_check(fit: ProxyRegressor, x: Floats, y: Floats) -> str | None:
    """A sentence where isotonic regression predicts points left out clearly better than the fitted curve, else None.

    The outermost scores are not counted: isotonic regression cannot follow a trend to them.
    """
    inside = (x > x.min()) & (x < x.max())
    isotonic = isotonic_left_out_errors(x, y, falling=fit.direction_ == "falling")[inside]
    curve = np.abs(fit.left_out_residuals_)[inside]
    gain = curve - isotonic
    if len(gain) < 3 or gain.mean() <= SWITCH_AT_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)):
        return None
    return (
        f"isotonic regression, which only assumes that accuracy goes with the score, errs by {isotonic.mean():.3f} "
        f"points where a point is left out, the {fit.function_} curve by {curve.mean():.3f}: it misses some shape"
    )
