"""A model's layers, and the reduction of its logits, compiled by ``torch.compile``; attention stays as it is."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

from rbridge_tasks.scoring.packed_attention import NAME

#: Of one piece of code, which in transformers is that of the layers of all models: a sweep reads many in one process.
_MOST_GRAPHS = 64


class NoLayersError(NotImplementedError):
    """The model does not say which of its modules are layers."""


@dataclass(frozen=True)
class CompiledLayers:
    """The compiled forward pass of each layer of a model.

    Attributes:
        forwards: pairs of a layer and its compiled forward pass. It is compiled on its first use, for any length.
    """

    forwards: tuple[tuple[torch.nn.Module, Callable[..., Any]], ...]

    @classmethod
    def of(cls, model: Any) -> CompiledLayers:
        """Those modules that transformers keeps whole when it spreads a model over devices.

        Raises:
            NoLayersError: the model has none.
        """
        kinds = set(getattr(model, "_no_split_modules", None) or ())
        layers = [module for module in model.modules() if type(module).__name__ in kinds]
        if not layers:
            raise NoLayersError("it does not name its layers")
        _leave_attention_out()
        return cls(tuple((layer, torch.compile(layer.forward, dynamic=True)) for layer in layers))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model use them; it is as before when this ends."""
        before = [dict(vars(layer)) for layer, _ in self.forwards]
        try:
            for layer, forward in self.forwards:
                vars(layer)["forward"] = forward
            with torch._dynamo.config.patch(recompile_limit=_MOST_GRAPHS):
                yield
        finally:
            for (layer, _), own in zip(self.forwards, before, strict=True):
                del vars(layer)["forward"]
                vars(layer).update({"forward": own["forward"]} if "forward" in own else {})


@functools.cache
def _leave_attention_out() -> None:
    """Have the compiler stop before our attention and go on behind it: what it reads is not an argument of a layer."""
    left_out = torch.compiler.disable(AttentionInterface()[NAME])  # type: ignore[no-untyped-call]
    AttentionInterface.register(NAME, left_out)
