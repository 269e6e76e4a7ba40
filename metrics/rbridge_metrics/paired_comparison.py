"""Paired bootstrap over candidates: intervals of how well many scores order a target, and tests of their differences.

All scores see the same draws, so effects common to all scores cancel in their differences. A draw is a count for each
candidate; statistics of the drawn candidates are sums weighted by the counts, computed for all draws in one product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import BootstrapError
from rbridge_metrics.ranking import Agreement

#: Fewest candidates to draw from.
MIN_UNITS = 5


def drawn_counts(units: int, *, resamples: int = 2000, seed: int = 0, block: int = 1) -> FloatArray:
    """How often each unit was drawn with replacement: (resamples, units). Draws of fewer than 3 units are repeated.

    Args:
        units: candidates, or checkpoints in the order of their training.
        resamples: number of draws.
        seed: of the draws.
        block: number of neighbours drawn together, cyclically: for checkpoints, whose errors are correlated.

    Raises:
        BootstrapError: fewer than ``MIN_UNITS`` units, no resamples, or a block below 1 or above ``units - 2``.

    >>> drawn_counts(5, resamples=2).sum(axis=1)
    array([5., 5.])
    """
    if units < MIN_UNITS or resamples < 1:
        raise BootstrapError(
            f"{units} candidates and {resamples} resamples; expected at least {MIN_UNITS} to draw from and 1 resample"
        )
    if not 1 <= block <= units - 2:
        raise BootstrapError(f"a block of {block} of {units} units; expected at least 1 and at most {units - 2}")
    rng = np.random.default_rng(seed)
    counts = _drawn(rng, resamples, units, block)
    while (few := (counts > 0).sum(axis=1) < 3).any():
        counts[few] = _drawn(rng, int(few.sum()), units, block)
    return counts


def _drawn(rng: np.random.Generator, resamples: int, units: int, block: int) -> FloatArray:
    starts = rng.integers(0, units, (resamples, -(-units // block), 1))
    at = ((starts + np.arange(block)) % units).reshape(resamples, -1)[:, :units]
    at += units * np.arange(resamples)[:, None]
    return np.bincount(at.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


def resampled_agreement(scores: npt.ArrayLike, target: npt.ArrayLike, counts: npt.ArrayLike) -> Agreement:
    """Decision accuracy, Kendall's tau-b and Spearman's rho of every score with the target, on drawn candidates.

    Equal to ``ranking.agreement`` on the candidates repeated as often as they were drawn. Copies of one candidate are
    tied with each other on both sides.

    Args:
        scores: shape (scores, candidates), higher is better; negate an NLL.
        target: shape (candidates,), higher is better.
        counts: shape (resamples, candidates), see ``drawn_counts``.

    Returns:
        Arrays of shape (scores, resamples), NaN for a draw that orders no pair.

    Raises:
        BootstrapError: shapes that do not fit.

    >>> drawn = resampled_agreement([[3.0, 2.0, 1.0]], [0.5, 0.4, 0.45], [[1, 1, 1], [2, 1, 0]])
    >>> drawn.decision_accuracy.round(3)
    array([[0.667, 1.   ]])
    """
    rows, truth = np.asarray(scores, dtype=np.float64), np.asarray(target, dtype=np.float64)
    drawn = np.asarray(counts, dtype=np.float64)
    if rows.ndim != 2 or truth.shape != rows.shape[1:] or drawn.ndim != 2 or drawn.shape[1] != truth.size:
        raise BootstrapError(
            f"scores of shape {rows.shape}, a target of {truth.shape}, draws of {drawn.shape}; expected a column a "
            "candidate in all"
        )
    theirs = np.sign(truth[:, None] - truth)
    untied_target = _pairs(drawn, theirs**2)
    rank = drawn @ (1.0 + theirs).T / 2
    parts = []
    for row in rows:
        ours = np.sign(row[:, None] - row)
        surplus, untied = _pairs(drawn, ours * theirs), _pairs(drawn, ours**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(
                (
                    0.5 + surplus / (2 * untied_target),
                    surplus / np.sqrt(untied * untied_target),
                    _weighted_pearson(drawn @ (1.0 + ours).T / 2, rank, drawn),
                )
            )
    return Agreement(*(np.stack(column) for column in zip(*parts, strict=True)))


def resampled_weighted_means(values: npt.ArrayLike, weights: npt.ArrayLike, counts: npt.ArrayLike) -> FloatArray:
    """Weighted means of drawn candidates: values (scores, candidates), weights (candidates,) to (scores, resamples)."""
    drawn = np.asarray(counts, dtype=np.float64) * np.asarray(weights, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: FloatArray = (np.asarray(values, dtype=np.float64) @ drawn.T) / drawn.sum(axis=1)
    return means


class ComparisonWithBest(NamedTuple):
    """Scores compared with the best of them.

    Attributes:
        best: position of the best score among those that may be best.
        alike: shape (scores,), True without a significant difference to the best; True for the best itself.
        ahead: shape (scores,), True if significantly better than the best: possible for a baseline.
        critical: number of standard errors that makes a difference significant.
    """

    best: int
    alike: npt.NDArray[np.bool_]
    ahead: npt.NDArray[np.bool_]
    critical: float


def compare_with_best(
    value: npt.ArrayLike, resampled: npt.ArrayLike, *, may_be_best: npt.ArrayLike | None = None, level: float = 0.9
) -> ComparisonWithBest:
    """Test which scores differ significantly from the best, corrected for their number and for picking the best.

    All pairwise differences are tested together: the critical number of standard errors is the quantile, over the
    resamples, of the largest standardised error of any difference (max-t). With probability ``level`` no pair of equal
    scores is called different, whichever score is best.

    Args:
        value: shape (scores,), higher is better; a score that is NaN is never alike.
        resampled: shape (scores, resamples), paired.
        may_be_best: shape (scores,), False for a baseline.
        level: of all tests together.

    Raises:
        BootstrapError: shapes that do not fit, a level outside (0, 1), or no score that may be best.
    """
    values, table = np.asarray(value, dtype=np.float64), np.asarray(resampled, dtype=np.float64)
    eligible = np.ones(values.size, bool) if may_be_best is None else np.asarray(may_be_best, dtype=bool)
    if table.ndim != 2 or table.shape[0] != values.size or eligible.shape != values.shape or not 0 < level < 1:
        raise BootstrapError(f"{values.size} values, resamples of {table.shape}, level {level:g}; these do not fit")
    eligible = eligible & np.isfinite(values)
    if not eligible.any():
        raise BootstrapError("no score has a value that may be the best; at least one is needed")
    best = int(np.where(eligible, values, -np.inf).argmax())
    known = np.flatnonzero(np.isfinite(values))
    kept = table[known][:, np.isfinite(table[known]).all(axis=0)]
    if kept.shape[1] < 2:
        return ComparisonWithBest(best, np.isfinite(values), np.zeros(values.size, dtype=bool), np.inf)
    worst = np.zeros(kept.shape[1])
    errors = np.zeros(values.size)
    for at, place in enumerate(known):
        differences = kept[at] - kept[at + 1 :] if place != best else kept[at] - kept
        others = known[at + 1 :] if place != best else known
        deviation = differences.std(axis=1, keepdims=True)
        error = np.abs(differences - (values[place] - values[others])[:, None])
        standardised = np.divide(error, deviation, out=np.zeros_like(error), where=deviation > 1e-12)
        worst = np.maximum(worst, standardised.max(axis=0, initial=0.0))
        if place == best:
            errors[known] = deviation[:, 0]
    critical = float(np.quantile(worst, level))
    apart = np.zeros(values.size)
    apart[known] = values[best] - values[known]
    sure = (np.abs(apart) > critical * errors) & (errors > 1e-12)
    return ComparisonWithBest(best, np.isfinite(values) & ~sure, sure & (apart < 0), critical)


def _pairs(counts: FloatArray, matrix: FloatArray) -> FloatArray:
    """Sum over pairs i < j of n_i n_j m_ij for every draw n; the matrix is symmetric with a zero diagonal."""
    total: FloatArray = np.einsum("bi,bi->b", counts @ matrix, counts) / 2
    return total


def _weighted_pearson(left: FloatArray, right: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1, keepdims=True)
    a = left - (weights * left).sum(axis=1, keepdims=True) / total
    b = right - (weights * right).sum(axis=1, keepdims=True) / total
    scale = np.sqrt((weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1))
    correlation: FloatArray = (weights * a * b).sum(axis=1) / np.where(scale > 0, scale, np.nan)
    return correlation
