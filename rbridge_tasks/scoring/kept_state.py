"""A model's state after a prefix, copied for each batch of texts that begin with it.

The state is what the model itself keeps to generate text: keys and values of attention, last inputs of convolutions,
states of recurrences. Keys and values are served to a batch without copies; states are small and are copied, because
models change them in place.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from rbridge_tasks.scoring.forward import Forward
from rbridge_tasks.scoring.selective_scan import scans_from

#: Names under which models return their state, and take it.
_NAMES = ("past_key_values", "cache_params", "state")
#: Where caches hold states that are not keys and values: of transformers' layers, and of MiniMax.
_OF_LAYERS, _OF_CACHE = ("conv_states", "recurrent_states"), "linear_cache"

#: Tokens before and after the seam at which a state is tried.
_BEFORE, _AFTER = 24, 2
#: Largest distance from the right state, as a share of the distance of a state that forgot the tokens before the seam:
#: in float32, and in other dtypes, whose rounding errors grow to several percent over the layers.
_NEAR, _NEAR_ROUNDED = 0.01, 0.25
#: Distances up to so many roundings of the state count as none.
_ROUNDINGS = 8


class _Unchanged:
    """Part of a cache layer that serves keys and values, and drops what a batch adds to them."""

    keys: torch.Tensor
    values: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kept = self.keys, self.values
        served: tuple[torch.Tensor, torch.Tensor] = super().update(key_states, value_states, *args, **options)  # type: ignore[misc]
        self.keys, self.values = kept
        return served


class _Keys(_Unchanged, DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    pass


class _Window(_Unchanged, DynamicSlidingWindowLayer):  # type: ignore[misc]
    pass


class _StateAndKeys(_Unchanged, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc]
    pass


class _StateAndWindow(_Unchanged, LinearAttentionAndSlidingWindowAttentionLayer):  # type: ignore[misc]
    pass


#: Cache layers whose whole content is known, and the classes of their copies for reading.
_READ_ONLY: dict[type, type] = {
    DynamicLayer: _Keys,
    DynamicSlidingWindowLayer: _Window,
    LinearAttentionLayer: LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer: _StateAndKeys,
    LinearAttentionAndSlidingWindowAttentionLayer: _StateAndWindow,
    DummyLayer: DummyLayer,
}


@dataclass(frozen=True)
class KeptState:
    """The state of one text.

    Attributes:
        name: of the model's argument for it.
        state: as the model returned it; never given to the model again, only copies are.
        length: number of tokens.
    """

    name: str
    state: Any
    length: int

    @classmethod
    def of(cls, output: Any, length: int) -> KeptState | None:
        """The state in a model's output; None if there is none or if it holds what is not known here."""
        name = next((name for name in _NAMES if getattr(output, name, None) is not None), None)
        return None if name is None or not _is_known(state := getattr(output, name)) else cls(name, state, length)

    @contextlib.contextmanager
    def continued(self, forward: Forward, inputs: torch.Tensor, *, kept: bool = False) -> Iterator[dict[str, Any]]:
        """Options with which a model reads inputs (texts, tokens) of two or more tokens on from this state.

        With ``kept`` the model's output holds the state after the inputs; without, their keys and values are dropped.
        """
        batch, tokens = inputs.shape
        copied = _copy(self.state, batch, kept=kept)
        options = {self.name: copied, "use_cache": True}
        if self.states() and "position_ids" in forward.takes:  # Bamba would count from 0 again
            places = torch.arange(self.length, self.length + tokens, device=inputs.device)
            options["position_ids"] = places.expand(batch, -1)
        with scans_from(forward.model, copied):
            yield options

    def states(self) -> list[torch.Tensor]:
        """All that is kept beside keys and values."""
        if isinstance(self.state, list):
            return self.state
        dictionaries = [getattr(layer, name, {}) for layer in self.state.layers for name in _OF_LAYERS]
        found = [tensor for states in dictionaries for tensor in states.values()]
        return [tensor for tensor in [*found, *getattr(self.state, _OF_CACHE, [])] if isinstance(tensor, torch.Tensor)]


