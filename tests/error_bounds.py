"""Bounds on rounding errors, from which the tests take their tolerances: none is read off one machine.

Processors, instruction sets and numbers of threads add the same terms in different orders, so results differ within
these bounds and no further. Sources: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed. (2002); Higham
and Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019. All bounds are
of first order in u; terms in u^2 are below a millionth of them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]

#: Half the spacing of floating-point numbers at 1: the largest relative error of one rounding.
UNIT_ROUNDOFF = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}

#: Additions that one term goes through in ``torch.sum`` on a CPU, at most. It sums in a cascade of 4 levels of
#: max(16, n ** (1/4)) terms, up to 2**20 terms in all (``level_step`` in aten/src/ATen/native/cpu/SumKernel.cpp), in up
#: to 4 vectors of up to 16 numbers that are added up at the end.
_CASCADE = 4 * 32 + 4 + 16

#: Roundings of one exponential: the difference, the change of base, the constant of that change, the function (1 ulp).
_EXPONENTIAL = 5


def accumulated(roundings: float, dtype: torch.dtype) -> float:
    """Relative error after so many roundings in a row: n u at worst, and 6 sqrt(n) u in all but 1 case in 10 million.

    The first is Higham (2002), Lemma 3.1; the second Higham and Mary (2019), Theorem 2.4 with lambda = 6, for rounding
    errors that are independent and of mean 0. The smaller one holds.
    """
    return min(roundings, 6 * math.sqrt(roundings)) * UNIT_ROUNDOFF[dtype]


def sum_bound(terms: npt.ArrayLike, dtype: torch.dtype = torch.float32) -> float:
    """Error of the sum of n terms in any order: (n - 1) u sum |x_i|; Higham (2002), section 4.2, eq. (4.4)."""
    values = np.abs(np.asarray(terms, dtype=np.float64))
    return (values.size - 1) * UNIT_ROUNDOFF[dtype] * float(values.sum())


def cascade_bound(terms: npt.ArrayLike, dtype: torch.dtype = torch.float32) -> float:
    """Error of ``torch.sum``: h u sum |x_i|, h the additions that one term goes through; Higham (2002), eq. (4.6)."""
    values = np.abs(np.asarray(terms, dtype=np.float64))
    return accumulated(min(values.size, _CASCADE), dtype) * float(values.sum())


def product_bound(left: torch.Tensor, right: torch.Tensor, *, added: int = 0) -> torch.Tensor:
    """Error of each element of ``left @ right``: k u |left| |right|, k terms in any order; Higham (2002), eq. (3.13).

    Args:
        left: shape (..., rows, k), in the dtype of the product.
        right: shape (..., k, columns).
        added: how many terms of about the size of the product are added to it (a bias).
    """
    roundings = left.shape[-1] + added
    return accumulated(roundings, left.dtype) * (left.double().abs() @ right.double().abs())


def softmax_bounds(
    logits: torch.Tensor, targets: torch.Tensor, *, logit_error: torch.Tensor | float = 0.0
) -> tuple[Array, Array, Array]:
    """Errors of log-probability, entropy and maximum log-probability from logits, reduced in float32.

    With a = logit - reference for each token and p its probability, float32 gives exp(a) a relative error of
    e = u (3 |a| + 5) (one rounding each of the difference and of its change of base, the constant, the exponential),
    and sums them by ``torch.sum``. So ln sum exp(a) is off by at most E[e] + c, c the bound of the summation; the
    log-probability by that, its own logit's error and one rounding of each; the entropy ln sum - E[a] by
    E[|a - E a| e] and the summation's share of E |a|, beside.

    Args:
        logits: shape (rows, vocabulary), any dtype, no NaN; -inf has probability 0.
        targets: shape (rows,).
        logit_error: bound on the error of each logit, of a shape that broadcasts to that of the logits.

    Returns:
        Three arrays (rows,), in nats. The reference is the highest logit or the target, whichever is worse.
    """
    u = UNIT_ROUNDOFF[torch.float32]
    values = logits.double()
    logprob = values.log_softmax(-1)
    p = logprob.exp()
    off = torch.as_tensor(logit_error, dtype=torch.float64).expand_as(values)
    target = values.gather(-1, targets.unsqueeze(-1))
    highest = values.amax(-1, keepdim=True)
    reach = ((highest - values) + (highest - target).clamp(max=32 * math.log(2))).nan_to_num(posinf=0.0)
    relative = u * (3 * reach + _EXPONENTIAL) + off
    summation = accumulated(min(values.shape[-1], _CASCADE), torch.float32)
    # E[exp(e)] - 1 and not E[e]: in bfloat16 the errors of logits are not small.
    log_sum = (p * relative.exp()).sum(-1).log() + summation + u * (highest - target).squeeze(-1).clamp(0, 64)
    of_target = off.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    surprise = logprob.abs().nan_to_num(posinf=0.0)
    own = u * (3 * reach + surprise).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    mean_reach = (p * reach).sum(-1)
    growth = (2 * off).amax(-1).exp()
    entropy = growth * (p * relative * (surprise + 1 + reach)).sum(-1) + 2 * summation * (1 + mean_reach)
    return (
        (log_sum + own + of_target).numpy(),
        (entropy + u * mean_reach).numpy(),
        (log_sum + off.amax(-1)).numpy(),
    )


def attention_bounds(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float, visible: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors of softmax attention and of the log-sum of its exponentials, from states in the dtype of ``query``.

    Products are summed in float32, k + 2 roundings each (scale and difference beside), so a score is off by
    d = (k + 2) u scale |q||k|; the log-sum by the largest d, the exponentials' and the summation over n keys; a value
    by twice that (numerator and denominator) times sum p |v|. In a lower precision two roundings are added, of the
    probabilities and of the result, and the exponentials are as good as float16 needs: torch's vectorised kernels have
    a faster one for states that are not float32 (``fexp_u20`` in aten/src/ATen/native/cpu/FlashAttentionKernel.cpp).

    Args:
        query, key, value: shape (..., tokens, width).
        scale: of the products.
        visible: shape (queries, keys), which keys a query sees; None for all.

    Returns:
        Bounds of the shape of the values, and of that of the log-sums.
    """
    states = [state.double() for state in (query, key, value)]
    products = states[0] @ states[1].transpose(-1, -2) * scale
    sizes = states[0].abs() @ states[1].abs().transpose(-1, -2) * abs(scale)
    if visible is not None:
        products = products.masked_fill(~visible, -torch.inf)
        sizes = sizes.masked_fill(~visible, 0.0)
    u, keys = UNIT_ROUNDOFF[torch.float32], key.shape[-2]
    score = accumulated(query.shape[-1] + 2, torch.float32) * sizes.amax(-1)
    spread = products.amax(-1) - products.masked_fill(products.isinf(), torch.inf).amin(-1)
    log_sum = score + u * (3 * spread + _EXPONENTIAL) + accumulated(keys, torch.float32)
    lower = u
    if query.dtype != torch.float32:
        log_sum = log_sum + UNIT_ROUNDOFF[torch.float16]
        lower = 2 * UNIT_ROUNDOFF[query.dtype]
    weighted = products.softmax(-1) @ states[2].abs()
    out = (2 * log_sum + accumulated(keys, torch.float32) + lower).unsqueeze(-1) * weighted
    return out, log_sum + u * products.logsumexp(-1).abs()


