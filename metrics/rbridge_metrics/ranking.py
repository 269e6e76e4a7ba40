"""How well a proxy orders candidates: decision accuracy, Kendall's tau-b, Spearman's rho, and ranks.

Every function takes the direction of the proxy (``lower_is_better``). Ties are never broken by position:

- a pair tied in the target has no right order: it is left out of decision accuracy, and counted;
- a pair tied in the proxy alone counts half, as a coin toss would.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import RankingError

_CHUNK_ELEMENTS = 1_000_000  # signs of pairs in memory at a time: they fit into the processor's cache


class PairCounts(NamedTuple):
    """Kinds of the n(n-1)/2 pairs of candidates.

    Attributes:
        concordant, discordant: pairs ordered alike, or oppositely, by proxy and target.
        tied_in_proxy: pairs ordered by the target only.
        tied_in_target: pairs tied in the target, whether or not the proxy orders them.
    """

    concordant: int
    discordant: int
    tied_in_proxy: int
    tied_in_target: int

    @property
    def decision_accuracy(self) -> float:
        """(concordant + tied_in_proxy / 2) / pairs that the target orders; NaN if it orders none.

        >>> PairCounts(concordant=2, discordant=1, tied_in_proxy=2, tied_in_target=1).decision_accuracy
        0.6
        """
        ordered = self.concordant + self.discordant + self.tied_in_proxy
        return (self.concordant + self.tied_in_proxy / 2) / ordered if ordered else math.nan


class Agreement(NamedTuple):
    """Agreement of each row of scores with the target, arrays of shape (resamples,)."""

    decision_accuracy: FloatArray
    kendall_tau_b: FloatArray
    spearman: FloatArray


def pair_counts(
    proxy: npt.ArrayLike, target: npt.ArrayLike, *, lower_is_better: bool, target_lower_is_better: bool = False
) -> PairCounts:
    """Count the pairs of candidates that proxy and target order alike, oppositely, or not at all.

    Args:
        proxy: shape (candidates,), scores of the candidates under the small model.
        target: shape (candidates,), scores of the large model.
        lower_is_better: direction of the proxy: True for an NLL, False for an accuracy.
        target_lower_is_better: direction of the target.

    Raises:
        RankingError: fewer than two candidates, different lengths, or a score that is not finite.
    """
    left, right = _oriented(proxy, target, lower_is_better, target_lower_is_better)
    ours, theirs = _pair_signs(left), _pair_signs(right)
    product = ours * theirs
    return PairCounts(
        concordant=int((product > 0).sum()),
        discordant=int((product < 0).sum()),
        tied_in_proxy=int(((ours == 0) & (theirs != 0)).sum()),
        tied_in_target=int((theirs == 0).sum()),
    )


def decision_accuracy(
    proxy: npt.ArrayLike, target: npt.ArrayLike, *, lower_is_better: bool, target_lower_is_better: bool = False
) -> float:
    """Fraction of candidate pairs that the proxy orders as the target does (DataDecide, arXiv 2504.11393).

    A pair tied in the proxy counts 1/2; a pair tied in the target is left out (``pair_counts`` counts both). NaN if the
    target ties every pair. Arguments and errors are those of ``pair_counts``.

    >>> decision_accuracy([1.9, 2.0, 2.2], [0.5, 0.6, 0.4], lower_is_better=True)
    0.6666666666666666
    """
    counts = pair_counts(proxy, target, lower_is_better=lower_is_better, target_lower_is_better=target_lower_is_better)
    return counts.decision_accuracy


def kendall_tau_b(
    proxy: npt.ArrayLike, target: npt.ArrayLike, *, lower_is_better: bool, target_lower_is_better: bool = False
) -> float:
    """Kendall's tau-b, which corrects for ties: (C - D) / sqrt(pairs untied in proxy * pairs untied in target).

    1 if the proxy orders as the target does, -1 if it reverses the order, NaN if either ties every pair. Arguments and
    errors are those of ``pair_counts``.

    >>> round(kendall_tau_b([1.9, 2.0, 2.2], [0.5, 0.6, 0.4], lower_is_better=True), 4)
    0.3333
    """
    left, right = _oriented(proxy, target, lower_is_better, target_lower_is_better)
    return float(_agreement(left[None], right).kendall_tau_b[0])


def spearman(
    proxy: npt.ArrayLike, target: npt.ArrayLike, *, lower_is_better: bool, target_lower_is_better: bool = False
) -> float:
    """Spearman's rho: the Pearson correlation of the ranks; ties share their mean rank.

    NaN if either side ties every pair. Arguments and errors are those of ``pair_counts``.

    >>> round(spearman([1.9, 2.0, 2.2], [0.5, 0.6, 0.4], lower_is_better=True), 4)
    0.5
    """
    left, right = _oriented(proxy, target, lower_is_better, target_lower_is_better)
    return float(_agreement(left[None], right).spearman[0])


def agreement(
    scores: npt.ArrayLike, target: npt.ArrayLike, *, lower_is_better: bool, target_lower_is_better: bool = False
) -> Agreement:
    """All three measures for every row of scores at once, for a bootstrap.

    Args:
        scores: shape (resamples, candidates).
        target: shape (candidates,), the same for every row.
        lower_is_better, target_lower_is_better: as in ``pair_counts``.

    Raises:
        RankingError: as ``pair_counts``.

    >>> agreement([[1.9, 2.0, 2.2], [2.0, 1.9, 2.2]], [0.5, 0.6, 0.4], lower_is_better=True).decision_accuracy
    array([0.66666667, 1.        ])
    """
    rows, right = _oriented(scores, target, lower_is_better, target_lower_is_better, rows=True)
    step = max(1, _CHUNK_ELEMENTS // (right.size * (right.size - 1) // 2))
    parts = [_agreement(rows[start : start + step], right) for start in range(0, len(rows), step)]
    return Agreement(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def ranks(scores: npt.ArrayLike, *, lower_is_better: bool) -> FloatArray:
    """Rank the candidates of each row from 1, the best; ties share their mean rank.

    Args:
        scores: shape (candidates,) or (resamples, candidates).
        lower_is_better: True for an NLL, False for an accuracy.

    Raises:
        RankingError: no candidates, or a score that is not finite.

    >>> ranks([2.0, 1.5, 2.0, 3.0], lower_is_better=True)
    array([2.5, 1. , 2.5, 4. ])
    """
    values = _finite(scores, "score")
    values = values if lower_is_better else -values
    order = values.argsort(axis=-1)
    ordered = np.take_along_axis(values, order, -1)
    ranked = np.empty_like(values)
    np.put_along_axis(ranked, order, np.arange(1.0, values.shape[-1] + 1.0), -1)
    if (tied := (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)).any():
        from scipy.stats import rankdata  # takes 5 times as long

        ranked[tied] = rankdata(values[tied], axis=-1)
    return ranked


def _agreement(rows: FloatArray, target: FloatArray) -> Agreement:
    """Agreement of each row; higher is better on both sides. Counts are sums of signs: one product gives all rows."""
    ours, theirs = _pair_signs(rows), _pair_signs(target)
    surplus = (ours @ theirs).astype(np.float64)  # concordant - discordant
    untied, untied_target = np.count_nonzero(ours, axis=1), int(np.count_nonzero(theirs))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Agreement(
            decision_accuracy=0.5 + surplus / np.float64(2 * untied_target),
            kendall_tau_b=surplus / np.sqrt(untied * float(untied_target)),
            spearman=_pearson(ranks(rows, lower_is_better=False), ranks(target, lower_is_better=False)),
        )


def _pearson(rows: FloatArray, target: FloatArray) -> FloatArray:
    centred, centred_target = rows - rows.mean(axis=1, keepdims=True), target - target.mean()
    scale = np.sqrt((centred**2).sum(axis=1) * (centred_target**2).sum())
    correlation: FloatArray = (centred @ centred_target) / scale
    return correlation


def _pair_signs(values: FloatArray) -> npt.NDArray[np.float32]:
    """Sign of value_i - value_j for i < j along the last axis, shape (..., pairs); whole numbers, so exact."""
    first, second = np.triu_indices(values.shape[-1], k=1)
    signs: npt.NDArray[np.float32] = np.sign(values[..., first] - values[..., second]).astype(np.float32)
    return signs


def _oriented(
    proxy: npt.ArrayLike, target: npt.ArrayLike, lower: bool, target_lower: bool, *, rows: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Both sides as arrays; higher is better."""
    left, right = _finite(proxy, "proxy score"), _finite(target, "target score")
    if left.ndim != 1 + rows or right.ndim != 1:
        raise RankingError(
            f"scores of shapes {left.shape} and {right.shape}; each candidate needs one proxy and one target score"
        )
    if left.shape[-1] != right.size:
        raise RankingError(f"{left.shape[-1]} proxy scores but {right.size} target scores; one of each is needed")
    if right.size < 2:
        raise RankingError(f"{right.size} candidate with a target; an order needs two")
    return -left if lower else left, -right if target_lower else right


def _finite(values: npt.ArrayLike, what: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise RankingError(f"no {what} to rank; at least one is needed")
    if not np.isfinite(array).all():
        at = np.argwhere(~np.isfinite(array))[0]
        where = ", ".join(str(int(index)) for index in at)
        raise RankingError(f"{what} {array[tuple(at)]} at position {where}; leave out candidates without a score")
    return array
