"""Put an attention function in the place of a model's own for a while, by transformers' interface.

Models that do not use the interface are served by ``older_attention``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from transformers import AttentionInterface, AttentionMaskInterface

from rbridge_tasks.scoring.attention_masks import MaskFunction
from rbridge_tasks.scoring.older_attention import Attend, older_layers

#: Attribute of a transformers configuration that names the attention function; setting it changes no nested model.
_CHOICE = "_attn_implementation_internal"


@contextlib.contextmanager
def attention_replaced(model: Any, name: str, attend: Attend, *, with_masks: bool) -> Iterator[None]:
    """Have every layer of a model attend by a function.

    Args:
        model: any transformers model.
        name: under which the function is registered with transformers.
        attend: the function.
        with_masks: whether layers are given a ``MaskFunction``, otherwise no mask. Older models use the methods of a
            mask before they hand it on, so they are always given one.
    """
    with (
        older_layers(model, attend) as older,
        _registered(name, attend, MaskFunction.make if with_masks or older else None),
        _chosen(model, name),
    ):
        yield


@contextlib.contextmanager
def _chosen(model: Any, name: str) -> Iterator[None]:
    """Have a model and the models inside it use the attention function of this name."""
    candidates = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in candidates if hasattr(config, _CHOICE)}.values()
    before = [getattr(config, _CHOICE) for config in configs]
    try:
        for config in configs:
            setattr(config, _CHOICE, name)
        yield
    finally:
        for config, choice in zip(configs, before, strict=True):
            setattr(config, _CHOICE, choice)


_registering = threading.Lock()
_users: dict[str, int] = {}


@contextlib.contextmanager
def _registered(name: str, function: Callable[..., Any], mask: Callable[..., Any] | None = None) -> Iterator[None]:
    """Register an attention function, and what makes its masks, until the last thread that uses the name is done."""
    with _registering:  # transformers' tables are global
        _users[name] = _users.get(name, 0) + 1
        AttentionInterface.register(name, function)
        if mask is not None:
            AttentionMaskInterface.register(name, mask)
    try:
        yield
    finally:
        with _registering:
            _users[name] -= 1
            if not _users[name]:
                del AttentionInterface._global_mapping[name]  # there is no method for this
                AttentionMaskInterface._global_mapping.pop(name, None)
