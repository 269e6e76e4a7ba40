"""A model's layers compiled by ``torch.compile``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

#: Compiled graphs of one function: all models of a family share the function of a layer, and a sweep reads many.
_MOST_GRAPHS = 64


#: Layers of a model and their compiled forward passes, for inputs of any length.
CompiledLayers = list[tuple[torch.nn.Module, Callable[..., Any]]]


class NoLayersError(NotImplementedError):
    """The model does not name its layers."""


def compiled_layers(model: Any) -> CompiledLayers:
    """Compile the modules that transformers keeps whole when it spreads a model over devices, each on its first use.

    Raises:
        NoLayersError: the model has none.
    """
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    if not layers:
        raise NoLayersError("it does not name its layers")
    return [(layer, torch.compile(layer.forward, dynamic=True)) for layer in layers]


@contextlib.contextmanager
def in_place(layers: CompiledLayers) -> Iterator[None]:
    """Have the model use compiled layers until the block ends."""
    before = [vars(layer).get("forward") for layer, _ in layers]
    try:
        for layer, forward in layers:
            vars(layer)["forward"] = forward
        with torch._dynamo.config.patch(recompile_limit=_MOST_GRAPHS):
            yield
    finally:
        for (layer, _), own_forward in zip(layers, before, strict=True):
            del vars(layer)["forward"]
            if own_forward is not None:
                vars(layer)["forward"] = own_forward
