"""Bounds on rounding errors of matrix products, softmax and attention, from the tensors that they are made of.

Sources and first principles are in ``error_bounds``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from .error_bounds import CASCADE, UNIT_ROUNDOFF, Precision, accumulated

Array = npt.NDArray[np.float64]

#: Roundings of one exponential: the difference, the change of base, the constant of that change, the function (1 ulp).
_EXPONENTIAL = 5


def precision_of(dtype: torch.dtype) -> Precision:
    """The name under which ``error_bounds`` knows a dtype."""
    names: dict[torch.dtype, Precision] = {
        torch.float64: "float64",
        torch.float32: "float32",
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    }
    return names[dtype]


def roundoff(dtype: torch.dtype) -> float:
    """Unit roundoff u of a dtype."""
    return UNIT_ROUNDOFF[precision_of(dtype)]


def product_bound(left: torch.Tensor, right: torch.Tensor, *, added: int = 0) -> torch.Tensor:
    """Error of each element of ``left @ right``: k u |left| |right|, k terms in any order; Higham (2002), eq. (3.13).

    Args:
        left: shape (..., rows, k), in the dtype of the product.
        right: shape (..., k, columns).
        added: how many terms of about the size of the product are added to it (a bias).
    """
    roundings = left.shape[-1] + added
    return accumulated(roundings, precision_of(left.dtype)) * (left.double().abs() @ right.double().abs())


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
    u = UNIT_ROUNDOFF["float32"]
    values = logits.double()
    logprob = values.log_softmax(-1)
    p = logprob.exp()
    off = torch.as_tensor(logit_error, dtype=torch.float64).expand_as(values)
    target = values.gather(-1, targets.unsqueeze(-1))
    highest = values.amax(-1, keepdim=True)
    reach = ((highest - values) + (highest - target).clamp(max=32 * math.log(2))).nan_to_num(posinf=0.0)
    relative = u * (3 * reach + _EXPONENTIAL) + off
    summation = accumulated(min(values.shape[-1], CASCADE), "float32")
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
    u, keys = UNIT_ROUNDOFF["float32"], key.shape[-2]
    score = accumulated(query.shape[-1] + 2, "float32") * sizes.amax(-1)
    spread = products.amax(-1) - products.masked_fill(products.isinf(), torch.inf).amin(-1)
    log_sum = score + u * (3 * spread + _EXPONENTIAL) + accumulated(keys, "float32")
    lower = u
    if query.dtype != torch.float32:
        log_sum = log_sum + UNIT_ROUNDOFF["float16"]
        lower = 2 * roundoff(query.dtype)
    weighted = products.softmax(-1) @ states[2].abs()
    out = (2 * log_sum + accumulated(keys, "float32") + lower).unsqueeze(-1) * weighted
    return out, log_sum + u * products.logsumexp(-1).abs()
