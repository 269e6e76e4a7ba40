"""A model's layers compiled by ``torch.compile``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

#: Compiled graphs of one function: all models of a family share the function of a layer, and a sweep reads many.
_MOST_GRAPHS = 64


class NoLayersError(NotImplementedError):
    """The model does not name its layers."""


@dataclass(frozen=True)
class CompiledLayers:
    """The compiled forward pass of each layer of a model.

    Attributes:
        forwards: pairs of a layer and its forward pass, which is compiled on its first use, for any length.
    """

    forwards: tuple[tuple[torch.nn.Module, Callable[..., Any]], ...]

    @classmethod
    def of(cls, model: Any) -> CompiledLayers:
        """Compile the modules that transformers keeps whole when it spreads a model over devices.

        Raises:
            NoLayersError: the model has none.
        """
        kinds = set(getattr(model, "_no_split_modules", None) or ())
        layers = [module for module in model.modules() if type(module).__name__ in kinds]
        if not layers:
            raise NoLayersError("it does not name its layers")
        return cls(tuple((layer, torch.compile(layer.forward, dynamic=True)) for layer in layers))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model use them until the block ends."""
        before = [dict(vars(layer)) for layer, _ in self.forwards]
        try:
            for layer, forward in self.forwards:
                vars(layer)["forward"] = forward
            with torch._dynamo.config.patch(recompile_limit=_MOST_GRAPHS):
                yield
        finally:
            for (layer, _), attributes in zip(self.forwards, before, strict=True):
                del vars(layer)["forward"]
                vars(layer).update({"forward": attributes["forward"]} if "forward" in attributes else {})
