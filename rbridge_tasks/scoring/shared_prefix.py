"""Keys and values of a prompt that many inputs begin with, read once and served to every batch."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer


class _ReadOnlyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """Serves one sequence's keys and values to a batch of any size, and forgets what the batch adds."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.dtype, self.device = layer.keys.dtype, layer.keys.device
        self.keys, self.values = layer.keys, layer.values
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch = key_states.shape[0]
        return (
            torch.cat([self.keys.expand(batch, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(batch, -1, -1, -1), value_states], dim=-2),
        )


def share(state: Any) -> Any | None:
    """Make what a model kept of one text reusable by batches of any size that begin with it.

    None if the model keeps anything but the keys and values of every token: a recurrent state, a sliding window.
    """
    layers = getattr(state, "layers", [])
    if type(state) is not DynamicCache or {type(layer) for layer in layers} != {DynamicLayer}:
        return None
    state.layers = [_ReadOnlyLayer(layer) for layer in layers]
    return state
