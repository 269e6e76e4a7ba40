"""Rotary positions that stretch with the input ("dynamic" NTK), reset so that they depend on the current input alone.

transformers keeps the frequencies of the longest input so far for later inputs that are longer than the original
window: a model's numbers for a text then depend on the texts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_ORIGINAL = "original_inv_freq"


def stretching_rotations(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Rotary modules of "dynamic" NTK, whose frequencies transformers keeps from longer inputs."""
    return [module for module in model.modules() if _is_type("dynamic", getattr(module, "rope_type", None))]


def may_stretch(model: torch.nn.Module) -> bool:
    """Whether rotary frequencies change with the length of the input: "dynamic" NTK, or LongRoPE's two sets."""
    types = [getattr(module, "rope_type", None) for module in model.modules()]
    return any(_is_type(kind, rope_type) for rope_type in types for kind in ("dynamic", "longrope"))


def forget_lengths(rotations: Sequence[Any]) -> None:
    """Reset the frequencies to those of a model without earlier inputs."""
    for module in rotations:
        names = {**vars(module), **dict(module.named_buffers(recurse=False))}
        for name in [name for name in names if name.endswith(_ORIGINAL)]:
            prefix = name.removesuffix(_ORIGINAL)
            now = getattr(module, f"{prefix}inv_freq")
            module.register_buffer(f"{prefix}inv_freq", getattr(module, name).to(now.device), persistent=False)
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def _is_type(kind: str, rope_type: Any) -> bool:
    """Whether a ``rope_type`` contains a name; it is a string, or a dictionary with a string for each layer type."""
    names = rope_type.values() if isinstance(rope_type, dict) else [rope_type]
    return any(kind in name for name in names if isinstance(name, str))
