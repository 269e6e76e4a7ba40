"""Attention of older models, which compute it themselves, through a function as transformers' interface has it.

Bloom, MPT, Falcon, GPT-J, CodeGen, GPT-Neo, GPT-NeoX-Japanese and XGLM multiply queries and keys in their own code. For
one forward pass the part of each layer that attends is replaced: it computes queries, keys and values as the model does
and hands them on. Biases that grow with the position of a key (ALiBi, arXiv 2108.12409) are handed on as functions.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from transformers.masking_utils import sliding_window_causal_mask_function

from rbridge_tasks.scoring.attention_masks import MaskFunction, UnsupportedAttentionError

#: As an attention function of transformers, with the option ``key_bias``, which gives the bias (heads, keys) of keys at
#: positions (keys,). What is the same for all keys of a query changes nothing.
Attend = Callable[..., tuple[torch.Tensor, None]]


@contextlib.contextmanager
def older_layers(model: Any, attend: Attend) -> Iterator[bool]:
    """Have a model's older layers call ``attend``; gives whether there are any."""
    replaced: list[tuple[Any, str]] = []
    try:
        for module in model.modules():
            if part := _part_that_attends(module):
                method, function = part
                setattr(module, method, functools.partial(function, module, attend))
                replaced.append((module, method))
        yield bool(replaced)
    finally:
        for module, method in replaced:
            delattr(module, method)


def _attn(module: Any, attend: Attend, query: Any, key: Any, value: Any, mask: Any = None) -> tuple[Any, None]:
    """``_attn`` of GPT-J, CodeGen and GPT-NeoX-Japanese: states (1, heads, tokens, width) of any dtype."""
    norm = module.norm_factor if hasattr(module, "norm_factor") else module.scale_attn
    out, _ = attend(module, query.to(value.dtype), key.to(value.dtype), value, mask, scaling=1 / float(norm))
    return out.transpose(1, 2), None


def _gpt_neo(module: Any, attend: Attend, query: Any, key: Any, value: Any, mask: Any = None) -> tuple[Any, None]:
    """``_attn`` of GPT-Neo: products are not scaled, and local layers have a window of their own."""
    if module.attention_type == "local":
        mask = MaskFunction(sliding_window_causal_mask_function(module.config.window_size))
    out, _ = attend(SimpleNamespace(layer_idx=module.layer_id), query, key, value, mask, scaling=1.0)
    return out.transpose(1, 2), None


def _bloom(
    module: Any, attend: Attend, hidden: Any, residual: Any, alibi: Any, attention_mask: Any, **_options: Any
) -> tuple[Any, None]:
    query, key, value = module._reshape(module.query_key_value(hidden))

    def key_bias(positions: torch.Tensor) -> torch.Tensor:
        bias: torch.Tensor = (_slopes(module, torch.float32, positions.device) * positions).to(alibi.dtype)
        return bias

    out, _ = attend(module, query, key, value, attention_mask, scaling=module.inv_norm_factor, key_bias=key_bias)
    return residual + module.dense(out.flatten(2)), None


def _falcon(
    module: Any,
    attend: Attend,
    hidden: Any,
    alibi: Any,
    attention_mask: Any,
    *,
    position_embeddings: Any = None,
    **_options: Any,
) -> tuple[Any, None]:
    query, key, value = (state.transpose(1, 2) for state in module._split_heads(module.query_key_value(hidden)))
    key_bias = None
    if alibi is None:
        query, key = _source(module).apply_rotary_pos_emb(query, key, *position_embeddings)
    else:  # rounded to bfloat16 whatever the model's dtype is

        def key_bias(positions: torch.Tensor) -> torch.Tensor:
            bias = (_slopes(module, torch.bfloat16, positions.device) * positions).to(hidden.dtype)
            scaled: torch.Tensor = bias * module.inv_norm_factor
            return scaled

    out, _ = attend(module, query, key, value, attention_mask, scaling=module.inv_norm_factor, key_bias=key_bias)
    return module.dense(out.flatten(2)), None


def _mpt(
    module: Any, attend: Attend, hidden: Any, position_bias: Any, attention_mask: Any = None, **_options: Any
) -> tuple[Any, None]:
    states = module.Wqkv(hidden)
    if module.clip_qkv:
        states = states.clamp(min=-module.clip_qkv, max=module.clip_qkv)
    query, key, value = (state.unflatten(2, (module.n_heads, -1)).transpose(1, 2) for state in states.chunk(3, dim=2))

    def key_bias(positions: torch.Tensor) -> torch.Tensor:
        slopes: torch.Tensor = position_bias[:, 0, -1:] - position_bias[:, 0, -2:-1]
        return slopes * positions

    out, _ = attend(module, query, key, value, attention_mask, scaling=module.softmax_scale, key_bias=key_bias)
    return module.out_proj(out.flatten(2)), None


def _xglm(
    module: Any,
    attend: Attend,
    hidden_states: Any,
    key_value_states: Any = None,
    past_key_values: Any = None,  # noqa: ARG001  # nothing is cached
    attention_mask: Any = None,
    **_options: Any,
) -> tuple[Any, None]:
    if key_value_states is not None:
        raise UnsupportedAttentionError("a layer attends to another model's states")
    query, key, value = (
        project(hidden_states).unflatten(2, (module.num_heads, -1)).transpose(1, 2)
        for project in (module.q_proj, module.k_proj, module.v_proj)
    )
    out, _ = attend(module, query, key, value, attention_mask, scaling=module.scaling)
    return module.out_proj(out.flatten(2)), None


def _source(module: Any) -> Any:
    """The Python module that a layer's class is defined in."""
    return importlib.import_module(type(module).__module__)


def _slopes(module: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Slopes (heads, 1) of the biases of Bloom and Falcon, which is the bias at position 1."""
    two = torch.ones(1, 2, dtype=torch.int64, device=device)
    slopes: torch.Tensor = _source(module).build_alibi_tensor(two, module.num_heads, dtype)[:, 0, 1:]
    return slopes


#: A method of a layer, and what replaces it.
_Part = tuple[str, Callable[..., tuple[Any, None]]]

_PARTS: dict[str, _Part] = {
    "BloomAttention": ("forward", _bloom),
    "MptAttention": ("forward", _mpt),
    "FalconAttention": ("forward", _falcon),
    "XGLMAttention": ("forward", _xglm),
    "GPTJAttention": ("_attn", _attn),
    "CodeGenAttention": ("_attn", _attn),
    "GPTNeoXJapaneseAttention": ("_attn", _attn),
    "GPTNeoSelfAttention": ("_attn", _gpt_neo),
}


def _part_that_attends(module: Any) -> _Part | None:
    """Of an older layer of transformers that nobody has changed: one spread over devices has a method of its own."""
    part = _PARTS.get(type(module).__name__)
    if part is None or not type(module).__module__.startswith("transformers.models."):
        return None
    return None if part[0] in vars(module) else part
