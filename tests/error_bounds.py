"""Bounds on rounding errors. The tests derive their tolerances from these and not from the output of one machine.

Processors, instruction sets and numbers of threads add the same terms in different orders, so results differ within
these bounds and no further. Sources: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed. (2002); Higham
and Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019. All bounds are
of first order in u; terms in u^2 are below a millionth of them.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Precision = Literal["float64", "float32", "float16", "bfloat16"]

#: Half the spacing of floating-point numbers at 1: the largest relative error of one rounding.
UNIT_ROUNDOFF: dict[Precision, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}

#: Additions that one term goes through in ``torch.sum`` on a CPU, at most. It sums in a cascade of 4 levels of
#: max(16, n ** (1/4)) terms, up to 2**20 terms in all (``level_step`` in aten/src/ATen/native/cpu/SumKernel.cpp), in up
#: to 4 vectors of up to 16 numbers that are added up at the end.
CASCADE = 4 * 32 + 4 + 16


def accumulated(roundings: float, precision: Precision) -> float:
    """Relative error after n roundings in a row: the smaller of n u and 6 sqrt(n) u.

    n u is the worst case: Higham (2002), Lemma 3.1. For independent rounding errors of mean 0, lambda sqrt(n) u holds
    with probability 1 - 2 n exp(-lambda^2 / 2): Higham and Mary (2019), Theorem 2.4; for lambda = 6 that leaves n cases
    in 30 million.
    """
    return min(roundings, 6 * math.sqrt(roundings)) * UNIT_ROUNDOFF[precision]


def sum_bound(terms: npt.ArrayLike, precision: Precision = "float32") -> float:
    """Error of the sum of n terms in any order: (n - 1) u sum |x_i|; Higham (2002), section 4.2, eq. (4.4)."""
    values = np.abs(np.asarray(terms, dtype=np.float64))
    return (values.size - 1) * UNIT_ROUNDOFF[precision] * float(values.sum())


def cascade_bound(terms: npt.ArrayLike, precision: Precision = "float32") -> float:
    """Error of ``torch.sum``: h u sum |x_i|, h the additions that one term goes through; Higham (2002), eq. (4.6)."""
    values = np.abs(np.asarray(terms, dtype=np.float64))
    return accumulated(min(values.size, CASCADE), precision) * float(values.sum())


def model_bound(
    logprob: npt.ArrayLike = (),
    *,
    layers: int = 2,
    width: int = 32,
    inner: int = 64,
    positions: int = 512,
    vocabulary: int = 700,
    precision: Precision = "float32",
) -> float:
    """How far two readings of one text by a model may lie apart in one token's log-probability, in nats.

    n roundings lie on the longest way from an embedding to a logit: in each layer two norms and four products with
    ``width`` terms, two with ``inner`` and, for the softmax and the values, two with ``positions``; behind them a norm
    and the projection. Their errors, independent and of mean 0, grow as sqrt(n) (Higham and Mary, 2019; lambda = 1,
    for each is counted as u times the largest log-probability, which the sums under way seldom reach). Norms keep one
    layer's error from growing in the next. The sum over the vocabulary adds sqrt(V) u. Twice, for two readings.

    The defaults are of ``tests.support.tiny_model``, for which the bound is about 1e-4: 1e-3 nats a token is outside.

    Args:
        logprob: log-probabilities of the model on these texts; the largest counts, or 2 ln V if that is larger, where
            the less likely tokens of an untrained model lie.
        layers, width, inner, positions, vocabulary: the model's, and the longest text's.
        precision: of the pass.
    """
    in_layer = 2 * width + 4 * width + 2 * inner + 2 * positions
    largest = max(float(np.abs(np.asarray(logprob, dtype=np.float64)).max(initial=0.0)), 2 * math.log(vocabulary))
    of_logit = math.sqrt(layers * in_layer + 2 * width) * largest
    return 2 * UNIT_ROUNDOFF[precision] * (of_logit + math.sqrt(vocabulary))


def model_sum_bound(logprob: npt.ArrayLike, **model: int) -> float:
    """How far two sums over a text's tokens may lie apart: ``model_bound`` for each, and the rounding of float32 sums.

    Tokens of one text share what is before them, so their errors are added and not expected to cancel.
    """
    values = np.asarray(logprob, dtype=np.float64)
    return values.size * model_bound(values, **model) + 2 * cascade_bound(values)


def telescoped_bounds(logprob: npt.ArrayLike, **model: int) -> Array:
    """Errors of log-probabilities that are differences of float32 sums over ever longer beginnings, shape (tokens,).

    The i-th is a sum over i tokens less one over i - 1. Each sum is rounded: sqrt(i) u sum |x|, every addition counted
    as large as the whole sum. And each reads all of the i tokens anew: independent errors of mean 0, sqrt(i) of them.
    """
    values = np.abs(np.asarray(logprob, dtype=np.float64))
    root = np.sqrt(np.arange(1, values.size + 1))
    return root * (2 * UNIT_ROUNDOFF["float32"] * np.cumsum(values) + model_bound(values, **model))


def stored_bound(confidence: npt.ArrayLike) -> Array:
    """Error of confidences whose logarithms x are stored in float32: exp(x) moves by u |x| exp(x).

    The exponential, the logarithm and a mean over the bytes of a character are rounded in float64: 1e-12 is above
    a thousand such roundings. Below 1e-300 digits are lost to underflow.
    """
    values = np.asarray(confidence, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logarithm = np.abs(np.log(values))
    moved = UNIT_ROUNDOFF["float32"] * np.where(np.isfinite(logarithm), logarithm, 0.0)
    bound: Array = (moved * (1 + 1e-4) + 1e-12) * values + 1e-300
    return bound


def assert_within(found: npt.ArrayLike, expected: npt.ArrayLike, bound: npt.ArrayLike, name: str = "") -> None:
    """Every number lies within its bound of the expected one; infinities are the same."""
    one, other = (np.asarray(values, dtype=np.float64) for values in (found, expected))
    limit = np.broadcast_to(np.asarray(bound, dtype=np.float64), other.shape)
    assert one.shape == other.shape, f"{name} has shape {one.shape}; {other.shape} is expected"
    with np.errstate(invalid="ignore"):  # equal infinities
        difference = np.where(one == other, 0.0, np.abs(one - other))
    inside = difference <= limit  # a NaN is outside
    if not inside.all():
        at = np.unravel_index(int(np.argmax(np.where(inside, 0.0, np.nan_to_num(difference, nan=np.inf)))), one.shape)
        raise AssertionError(
            f"{name}{list(map(int, at))} is {one[at]:.9g}, expected {other[at]:.9g}: {difference[at]:.3g} apart where "
            f"{limit[at]:.3g} is allowed; {np.count_nonzero(~inside)} of {one.size} numbers are outside their bounds"
        )
