"""A model in training: what is inside its wrappers, how to read it, and how to leave it untouched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from rbridge_tasks.scoring.model_state import restored

Logits = Callable[[torch.Tensor], torch.Tensor]


def unwrapped(model: Any) -> Any:
    """The model inside ``torch.compile``, ``DistributedDataParallel``, ``DataParallel`` and a DeepSpeed engine.

    FSDP's wrapper stays: only through it are the parameters gathered.
    """
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    while True:
        engine = any(base.__name__ == "DeepSpeedEngine" for base in type(model).__mro__)
        inner = getattr(model, "_orig_mod", model)
        if engine or isinstance(inner, (DistributedDataParallel, DataParallel)):
            inner = inner.module
        if inner is model:
            return model
        model = inner


def is_transformers(model: Any) -> bool:
    """Whether the model, maybe inside FSDP's wrapper, is called as transformers models are."""
    from transformers import PreTrainedModel

    inner = getattr(model, "_fsdp_wrapped_module", model)
    return isinstance(inner, PreTrainedModel) or hasattr(inner, "get_base_model")  # the second: an adapter of peft


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether ranks hold parts of the parameters (FSDP, DeepSpeed ZeRO-3), so that all must run the same passes."""
    if _fsdp1(model):
        return True
    return any(hasattr(parameter, "device_mesh") or hasattr(parameter, "ds_id") for parameter in model.parameters())


def logits_function(forward: Any, autocast_dtype: torch.dtype | None) -> Logits:
    """A function from token ids to logits, from a transformers model, another module or a function."""
    options = {"use_cache": False} if is_transformers(forward) else {}

    def logits(ids: torch.Tensor) -> torch.Tensor:
        precision = (
            contextlib.nullcontext() if autocast_dtype is None else torch.autocast(ids.device.type, autocast_dtype)
        )
        with precision:
            output = forward(input_ids=ids, **options) if options else forward(ids)
        scores: torch.Tensor = getattr(output, "logits", output)
        return scores

    return logits


def device_of(model: Any, device: str | None) -> torch.device:
    """Where inputs go: as given, else where the model's first parameter is."""
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device(device) if device else first.device if first is not None else torch.device("cpu")


@contextlib.contextmanager
def untouched(model: Any, device: torch.device) -> Iterator[None]:
    """Score inside; then the training goes on as if nothing had happened.

    Modules are in evaluation mode meanwhile, without gradients. Random states, modes, buffers and autocast are restored
    (see ``restored``). Compiled modules run uncompiled, so that they gain no graphs for other shapes, which training
    might then use. FSDP frees the parameters that it gathered: it keeps those of the root after a forward pass, and
    training would go on with them if the optimiser steps in between.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(restored(model, device))
        stack.enter_context(torch.no_grad())
        if hasattr(torch.compiler, "set_stance"):  # torch 2.6
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if isinstance(model, torch.nn.Module):
            stack.callback(_free_gathered, model)
        yield


def _free_gathered(model: torch.nn.Module) -> None:
    for module in _fsdp1(model):
        handle = module._handle
        if handle is not None and handle.uses_sharded_strategy and not handle.needs_unshard():
            handle.reshard(free_unsharded_flat_param=True)
            handle.post_reshard()
            handle._prefetched = False
    modules: list[Any] = [*model.modules()]
    for module in modules:
        if hasattr(module, "reshard") and hasattr(module, "unshard"):  # FSDPModule of torch.distributed.fsdp
            module.reshard()


def _fsdp1(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__ == "FullyShardedDataParallel"]
