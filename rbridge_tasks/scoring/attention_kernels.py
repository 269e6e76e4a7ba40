"""Softmax attention and the logarithms of its denominators, by the fastest kernel that a device has."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import pad

from rbridge_tasks.scoring.upload import upload

Ids = npt.NDArray[np.int64]

#: Keys that torch's CPU kernel reads at a time, and queries to pass at a time where keys are masked.
_KERNEL_BLOCK, _PART = 512, 128
#: Elements of a mask, or of capped products, at a time on other devices.
_MASK_ELEMENTS = 1 << 25
#: Widest heads of CUDA's flash kernel; the width of heads is a multiple of this in all of CUDA's kernels.
_FLASH_WIDTH, _WIDTH_STEP = 256, 8
#: In the masks of CUDA's kernels the rows lie at multiples of this.
_MASK_STEP = 16


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    causal: bool,
    first: Ids | None = None,
    cap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention and the logarithm of its denominator.

    Args:
        query, key, value: shape (batch, heads, tokens, width); values may have another width.
        scale: of the products.
        causal: whether the i-th query sees the first i keys only.
        first: shape (queries,), the first key that each query sees, if that is not the first of all. Each query must
            see at least one key.
        cap: limit of the scaled products s, which become cap * tanh(s / cap).

    Returns:
        Values (batch, heads, queries, width), and log-sums (batch, heads, queries) in float32.
    """
    # torch's CPU kernel reads keys a block at a time, later keys of the block included: up to the length of one block,
    # queries are passed in parts, each with the keys up to its last query.
    short = causal and query.device.type == "cpu" and _PART < query.shape[2] <= _KERNEL_BLOCK
    if short or first is not None or cap is not None:
        return _attend_in_parts(query, key, value, scale, causal=causal, first=first, cap=cap)
    out, log_sum = _attend_by_kernel(*_of_one_width(query, key, value), scale=scale, causal=causal)
    return out[..., : value.shape[-1]], log_sum


def _of_one_width(*states: torch.Tensor) -> list[torch.Tensor]:
    """States with zeros added to the width of the widest, which changes no product and adds columns of zeros."""
    width = max(state.shape[-1] for state in states)
    if states[0].device.type == "cuda":
        width += -width % _WIDTH_STEP
    return [state if state.shape[-1] == width else pad(state, (0, width - state.shape[-1])) for state in states]


def _attend_by_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    causal: bool,
    hidden: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``attend`` for states of one width, with a mask (queries, keys) where it is not causal."""
    device, aten, mask = query.device.type, torch.ops.aten, None
    if device not in ("cpu", "cuda"):
        return attend_plainly(query, key, value, scale=scale, causal=causal, hidden=hidden)
    if hidden is not None:
        keys = hidden.shape[1]
        rows = query.new_zeros(hidden.shape[0], keys + (-keys % _MASK_STEP if device == "cuda" else 0))[:, :keys]
        mask = rows.masked_fill_(hidden, -torch.inf)
    if device == "cpu":
        out, log_sum = aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=scale
        )
        return out, log_sum
    half = query.dtype in (torch.bfloat16, torch.float16)
    if mask is None and half and query.shape[-1] <= _FLASH_WIDTH and _has_flash(query.device):
        out, log_sum, *_ = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, False, scale=scale)
    else:
        mask = None if mask is None else mask.expand(*query.shape[:2], -1, -1)
        out, log_sum, *_ = aten._scaled_dot_product_efficient_attention(
            query, key, value, mask, True, 0.0, causal, scale=scale
        )
    return out, log_sum[..., : query.shape[2]]


@functools.cache
def _has_flash(device: torch.device) -> bool:
    """Whether a CUDA device runs the flash kernel: Ampere and later do."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _attend_in_parts(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    *,
    causal: bool,
    first: Ids | None = None,
    cap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``attend`` a part of the queries at a time, each with the keys between the first and the last that it sees."""
    queries, keys = query.shape[2], key.shape[2]
    matrices = 1 if cap is None else query.shape[0] * query.shape[1]  # a mask is one for all, products are not
    step = _PART if query.device.type == "cpu" else max(_PART, _MASK_ELEMENTS // (keys * matrices))
    width = value.shape[-1]
    if cap is None:
        query, key, value = _of_one_width(query, key, value)
    outs, log_sums = [], []
    for start in range(0, queries, step):
        stop = min(start + step, queries)
        begin = 0 if first is None else int(first[start:stop].min())
        end = stop if causal else keys
        hidden = _hidden(query, start, stop, begin, end, causal=causal, first=first)
        states = query[:, :, start:stop], key[:, :, begin:end], value[:, :, begin:end]
        if cap is not None:
            out, log_sum = attend_plainly(*states, scale=scale, causal=False, hidden=hidden, cap=cap)
        else:
            out, log_sum = _attend_by_kernel(*states, scale=scale, causal=False, hidden=hidden)
        outs.append(out[..., :width])
        log_sums.append(log_sum)
    return (outs[0], log_sums[0]) if len(outs) == 1 else (torch.cat(outs, 2), torch.cat(log_sums, 2))


def _hidden(
    query: torch.Tensor, start: int, stop: int, begin: int, end: int, *, causal: bool, first: Ids | None
) -> torch.Tensor | None:
    """Which keys from ``begin`` to ``end`` are hidden from the queries from ``start`` to ``stop``; None if none is."""
    hidden = None
    keys = torch.arange(begin, end, device=query.device)
    if causal:
        hidden = keys > torch.arange(start, stop, device=query.device).unsqueeze(-1)
    if first is not None and (first[start:stop] > begin).any():
        before = keys < upload(first[start:stop], query.device).unsqueeze(-1)
        hidden = before if hidden is None else hidden | before
    return hidden


def attend_plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    causal: bool,
    hidden: torch.Tensor | None = None,
    cap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``attend`` by definition, for devices without a kernel and for capped products.

    Args:
        query, key, value, scale, causal, cap: as for ``attend``.
        hidden: shape (queries, keys), which keys a query does not see.
    """
    products = (query @ key.transpose(-1, -2)).float()
    products = products.mul_(scale) if cap is None else products.mul_(scale / cap).tanh_().mul_(cap)
    if causal:
        hidden = torch.ones(products.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
    if hidden is not None:
        products = products.masked_fill_(hidden, -torch.inf)
    log_sum = products.logsumexp(-1)
    return products.sub_(log_sum.unsqueeze(-1)).exp_().to(value.dtype) @ value, log_sum
