"""The layers of a model's cache.

Every layer that lets a token depend on earlier tokens needs a place in the cache, or the model could not generate text
token by token. So the cache shows whether attention is the only such layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers.cache_utils import DynamicCache

from rbridge_tasks.scoring.forward import UNSUPPORTED, Forward

#: Cache layers that hold keys and values, of all tokens or of those inside a sliding window.
_KEYS_AND_VALUES = {"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"}
#: Cache layers that hold, also or only, the state of a convolution or recurrence.
_STATES = {
    "LinearAttentionLayer",
    "LinearAttentionAndFullAttentionLayer",
    "LinearAttentionAndSlidingWindowAttentionLayer",
}
#: Tokens read to obtain a cache.
_TOKENS = 8


@dataclass(frozen=True)
class Memory:
    """The layers of a model's cache.

    Attributes:
        kinds: class name of the cache for each layer, by the layer's index; empty if the model returns no cache of
            transformers' ``DynamicCache``.
        cache: class name of the cache as a whole.
        window: length of the shortest sliding window or chunk, in tokens; None if every layer keeps all tokens. Some
            models do not pass it to their attention function.
    """

    kinds: dict[int, str]
    cache: str
    window: int | None = None

    @property
    def is_attention_only(self) -> bool:
        """Whether tokens depend on each other through the keys and values of attention alone."""
        return bool(self.kinds) and set(self.kinds.values()) <= _KEYS_AND_VALUES

    @property
    def may_be_padded(self) -> bool:
        """Whether nothing in the cache suggests that tokens after a text can change the text's numbers.

        Indexers that select a number of keys, and layers that compress keys, give other numbers as the input grows.
        """
        return set(self.kinds.values()) <= _KEYS_AND_VALUES | _STATES

    def __str__(self) -> str:
        others = sorted(set(self.kinds.values()) - _KEYS_AND_VALUES)
        return ", ".join(others) or self.cache


def memory_of(forward: Forward, ids: npt.NDArray[np.int64]) -> Memory:
    """Read a few tokens and inspect the cache that the model returns."""
    try:
        inputs = forward.upload(ids[None, :_TOKENS])
        state: Any = getattr(forward.call(inputs, use_cache=True, logits_to_keep=1), "past_key_values", None)
    except UNSUPPORTED as error:
        return Memory({}, f"no cache ({type(error).__name__})")
    state = getattr(state, "self_attention_cache", state)  # a decoder that may also have an encoder
    if type(state) is not DynamicCache:
        return Memory({}, "no cache" if state is None else type(state).__name__)
    kinds = {i: type(layer).__name__ for i, layer in enumerate(state.layers)}
    windows = [layer.sliding_window for layer in state.layers if getattr(layer, "is_sliding", False)]
    return Memory(kinds, type(state).__name__, min(windows, default=None))
