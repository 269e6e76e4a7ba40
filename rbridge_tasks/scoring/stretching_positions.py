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
    """Modules whose rotary frequencies change with the length of the input."""
    return [module for module in model.modules() if _is_dynamic(getattr(module, "rope_type", None))]


def forget_lengths(rotations: Sequence[Any]) -> None:
    """Reset the frequencies to those of a model without earlier inputs."""
    for module in rotations:
        names = {**vars(module), **dict(module.named_buffers(recurse=False))}
        for name in [name for name in names if name.endswith(_ORIGINAL)]:
            prefix = name.removesuffix(_ORIGINAL)
            now = getattr(module, f"{prefix}inv_freq")
            module.register_buffer(f"{prefix}inv_freq", getattr(module, name).to(now.device), persistent=False)
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def _is_dynamic(rope_type: Any) -> bool:
    """Whether a rotary type is dynamic; it is a name, or a name for each layer type."""
    kinds = rope_type.values() if isinstance(rope_type, dict) else [rope_type]
    return any("dynamic" in kind for kind in kinds if isinstance(kind, str))
