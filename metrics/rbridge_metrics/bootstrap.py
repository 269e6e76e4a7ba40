"""The bootstrap over items: how far scores and ranks would move with other items of the same kind.

``resampled_means`` and ``resampled_ratios`` are paired: all candidates share each draw, so an effect of an item on
all of them cancels in their differences. ``drawn_scores`` needs only values and standard errors; it treats the
candidates as independent, which overstates the uncertainty of their order.

Training noise is not included: another seed of the same data set may move a score further than other items do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import BootstrapError, RBridgeError
from rbridge_metrics.ranking import ranks

#: One number, or several: the benchmark beside the user's seed, for draws that are independent of each other.
Seed = int | Sequence[int]

#: Draws of items held at a time. Fixed, because the stream of random numbers is cut there.
_CHUNK_DRAWS = 1 << 19


class Interval(NamedTuple):
    """A percentile interval, arrays of one shape."""

    low: FloatArray
    high: FloatArray


class RankSummary(NamedTuple):
    """The order of the candidates, best first, with its uncertainty over the resamples.

    Attributes:
        order: shape (candidates,), index of the candidate at each place.
        rank: shape (candidates,), rank of that candidate by its own score; ties share their mean rank.
        rank_interval: of that rank, over the resamples.
        ordered_right: shape (candidates - 1,), probability that the candidate at each place is better than the next:
            the fraction of resamples where it is, ties counting half.
    """

    order: npt.NDArray[np.intp]
    rank: FloatArray
    rank_interval: Interval
    ordered_right: FloatArray


def resampled_means(items: npt.ArrayLike, *, resamples: int = 10_000, seed: Seed = 0) -> FloatArray:
    """Mean score of every candidate over items drawn with replacement, the same draw for all candidates.

    Args:
        items: shape (candidates, items), the score of each candidate on each item.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        Shape (resamples, candidates).

    Raises:
        BootstrapError: no items, a score that is not finite, or no resamples.

    >>> resampled_means([[0.0, 1.0], [1.0, 2.0]], resamples=3).tolist()
    [[1.0, 2.0], [0.5, 1.5], [0.0, 1.0]]
    """
    table = _item_table(items, "item score")
    means: FloatArray = _resampled_sums(table, resamples, seed) / table.shape[1]
    return means


def resampled_ratios(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, *, resamples: int = 10_000, seed: Seed = 0
) -> FloatArray:
    """Sum of numerators over sum of denominators, for scores that are ratios over a corpus, such as bits per byte.

    Args:
        numerators: shape (candidates, items), e.g. nats of each trace.
        denominators: the same shape, e.g. its bytes.
        resamples: number of draws of items, the same for all candidates and for both sums.
        seed: of the draws.

    Returns:
        Shape (resamples, candidates). For bits per byte divide by ln 2.

    Raises:
        BootstrapError: as ``resampled_means``; different shapes; a denominator at or below 0.
    """
    upper, lower = _item_table(numerators, "numerator"), _item_table(denominators, "denominator")
    if upper.shape != lower.shape:
        raise BootstrapError(f"numerators of shape {upper.shape}, denominators of {lower.shape}; one of each is needed")
    if lower.min() <= 0:
        raise BootstrapError(f"a denominator of {lower.min():g}; every item needs one above 0")
    sums = _resampled_sums(np.concatenate([upper, lower]), resamples, seed)
    return sums[:, : len(upper)] / sums[:, len(upper) :]


def drawn_scores(value: npt.ArrayLike, stderr: npt.ArrayLike, *, resamples: int = 10_000, seed: Seed = 0) -> FloatArray:
    """Scores drawn from independent normal distributions, for candidates without item scores.

    Unpaired: see the head of this module. Prefer ``resampled_means`` where there are item scores.

    Args:
        value: shape (candidates,).
        stderr: shape (candidates,), standard error over items, at least 0.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        Shape (resamples, candidates).

    Raises:
        BootstrapError: different lengths, a value that is not finite, a standard error below 0, or no resamples.
    """
    centre, spread = np.asarray(value, dtype=np.float64), np.asarray(stderr, dtype=np.float64)
    if centre.ndim != 1 or centre.shape != spread.shape or not centre.size:
        raise BootstrapError(f"{centre.size} values but {spread.size} standard errors; one of each is needed")
    if not (np.isfinite(centre).all() and np.isfinite(spread).all()) or spread.min() < 0:
        raise BootstrapError("a value or standard error that is missing or below 0; leave that candidate out")
    check_resamples(resamples)
    noise: FloatArray = np.random.default_rng(seed).standard_normal((resamples, centre.size))
    return centre + spread * noise


def percentile_interval(resampled: npt.ArrayLike, *, level: float = 0.9) -> Interval:
    """The middle ``level`` of the resamples, a pair of arrays of shape (...) for resamples of shape (resamples, ...).

    NaN where any resample is NaN.

    Raises:
        BootstrapError: no resamples, or a level outside (0, 1).

    >>> low, high = percentile_interval(np.arange(101.0), level=0.5)
    >>> float(low), float(high)
    (25.0, 75.0)
    """
    table = np.asarray(resampled, dtype=np.float64)
    check_resamples(len(table))
    return Interval(*np.quantile(table, tails(level), axis=0))


def rank_summary(
    scores: npt.ArrayLike, resampled: npt.ArrayLike, *, lower_is_better: bool, level: float = 0.9
) -> RankSummary:
    """Order the candidates by their scores, with the certainty of that order.

    Args:
        scores: shape (candidates,), the scores themselves. Candidates with equal scores stay in the order given.
        resampled: shape (resamples, candidates), see ``resampled_means`` and ``drawn_scores``.
        lower_is_better: True for an NLL, False for an accuracy.
        level: of the rank intervals.

    Raises:
        BootstrapError: shapes that do not fit; RankingError: a score that is not finite.

    >>> summary = rank_summary([2.0, 1.0], [[2.0, 1.0], [1.8, 1.1], [1.5, 1.6]], lower_is_better=True)
    >>> summary.order.tolist(), summary.ordered_right.round(2).tolist()
    ([1, 0], [0.67])
    """
    values, table = np.asarray(scores, dtype=np.float64), np.asarray(resampled, dtype=np.float64)
    if values.ndim != 1 or table.ndim != 2 or table.shape[1] != values.size:
        raise BootstrapError(
            f"{values.size} scores but resamples of shape {table.shape}; a column a candidate is needed"
        )
    observed = ranks(values, lower_is_better=lower_is_better)
    order = np.argsort(observed, kind="stable")
    resampled_ranks = ranks(table, lower_is_better=lower_is_better)[:, order]
    better = resampled_ranks[:, :-1] < resampled_ranks[:, 1:]
    tied = resampled_ranks[:, :-1] == resampled_ranks[:, 1:]
    return RankSummary(
        order=order,
        rank=observed[order],
        # A rank that occurs, not a point between two ranks.
        rank_interval=Interval(*np.quantile(resampled_ranks, tails(level), axis=0, method="inverted_cdf")),
        ordered_right=(better + 0.5 * tied).mean(axis=0),
    )


def _resampled_sums(table: FloatArray, resamples: int, seed: Seed) -> FloatArray:
    """Sum of each row over drawn items, by one matrix product of draw counts and items for each chunk.

    Equal rows are summed once, so that they stay equal to the last bit and count as tied.
    """
    check_resamples(resamples)
    rows, row_of = np.unique(table, axis=0, return_inverse=True)
    items = table.shape[1]
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_DRAWS // items)
    sums = np.empty((resamples, len(rows)))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, items, size=(size, items), dtype=np.int32).astype(np.int64)
        drawn += np.arange(size)[:, None] * items
        counts = np.bincount(drawn.ravel(), minlength=size * items).reshape(size, items)
        sums[start : start + size] = counts.astype(np.float64) @ rows.T
    return sums[:, row_of.ravel()]


def tails(level: float, error: type[RBridgeError] = BootstrapError) -> tuple[float, float]:
    """Probabilities of the two ends of the central interval of a level, such as 0.05 and 0.95 for 0.9.

    Raises:
        RBridgeError: of the class ``error``: the level is not between 0 and 1.

    >>> tails(0.5)
    (0.25, 0.75)
    """
    if not 0 < level < 1:
        raise error(f"an interval of level {level:g}; a level between 0 and 1 is needed, such as 0.9")
    return (1 - level) / 2, (1 + level) / 2


def check_resamples(resamples: int) -> None:
    """Refuse a number of resamples below 1.

    Raises:
        BootstrapError: no resamples.
    """
    if resamples < 1:
        raise BootstrapError(f"{resamples} resamples; at least 1 is needed, and 10,000 for intervals of two digits")


def _item_table(items: npt.ArrayLike, what: str) -> FloatArray:
    table = np.asarray(items, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise BootstrapError(f"{what}s of shape {table.shape}; a row a candidate and a column an item are needed")
    if not np.isfinite(table).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(table))[0])
        raise BootstrapError(
            f"{what} {table[row, column]} of candidate {row}, item {column}; a score needs finite numbers"
        )
    return table
