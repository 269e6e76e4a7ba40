"""Attention of texts that stand in one line: over the keys of a shared prefix, and over each text's own keys.

For one forward pass it is registered with transformers and replaces the model's attention function. The prefix's keys
are read where they are, once for all texts and without copies; what a text adds is read as a row. The two results are
combined by their sums of exponentials, which gives the softmax over both parts.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

#: Under which the attention function is registered while it is used.
NAME = "rbridge_packed"

#: Attribute of a transformers configuration that names the attention function; setting it changes no nested model.
_CHOICE = "_attn_implementation_internal"
#: Keys and values of a prefix by layer, each (1, heads, tokens, width).
KeysValues = dict[int, tuple[torch.Tensor, torch.Tensor]]
#: Options of attention without effect here: the states contain positions already, the rest concerns other layers.
_WITHOUT_EFFECT = {"cache_position", "dropout", "position_ids"}

#: Keys that torch's CPU kernel reads at a time, and queries to pass at a time where there are no more keys than that.
_KERNEL_BLOCK, _PART = 512, 128


class UnsupportedAttentionError(NotImplementedError):
    """The model's attention is of a kind that cannot be taken apart here."""


@dataclass
class Reading:
    """What the attention function needs to know about the current forward pass.

    Attributes:
        rows, home: as in ``Pack``; no rows for one text, which is its own row.
        reach: tokens of the longest text, the prefix included.
        prefix: keys and values of the prefix, by layer; empty without one.
        kept: a dictionary to fill with the keys and values of prefix and line; None if they are not needed.
        layers: indices of the layers that have called the attention function.
    """

    rows: Sequence[torch.Tensor]
    home: torch.Tensor | None
    reach: int
    prefix: KeysValues = field(default_factory=dict)
    kept: KeysValues | None = None
    layers: set[int] = field(default_factory=set)


_reading: ContextVar[Reading] = ContextVar("reading")


@contextlib.contextmanager
def packed_attention(model: Any, reading: Reading, *, compiled: bool = False) -> Iterator[None]:
    """Have the model's layers attend as ``reading`` says.

    Args:
        model: any model that attends through transformers' attention interface.
        reading: the forward pass.
        compiled: whether the layers are compiled: the compiler then stops at this function, whose ``reading`` is no
            argument of a layer.
    """
    candidates = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in candidates if hasattr(config, _CHOICE)}.values()
    before = [getattr(config, _CHOICE) for config in configs]
    token = _reading.set(reading)
    try:
        with _registered(_attend_uncompiled() if compiled else attend_packed):
            for config in configs:
                setattr(config, _CHOICE, NAME)
            yield
    finally:
        for config, choice in zip(configs, before, strict=True):
            setattr(config, _CHOICE, choice)
        _reading.reset(token)


_registering = threading.Lock()
_users = 0


@contextlib.contextmanager
def _registered(function: Callable[..., Any]) -> Iterator[None]:
    """Register an attention function with transformers until the last thread that uses it is done."""
    global _users  # transformers' table is global, too
    with _registering:
        _users += 1
        AttentionInterface.register(NAME, function)
    try:
        yield
    finally:
        with _registering:
            _users -= 1
            if not _users:
                del AttentionInterface._global_mapping[NAME]  # there is no method for this


@functools.cache
def _attend_uncompiled() -> Callable[..., Any]:
    function: Callable[..., Any] = torch.compiler.disable(attend_packed)  # type: ignore[no-untyped-call]
    return function