def _is_known(state: Any) -> bool:
    """Whether all that a state holds is known: RWKV's list of tensors, or a cache of known layers."""
    if isinstance(state, list):
        return bool(state) and all(isinstance(tensor, torch.Tensor) for tensor in state)
    known = type(state) is DynamicCache or (isinstance(state, DynamicCache) and hasattr(state, _OF_CACHE))
    return known and all(type(layer) in _READ_ONLY for layer in state.layers)


def _copy(state: Any, batch: int, *, kept: bool) -> Any:
    """A copy of the state of one text for a batch."""
    if isinstance(state, list):
        return [_repeated(tensor, batch) for tensor in state]
    copied = copy.copy(state)
    copied.layers = [_copied_layer(layer, batch, kept=kept) for layer in state.layers]
    if hasattr(state, _OF_CACHE):
        setattr(copied, _OF_CACHE, [_repeated(tensor, batch) for tensor in getattr(state, _OF_CACHE)])
    return copied


def _copied_layer(layer: Any, batch: int, *, kept: bool) -> Any:
    kind: Any = type(layer) if kept else _READ_ONLY[type(layer)]
    copied = kind.__new__(kind)
    vars(copied).update(vars(layer))
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(copied, name, {index: _repeated(some, batch) for index, some in value.items()})
        elif name in ("keys", "values") and value is not None:
            setattr(copied, name, value.expand(batch, *value.shape[1:]))
    return copied


def _repeated(value: Any, batch: int) -> Any:
    return value.expand(batch, *value.shape[1:]).clone() if isinstance(value, torch.Tensor) else value


def keep(forward: Forward, ids: npt.NDArray[np.int64], before: KeptState | None = None) -> KeptState | None:
    """The state after ``ids``, the first of which ``before`` is the state of; None if the model has no known state."""
    inputs = forward.upload(ids[None, before.length if before else 0 :])
    if before is None:
        return KeptState.of(forward.call(inputs, use_cache=True, logits_to_keep=1), ids.size)
    with before.continued(forward, inputs, kept=True) as options:
        return KeptState.of(forward.call(inputs, logits_to_keep=1, **options), ids.size)


def goes_on(forward: Forward, ids: npt.NDArray[np.int64]) -> bool:
    """Whether a model that is given a state and several tokens goes on from that state.

    Some implementations go on with single tokens only, and otherwise begin anew without a word. Each state after a few
    tokens behind a seam has to be near that of a reading without a seam, beside the state of a reading of these few
    tokens alone. Models that keep nothing but keys and values are not tried here.
    """
    stop = min(ids.size, _BEFORE + _AFTER)
    seam = stop - _AFTER
    before = keep(forward, ids[:seam]) if seam > 0 else None
    if before is None or not before.states():
        return before is not None
    kept = (
        keep(forward, ids[:stop]),
        keep(forward, ids[:stop], before),
        keep(forward, ids[seam:stop]),
    )
    whole, continued, anew = ([] if some is None else some.states() for some in kept)
    dtype = forward.autocast_dtype or forward.model.get_input_embeddings().weight.dtype
    share, rounding = _NEAR if dtype == torch.float32 else _NEAR_ROUNDED, _ROUNDINGS * torch.finfo(dtype).eps

    def is_near(whole: torch.Tensor, continued: torch.Tensor, anew: torch.Tensor) -> bool:
        if not whole.shape == continued.shape == anew.shape:
            return False
        near, far = (float((state.double() - whole.double()).norm()) for state in (continued, anew))
        return near <= max(share * far, rounding * float(whole.double().norm()))

    return len(whole) == len(continued) == len(anew) and all(map(is_near, whole, continued, anew))
