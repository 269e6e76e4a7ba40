"""Fixed stratified samples of the items of a benchmark, and what they say about all of its items.

The items are sorted by the length of their traces and cut into strata of equal size. One seeded order takes items from
all strata in turn, so every beginning of the order is a stratified sample: a smaller sample is part of a larger one,
and two checkpoints scored on different numbers of items still share the items of the smaller sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray

#: Strata of a benchmark: enough to take most of the variance that trace lengths explain.
STRATA = 10
_STRATUM_ITEMS = 2  # fewest items from which a variance is computed

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StratifiedOrder:
    """An order of the items in which every beginning is a stratified sample.

    Attributes:
        order: indices of the items, shape (items,).
        stratum: stratum of each item, shape (items,), by the index of the item.
    """

    order: IntArray
    stratum: IntArray

    @classmethod
    def of(cls, lengths: Sequence[int], seed: int) -> StratifiedOrder:
        """Order items by strata of their lengths.

        Args:
            lengths: of the traces, shape (items,).
            seed: of the order within each stratum.
        """
        rng = np.random.default_rng(seed)
        count = len(lengths)
        stratum = np.empty(count, dtype=np.int64)
        place = np.empty(count)
        by_length = np.argsort(lengths, kind="stable")
        for number, members in enumerate(np.array_split(by_length, max(1, min(STRATA, count // _STRATUM_ITEMS)))):
            stratum[members] = number
            place[rng.permutation(members)] = (np.arange(members.size) + 0.5) / max(1, members.size)
        return cls(np.lexsort((rng.random(count), place)), stratum)


@dataclass(frozen=True)
class Estimate:
    """A score of all items, estimated from a sample of them.

    Attributes:
        value: the score.
        stderr: standard error over items, sampling included: what it would be if the sample were all there is, less
            what the strata explain. For all items it is that of ``rb.score``. NaN for a single item.
        sampling_stderr: of the difference to the score of all items; 0 if all were scored.
    """

    value: float
    stderr: float
    sampling_stderr: float


def stratified_estimate(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike, stratum: npt.ArrayLike, sizes: Sequence[int]
) -> Estimate:
    """Estimate the ratio of two means over all items of a benchmark from a stratified sample.

    With N items, N_h of them in stratum h and n_h of these sampled, W_h = N_h / N, and z the residual of an item
    (numerator - ratio * denominator, over the mean denominator), the variances are, by the delta method for ratios
    (Cochran, Sampling Techniques, chapters 5 and 6)

    - sampling: sum_h W_h^2 (1 - n_h / N_h) var_h(z) / n_h, with the finite population correction;
    - items: (sum_h W_h mean_h(z^2)) n / (n - 1) / N, the error that all N items have as a sample of such items.

    The standard error is the root of their sum. Neighbouring strata are joined until each holds two sampled items.

    Args:
        numerator, denominator: of the sampled items, shape (sampled,); a mean has denominators of 1.
        stratum: of the sampled items, shape (sampled,).
        sizes: number of items in each stratum.

    >>> half = stratified_estimate([1.0, 3.0, 5.0, 7.0], np.ones(4), [0, 0, 1, 1], [4, 4])
    >>> half.value, round(half.sampling_stderr, 3)  # sqrt(2 * 0.25 * 0.5 * 2 / 2)
    (4.0, 0.5)
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    groups, counts = _joined_strata(np.asarray(stratum), sizes)
    share = counts / counts.sum()
    means = [float(share @ [column[group].mean() for group in groups]) for column in (top, bottom)]
    ratio = means[0] / means[1]
    if top.size < _STRATUM_ITEMS:
        return Estimate(ratio, math.nan, 0.0 if counts.sum() == top.size else math.nan)
    residual = (top - ratio * bottom) / means[1]
    sampling = items = 0.0
    for group, weight, count in zip(groups, share, counts, strict=True):
        z: FloatArray = residual[group]
        sampling += weight**2 * (1 - z.size / count) * z.var(ddof=1) / z.size
        items += weight * float(z @ z) / z.size
    items *= top.size / (top.size - 1) / counts.sum()
    return Estimate(ratio, math.sqrt(sampling + items), math.sqrt(sampling))


def _joined_strata(stratum: IntArray, sizes: Sequence[int]) -> tuple[list[IntArray], FloatArray]:
    """Sampled items of each group of neighbouring strata, and the number of all items in each group."""
    groups: list[list[int]] = [[]]
    counts = [0]
    for number, size in enumerate(sizes):
        if len(groups[-1]) >= _STRATUM_ITEMS:
            groups.append([])
            counts.append(0)
        groups[-1] += np.flatnonzero(stratum == number).tolist()
        counts[-1] += size
    if len(groups) > 1 and len(groups[-1]) < _STRATUM_ITEMS:
        last, count = groups.pop(), counts.pop()
        groups[-1] += last
        counts[-1] += count
    return [np.asarray(group, dtype=np.int64) for group in groups], np.asarray(counts, dtype=np.float64)