def attend_packed(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    *,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: states (1, heads, tokens, width) to (1, tokens, heads, width).

    Raises:
        UnsupportedAttentionError: the layer needs more than causal attention: a mask, a window shorter than the longest
            text, a bias, a cap, a sink, or an unknown option.
    """
    reading = _reading.get()
    given = [name for name, value in options.items() if value is not None and value is not False]
    unknown = sorted(set(given) - _WITHOUT_EFFECT)
    if attention_mask is not None:
        unknown.append("attention_mask")
    if sliding_window is not None and reading.reach > sliding_window:
        unknown.append(f"sliding_window={sliding_window}")
    if is_causal is False or not getattr(module, "is_causal", True):
        unknown.append("is_causal=False")
    if unknown:
        raise UnsupportedAttentionError(f"{type(module).__name__} uses {', '.join(unknown)}")
    reading.layers.add(module.layer_idx)
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    prefix = reading.prefix.get(module.layer_idx) if reading.prefix else None
    if reading.kept is not None:
        if prefix is None:
            reading.kept[module.layer_idx] = (key.contiguous(), value.contiguous())
        else:
            reading.kept[module.layer_idx] = (torch.cat([prefix[0], key], 2), torch.cat([prefix[1], value], 2))
    within, within_sum = _attend_rows(query, key, value, reading, scale)
    if prefix is not None:
        above, above_sum = _attend_prefix(query, *prefix, scale)
        share = torch.sigmoid(above_sum - within_sum).unsqueeze(-1).to(within.dtype)
        within = torch.lerp(within, above, share)
    return within.transpose(1, 2).contiguous(), None


def _attend_rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, reading: Reading, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of each token over its own text, the prefix left out."""
    groups = query.shape[1] // key.shape[1]
    if reading.home is None:
        return attend(query, *(state.repeat_interleave(groups, 1) for state in (key, value)), scale=scale, causal=True)
    of_rows = []
    for rows in reading.rows:
        states = []
        for state, repeat in ((query, 1), (key, groups), (value, groups)):
            of_tokens = state[0].transpose(0, 1).flatten(1).index_select(0, rows.flatten().to(state.device))
            picked = of_tokens.view(*rows.shape, state.shape[1], -1).transpose(1, 2)
            states.append(picked if repeat == 1 else picked.repeat_interleave(repeat, 1))
        of_rows.append(attend(*states, scale=scale, causal=True))
    home = reading.home.to(query.device)
    outs, log_sums = ([some.transpose(1, 2).flatten(0, 1) for some in kind] for kind in zip(*of_rows, strict=True))
    out, log_sum = (torch.cat(some).index_select(0, home).transpose(0, 1) for some in (outs, log_sums))
    return out.unsqueeze(0), log_sum.unsqueeze(0)


def _attend_prefix(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of each token over all of the prefix; heads that share keys are read as more tokens of one head."""
    _, heads, tokens, width = query.shape
    folded = query.reshape(1, key.shape[1], -1, width)
    out, log_sum = attend(folded, key, value, scale=scale, causal=False)
    return out.reshape(1, heads, tokens, -1), log_sum.reshape(1, heads, tokens)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention and the logarithm of its denominator.

    Args:
        query, key, value: shape (batch, heads, tokens, width).
        scale: of the products.
        causal: whether the i-th query sees the first i keys only.

    Returns:
        Values (batch, heads, queries, width), and log-sums (batch, heads, queries) in float32.
    """
    same_width = query.shape[-1] == value.shape[-1]
    if query.device.type == "cpu" and same_width:
        return _attend_on_cpu(query, key, value, scale, causal=causal)
    if query.device.type == "cuda" and same_width and query.shape[-1] % 8 == 0:
        if query.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] <= 256:
            out, log_sum, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
                query, key, value, 0.0, causal, False, scale=scale
            )
        else:
            out, log_sum, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
                query, key, value, None, True, 0.0, causal, scale=scale
            )
        return out, log_sum[..., : query.shape[2]]
    return attend_plainly(query, key, value, scale=scale, causal=causal)


def _attend_on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """``attend`` by torch's kernel, which reads keys a block at a time, later keys of the block included.

    Up to the length of one block, queries are therefore passed in parts, each with the keys up to its last query.
    """
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    tokens = query.shape[2]
    if not causal or tokens <= _PART or tokens > _KERNEL_BLOCK:
        out, log_sum = kernel(query, key, value, 0.0, causal, attn_mask=None, scale=scale)
        return out, log_sum
    outs, log_sums = [], []
    for start in range(0, tokens, _PART):
        stop = min(start + _PART, tokens)
        later = query.new_full((stop - start, stop), -torch.inf).triu(start + 1)
        seen = key[:, :, :stop], value[:, :, :stop]
        out, log_sum = kernel(query[:, :, start:stop], *seen, 0.0, False, attn_mask=later, scale=scale)
        outs.append(out)
        log_sums.append(log_sum)
    return torch.cat(outs, 2), torch.cat(log_sums, 2)


def attend_plainly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """``attend`` by definition, for devices and widths without a kernel."""
    products = (query @ key.transpose(-1, -2)).float() * scale
    if causal:
        later = torch.ones(products.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        products = products.masked_fill(later, -torch.inf)
    log_sum = products.logsumexp(-1)
    return (products - log_sum.unsqueeze(-1)).exp().to(value.dtype) @ value, log_sum