def model_bound(
    logprob: npt.ArrayLike = (),
    *,
    layers: int = 2,
    width: int = 32,
    inner: int = 64,
    positions: int = 512,
    vocabulary: int = 700,
    dtype: torch.dtype = torch.float32,
) -> float:
    """How far two readings of one text by a model may lie apart in one token's log-probability, in nats.

    n roundings lie on the longest way from an embedding to a logit: in each layer two norms and four products with
    ``width`` terms, two with ``inner`` and, for the softmax and the values, two with ``positions``; behind them a norm
    and the projection. Their errors, independent and of mean 0, grow as sqrt(n) (Higham and Mary, 2019; lambda = 1,
    for each is counted as u times the largest log-probability, which the sums under way seldom reach). Norms keep one
    layer's error from growing in the next. The sum over the vocabulary adds sqrt(V) u. Twice, for two readings.

    The defaults are of ``tasks.support.tiny_model``, for which the bound is about 1e-4: 1e-3 nats a token is outside.

    Args:
        logprob: log-probabilities of the model on these texts; the largest counts, or 2 ln V if that is larger, where
            the less likely tokens of an untrained model lie.
        layers, width, inner, positions, vocabulary: the model's, and the longest text's.
        dtype: of the pass.
    """
    in_layer = 2 * width + 4 * width + 2 * inner + 2 * positions
    largest = max(float(np.abs(np.asarray(logprob, dtype=np.float64)).max(initial=0.0)), 2 * math.log(vocabulary))
    of_logit = math.sqrt(layers * in_layer + 2 * width) * largest
    return 2 * UNIT_ROUNDOFF[dtype] * (of_logit + math.sqrt(vocabulary))


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
    return root * (2 * UNIT_ROUNDOFF[torch.float32] * np.cumsum(values) + model_bound(values, **model))


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
            f"{name}{list(map(int, at))} is {one[at]!r}, and {other[at]!r} is expected: {difference[at]:.3g} apart where "
            f"{limit[at]:.3g} is allowed; {np.count_nonzero(~inside)} of {one.size} numbers are outside their bounds"
        )
