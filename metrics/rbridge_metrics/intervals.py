"""Prediction intervals for few points: jackknife+ for exchangeable points, block jackknife for checkpoints of a run."""

from __future__ import annotations

import numpy as np

from rbridge_metrics.errors import FitError
from rbridge_metrics.functions import Floats


def jackknife_plus(
    left_out_predictions: Floats, left_out_residuals: Floats, centre: Floats, level: float, n_params: int
) -> tuple[Floats, Floats]:
    """Bounds between which a new accuracy lies with probability ``level``, if it comes about as those fitted did.

    The jackknife+ of Barber et al. (Annals of Statistics 49, 2021): for each point i left out, the curve fitted without
    it and the error it made at i give a value on either side, and a bound is the value of rank ``level * (n + 1)``. Two
    changes. Between two whole ranks the bound is interpolated; rounding up would cover too much, by up to 1 / (n + 1).
    Where the rank exceeds n, as it does for n < level / (1 - level), n points cannot tell: the bound of rank n, good
    for a level of n / (n + 1), is moved away from ``centre`` by the ratio of Student's t at both levels with
    n - n_params degrees of freedom. That part rests on normal errors.

    Args:
        left_out_predictions: shape (points, new), at the new scores, of the curve fitted without each point.
        left_out_residuals: shape (points,), the error of each such curve at its own point.
        centre: shape (new,), the prediction itself.
        level: in (0, 1).
        n_params: parameters of the function.

    Returns:
        Lower and upper bounds, each of shape (new,), cut to 0..100, and 0..100 for fewer than two points; NaN where
        ``centre`` is.

    Raises:
        FitError: a level outside (0, 1).

    >>> low, high = jackknife_plus(np.full((9, 1), 50.0), np.arange(1.0, 10.0), np.array([50.0]), 0.8, 2)
    >>> low, high
    (array([42.]), array([58.]))
    """
    points = len(left_out_residuals)
    check_level(level)
    if points < 2:  # nothing is known of the errors
        return np.where(np.isnan(centre), np.nan, 0.0), np.where(np.isnan(centre), np.nan, 100.0)
    error = np.abs(left_out_residuals)[:, None]
    widening = 1.0
    if level * (points + 1) > points:
        from scipy.stats import t

        freedom, reached = max(points - n_params, 1), points / (points + 1)
        widening = t.ppf(0.5 + 0.5 * level, freedom) / t.ppf(0.5 + 0.5 * reached, freedom)
    rank = level * (points + 1)
    with np.errstate(invalid="ignore", over="ignore"):  # an unbounded curve may reach infinity
        high = np.maximum(_of_rank(left_out_predictions + error, rank), centre)
        low = np.minimum(-_of_rank(error - left_out_predictions, rank), centre)
        low, high = centre - widening * (centre - low), centre + widening * (high - centre)
    low, high = np.where(np.isnan(low), 0.0, low), np.where(np.isnan(high), 100.0, high)
    undefined = np.where(np.isnan(centre), np.nan, 0.0)
    return np.clip(low, 0.0, 100.0) + undefined, np.clip(high, 0.0, 100.0) + undefined


def block_jackknife(
    left_out_predictions: Floats, residual_scale: float, centre: Floats, level: float, n_params: int
) -> tuple[Floats, Floats]:
    """Bounds for a new checkpoint of a run, where the errors of neighbouring checkpoints are correlated.

    The variance of the curve is that of the delete-a-block jackknife (Kunsch, Annals of Statistics 17, 1989): (K - 1) /
    K times the sum of squared deviations of the K curves fitted without a block each. It grows beyond the scores
    fitted, where the curve without the outermost block is far off, unlike the errors of points left out alone. The
    variance of the residuals is added. The quantile is that of Student's t with K - n_params degrees of freedom: K
    blocks, and not the number of checkpoints, are the effective number of points.

    Args:
        left_out_predictions: shape (blocks, new), at the new scores, of the curve fitted without each block.
        residual_scale: standard deviation of the residuals, in points.
        centre: shape (new,), the prediction itself.
        level: in (0, 1).
        n_params: parameters of the function.

    Returns:
        Lower and upper bounds, each of shape (new,), cut to 0..100.

    Raises:
        FitError: a level outside (0, 1).

    >>> low, high = block_jackknife(np.array([[49.0], [51.0]]), 0.0, np.array([50.0]), 0.9, 1)
    >>> low.round(3), high.round(3)
    (array([43.686]), array([56.314]))
    """
    from scipy.stats import t

    check_level(level)
    blocks = len(left_out_predictions)
    deviations = left_out_predictions - left_out_predictions.mean(axis=0)
    variance = (blocks - 1) / blocks * (deviations**2).sum(axis=0) + residual_scale**2
    half = t.ppf(0.5 + 0.5 * level, max(blocks - n_params, 1)) * np.sqrt(variance)
    return np.clip(centre - half, 0.0, 100.0), np.clip(centre + half, 0.0, 100.0)


def check_level(level: float) -> None:
    """Refuse a level that is no probability.

    Raises:
        FitError: it lies outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise FitError(f"level is {level}; expected a probability between 0 and 1, such as 0.9")


def _of_rank(values: Floats, rank: float) -> Floats:
    """The value of a rank from 1 to the number of rows, between two rows where it is not whole: (rows, n) to (n,)."""
    ordered = np.sort(values, axis=0)
    place = min(max(rank, 1.0), float(len(ordered))) - 1.0
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return np.asarray(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
