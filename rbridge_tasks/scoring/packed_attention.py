"""Attention of texts that stand in one line: over the keys of a shared prefix, and over each text's own keys.

For one forward pass it is registered with transformers and replaces the model's attention function. The prefix's keys
are read where they are, once for all texts and without copies; what a text adds is read as a row. The two results are
combined by their sums of exponentials, which gives the softmax over both parts.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rbridge_tasks.scoring.attention_interface import attention_replaced
from rbridge_tasks.scoring.attention_kernels import attend
from rbridge_tasks.scoring.attention_masks import Mask, MaskFunction, UnsupportedAttentionError
from rbridge_tasks.scoring.upload import upload

Ids = npt.NDArray[np.int64]

#: Under which the attention function is registered while it is used, and while layers are inspected.
NAME, _INSPECTING = "rbridge_packed", "rbridge_inspecting"

#: Keys and values of the end of a prefix by layer, each (1, heads, tokens, width), as far as later tokens see them.
KeysValues = dict[int, tuple[torch.Tensor, torch.Tensor]]
#: Options of attention without effect here: the states contain positions already, the rest concerns other layers.
_WITHOUT_EFFECT = {"cache_position", "dropout", "position_ids"}


@dataclass
class Reading:
    """What the attention function needs to know about the current forward pass.

    Attributes:
        rows, home: as in ``Pack``; no rows for one text, which is its own row.
        reach: tokens of the longest text, the prefix included.
        positions: position of each token of the line in its text, shape (tokens,).
        skip: tokens of the prefix.
        prefix: keys and values of the prefix, by layer; empty without one.
        masks: of the layers that have a mask other than plain causal attention.
        kept: a dictionary to fill with the keys and values of prefix and line; None if they are not needed.
        layers: indices of the layers that have called the attention function.
    """

    rows: Sequence[torch.Tensor]
    home: torch.Tensor | None
    reach: int
    positions: Ids
    skip: int = 0
    prefix: KeysValues = field(default_factory=dict)
    masks: Mapping[int, Mask] = field(default_factory=dict)
    kept: KeysValues | None = None
    layers: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Layer:
    """How one layer attends.

    Attributes:
        scale: of the products.
        mask: which keys a token sees; None for all up to itself.
        cap: as for ``attend``.
    """

    scale: float
    mask: Mask | None
    cap: float | None


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
    token = _reading.set(reading)
    try:
        attend = _attend_uncompiled() if compiled else attend_packed
        with attention_replaced(model, NAME, attend, with_masks=False):
            yield
    finally:
        _reading.reset(token)


def attention_masks(
    model: Any, run: Callable[[], object], positions: int, device: torch.device
) -> tuple[frozenset[int], dict[int, Mask]]:
    """Inspect how a model's layers mask their attention.

    Args:
        model: as for ``packed_attention``.
        run: reads a text by the model, without a cache.
        positions: number of positions that the masks must cover.
        device: of the model's inputs.

    Returns:
        Indices of the layers whose keys have biases by position, and the masks of the layers that have one other than
        plain causal attention.

    Raises:
        UnsupportedAttentionError: a layer needs what ``attend_packed`` does not have, or a mask is no ``Mask``.
    """
    masks: dict[int, MaskFunction | None] = {}
    biased: set[int] = set()

    def inspect(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **options: Any
    ) -> Any:
        mask = args[0] if args else options.pop("attention_mask", None)
        if not (mask is None or isinstance(mask, MaskFunction)):
            raise UnsupportedAttentionError(f"{type(module).__name__} uses a mask of its own")
        masks[module.layer_idx] = mask
        if options.pop("key_bias", None) is not None:
            biased.add(module.layer_idx)
        return attend_packed(module, query, key, value, None, *args[1:], **options)

    token = _reading.set(Reading((), None, 0, np.zeros(0, dtype=np.int64)))
    try:
        with attention_replaced(model, _INSPECTING, inspect, with_masks=True):
            run()
    finally:
        _reading.reset(token)
    tables = {id(mask): mask.tabulate(positions, device) for mask in masks.values() if mask is not None}
    by_layer = {layer: tables.get(id(mask)) for layer, mask in masks.items()}
    return frozenset(biased), {layer: table for layer, table in by_layer.items() if table is not None}


@functools.cache
def _attend_uncompiled() -> Callable[..., Any]:
    function: Callable[..., Any] = torch.compiler.disable(attend_packed)  # type: ignore[no-untyped-call]
    return function


def attend_packed(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | MaskFunction | None = None,
    scaling: float | None = None,
    *,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    key_bias: Callable[[torch.Tensor], torch.Tensor] | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: states (1, heads, tokens, width) to (1, tokens, heads, width).

    Args:
        attention_mask: none, or the function of a mask that ``attention_masks`` has inspected.
        key_bias: as of ``older_attention.Attend``.

    Raises:
        UnsupportedAttentionError: the layer needs more than causal attention with a known mask, a cap and sinks: a
            bias, a window that its mask does not have, or an unknown option.
    """
    reading = _reading.get()
    mask = reading.masks.get(module.layer_idx) if reading.masks else None
    given = [name for name, value in options.items() if value is not None and value is not False]
    unknown = sorted(set(given) - _WITHOUT_EFFECT)
    if isinstance(attention_mask, torch.Tensor):
        unknown.append("attention_mask")
    if sliding_window is not None and reading.reach > sliding_window and mask is None:
        unknown.append(f"sliding_window={sliding_window}")
    if is_causal is False or not getattr(module, "is_causal", True):
        unknown.append("is_causal=False")
    if s_aux is not None and s_aux.shape != query.shape[1:2]:
        unknown.append(f"s_aux of shape {tuple(s_aux.shape)}")
    if unknown:
        raise UnsupportedAttentionError(f"{type(module).__name__} uses {', '.join(unknown)}")
    reading.layers.add(module.layer_idx)
    layer = _Layer(query.shape[-1] ** -0.5 if scaling is None else float(scaling), mask, softcap)
    if key_bias is not None:
        query, key = _with_bias(query, key, key_bias(upload(reading.positions, key.device)), layer.scale)
    prefix = reading.prefix.get(module.layer_idx) if reading.prefix else None
    if reading.kept is not None:
        reading.kept[module.layer_idx] = _seen_later(key, value, prefix, reading, mask)
    query = _scaled_by_position(module, query, reading)
    out, log_sum = _attend_rows(query, key, value, reading, layer)
    if prefix is not None and prefix[0].shape[2]:
        out, log_sum = _with_prefix(out, log_sum, query, prefix, reading, layer)
    if s_aux is not None:  # one more key of value zero, with this product
        share = torch.sigmoid(log_sum - s_aux.float().view(1, -1, 1))
        out = out * share.unsqueeze(-1).to(out.dtype)
    return out.transpose(1, 2).contiguous(), None


