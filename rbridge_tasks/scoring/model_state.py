"""Score a model in the middle of other work: what scoring has to change, and how the model looked before."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


@contextlib.contextmanager
def restored(model: object, device: torch.device) -> Iterator[None]:
    """Put a model into evaluation mode, and torch's defaults to those that scoring expects, until the block ends.

    Of a callable that is no module, only the process is restored: its modules are not known.

    Afterwards, also after an exception, the modules' public attributes (training mode, rotary positions, replaced
    methods), buffers and the states of all random number generators are as before. Parameters are never changed.
    """
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    before = [(_public(module), dict(module._buffers)) for module in modules]
    states = random.getstate(), np.random.get_state()  # the state that a model may use
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else ()
    cuda = sorted({tensor.device.index for tensor in (*parameters, torch.empty(0, device=device)) if tensor.is_cuda})
    try:
        with torch.random.fork_rng(cuda), _defaults(device):
            for module in modules:
                module.training = False
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, (attributes, buffers) in zip(modules, before, strict=True):
            for name in _public(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)


def _public(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


@contextlib.contextmanager
def _defaults(device: torch.device) -> Iterator[None]:
    """Have new tensors be float32 on the CPU, and no autocast of the caller's."""
    dtype = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        if torch.is_autocast_enabled(device.type):
            stack.callback(torch.clear_autocast_cache)  # casts made without gradients would serve the caller's passes
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        yield