def _with_bias(
    query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys with more columns, the scaled products of which are a bias (heads, keys).

    No kernel is then given a bias, and keys of a prefix keep theirs. The queries' columns are ones; the keys' are the
    bias over the scale, in as many parts of their dtype as hold the digits of float32.
    """
    if bias.shape[0] != key.shape[1]:
        raise UnsupportedAttentionError("heads that share keys have biases of their own")
    parts, rest = [], bias.to(torch.promote_types(bias.dtype, torch.float32)) / scale
    for _ in range(3 if key.dtype in (torch.bfloat16, torch.float16) else 1):
        parts.append(rest.to(key.dtype))
        rest = rest - parts[-1]
    columns = torch.stack(parts, -1).unsqueeze(0)
    ones = query.new_ones(()).expand(*query.shape[:-1], len(parts))
    return torch.cat([query, ones], -1), torch.cat([key, columns], -1)


def _scaled_by_position(module: Any, query: torch.Tensor, reading: Reading) -> torch.Tensor:
    """Queries scaled by positions where Llama 4 scaled them by places in the line, in steps of so many tokens."""
    if not getattr(module, "attn_temperature_tuning", False) or module.use_rope or not reading.positions.size:
        return query
    by_position, by_place = (
        np.log1p((places + 1) // module.floor_scale) * module.attn_scale + 1
        for places in (reading.positions, np.arange(reading.positions.size))
    )
    if np.array_equal(by_position, by_place):
        return query
    factors = torch.from_numpy(by_position / by_place).to(query.device, torch.float32, non_blocking=True)
    return (query * factors.unsqueeze(-1)).to(query.dtype)


def _seen_later(
    key: torch.Tensor,
    value: torch.Tensor,
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    reading: Reading,
    mask: Mask | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of prefix and line that tokens after them see."""
    states = [(key, value)] if prefix is None else [prefix, (key, value)]
    keys, values = (torch.cat(parts, 2) if len(parts) > 1 else parts[0] for parts in zip(*states, strict=True))
    unseen = 0 if mask is None else max(0, int(mask.first[reading.reach]) - (reading.reach - keys.shape[2]))
    return keys[:, :, unseen:].contiguous(), values[:, :, unseen:].contiguous()


def _attend_rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, reading: Reading, layer: _Layer
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of each token over its own text, the prefix left out."""
    groups = query.shape[1] // key.shape[1]
    if reading.home is None:
        return _attend_own([query, *(state.repeat_interleave(groups, 1) for state in (key, value))], reading, layer)
    of_rows = []
    for rows in reading.rows:
        states = []
        for state, repeat in ((query, 1), (key, groups), (value, groups)):
            of_tokens = state[0].transpose(0, 1).flatten(1).index_select(0, rows.flatten().to(state.device))
            picked = of_tokens.view(*rows.shape, state.shape[1], -1).transpose(1, 2)
            states.append(picked if repeat == 1 else picked.repeat_interleave(repeat, 1))
        of_rows.append(_attend_own(states, reading, layer))
    home = reading.home.to(query.device)
    outs, log_sums = ([some.transpose(1, 2).flatten(0, 1) for some in kind] for kind in zip(*of_rows, strict=True))
    out, log_sum = (torch.cat(some).index_select(0, home).transpose(0, 1) for some in (outs, log_sums))
    return out.unsqueeze(0), log_sum.unsqueeze(0)


def _attend_own(states: Sequence[torch.Tensor], reading: Reading, layer: _Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of rows (texts, heads, tokens, width) whose first token follows the prefix."""
    first = None
    if layer.mask is not None:
        first = (layer.mask.first[reading.skip : reading.skip + states[0].shape[2]] - reading.skip).clip(0)
    return attend(*states, scale=layer.scale, causal=True, first=_if_hiding(first), cap=layer.cap)


def _with_prefix(
    out: torch.Tensor,
    log_sum: torch.Tensor,
    query: torch.Tensor,
    prefix: tuple[torch.Tensor, torch.Tensor],
    reading: Reading,
    layer: _Layer,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over a text's own tokens combined with that over the prefix, for the tokens that see some of it."""
    first = places = None
    if layer.mask is not None:
        first = layer.mask.first[reading.positions]
        seeing = np.flatnonzero(first < reading.skip)
        if not seeing.size:
            return out, log_sum
        first = _if_hiding((first[seeing] - (reading.skip - prefix[0].shape[2])).clip(0))
        places = upload(seeing, query.device) if seeing.size < query.shape[2] else None
    if places is None:
        return _combined(out, log_sum, *_attend_prefix(query, *prefix, layer, first))
    above, above_sum = _attend_prefix(query.index_select(2, places), *prefix, layer, first)
    parts = _combined(out.index_select(2, places), log_sum.index_select(2, places), above, above_sum)
    return out.index_copy(2, places, parts[0]), log_sum.index_copy(2, places, parts[1])


def _combined(
    within: torch.Tensor, within_sum: torch.Tensor, above: torch.Tensor, above_sum: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over two sets of keys, from that over each and its log-sums."""
    share = torch.sigmoid(above_sum - within_sum).unsqueeze(-1).to(within.dtype)
    return torch.lerp(within, above, share), torch.logaddexp(above_sum, within_sum)


def _attend_prefix(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layer: _Layer, first: Ids | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of each token over the prefix; heads that share keys are read as more tokens of one head."""
    _, heads, tokens, width = query.shape
    shared = key.shape[1]
    if first is None:
        out, log_sum = attend(
            query.reshape(1, shared, -1, width), key, value, scale=layer.scale, causal=False, cap=layer.cap
        )
    else:  # all heads have one mask: keys as a batch
        grouped = [state.transpose(0, 1).expand(-1, heads // shared, -1, -1) for state in (key, value)]
        out, log_sum = attend(
            query.reshape(shared, -1, tokens, width),
            *grouped,
            scale=layer.scale,
            causal=False,
            first=first,
            cap=layer.cap,
        )
    return out.reshape(1, heads, tokens, -1), log_sum.reshape(1, heads, tokens)


def _if_hiding(first: Ids | None) -> Ids | None:
    """The first key of each token, unless it is the first of all."""
    return first if first is not None and first.any() else None
