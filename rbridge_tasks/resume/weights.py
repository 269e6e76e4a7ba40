"""Identify a transformers model in memory by its weights, its settings and the code that runs it.

The weights are hashed as they were loaded, not the files that they came from: a replaced checkpoint, an adapter, a
delta, quantised weights and a model built in Python all have identities of their content.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_metrics import RBridgeError

if TYPE_CHECKING:
    import torch

_CHUNK_BYTES = 32 << 20
#: Packages whose version identifies their code; the code of others is hashed.
_RELEASED = frozenset(
    (
        "accelerate", "auto_gptq", "bitsandbytes", "gptqmodel", "hqq", "peft", "tokenizers", "torch", "torchao",
        "transformers",
    )
)  # fmt: skip


class UnidentifiedModelError(RBridgeError):
    """Nothing distinguishes this model from others, so its scores must not be kept."""


def loaded_model(model: torch.nn.Module) -> dict[str, Any]:
    """What distinguishes a model in memory from all models whose scores differ, for JSON.

    Raises:
        UnidentifiedModelError: something other than weights, settings and code may change its scores.
    """
    config: Any = model.config
    adapters = {name: _settings(adapter) for name, adapter in getattr(model, "peft_config", {}).items()}
    active: Any = getattr(model, "active_adapters", None) if adapters else None
    return {
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "weights_sha256": weights_sha256(model),
        "config": _settings(config) | {"attention": str(getattr(config, "_attn_implementation", None))},
        "adapters": adapters,
        "active_adapters": str(active() if callable(active) else active),
        "code": _code(model),
    }


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 of all parameters and buffers by name: their types, shapes and bytes, on any device.

    Reads memory at about 1 GB/s and core. Tensors that several names share are read once.

    Raises:
        UnidentifiedModelError: a parameter is neither in memory nor offloaded, or spread over processes.
    """
    state = {**model.state_dict(), **dict(model.named_buffers())}
    hashed: list[tuple[str, list[Future[bytes]]]] = []
    by_memory: dict[tuple[Any, ...], list[Future[bytes]]] = {}
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for name in sorted(state):
            value, offloaded = _in_memory(model, name, state[name])
            for path, tensor in _plain_tensors(name, value):
                what = (str(tensor.dtype), tuple(tensor.shape), tensor.stride(), str(tensor.device), tensor.data_ptr())
                chunks = None if offloaded or not tensor.data_ptr() else by_memory.get(what)
                if chunks is None:
                    chunks = [pool.submit(_chunk_sha256, chunk) for chunk in _chunks(tensor)]
                    if offloaded:
                        wait(chunks)  # one by one: together they may not fit, and their memory is reused
                    else:
                        by_memory[what] = chunks
                hashed.append((f"{path}\t{what[0]}\t{what[1]}\n", chunks))
    total = hashlib.sha256()
    for header, chunks in hashed:
        total.update(header.encode() + b"".join(chunk.result() for chunk in chunks))
    return total.hexdigest()


def _chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    import torch

    if not tensor.numel():
        return
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, flat.numel(), _CHUNK_BYTES):
        yield flat[start : start + _CHUNK_BYTES]


def _chunk_sha256(chunk: torch.Tensor) -> bytes:
    return hashlib.sha256(chunk.cpu().numpy().data).digest()


def _plain_tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor, or the parts of a packed tensor."""
    import torch

    if not isinstance(value, torch.Tensor) or value.is_quantized or value.is_sparse:
        raise UnidentifiedModelError(f"its state {name} is a {type(value).__name__}, whose bytes cannot be read")
    if type(value).__name__ == "DTensor":
        raise UnidentifiedModelError("its weights are spread over processes by tensor parallelism")
    if value.is_meta:
        raise UnidentifiedModelError(f"its weight {name} is not in memory")
    if not hasattr(value, "__tensor_flatten__"):
        yield name, value
        return
    inner, settings = value.__tensor_flatten__()
    for part in inner:
        yield from _plain_tensors(f"{name}.{part}{settings}", getattr(value, part))


def _in_memory(model: torch.nn.Module, name: str, value: Any) -> tuple[Any, bool]:
    """The tensor, from accelerate's storage if it was offloaded, and whether it was."""
    if not getattr(value, "is_meta", False):
        return value, False
    owner, _, leaf = name.rpartition(".")
    hook = getattr(model.get_submodule(owner), "_hf_hook", None)
    for part in getattr(hook, "hooks", [hook]):
        weights = getattr(part, "weights_map", None)
        if weights is not None and leaf in weights:
            return weights[leaf], True
    return value, False


def _settings(config: Any) -> dict[str, Any]:
    """A transformers or peft configuration without its origin."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {str(key): clean(inner) for key, inner in value.items() if key not in _ABOUT_FILES}
            return dict(sorted(kept.items()))
        if isinstance(value, (set, frozenset)):
            return sorted(map(str, value))
        if isinstance(value, (list, tuple)):
            return [clean(inner) for inner in value]
        return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

    settings: dict[str, Any] = clean(config.to_dict())
    return settings


_ABOUT_FILES = ("_name_or_path", "name_or_path", "transformers_version", "base_model_name_or_path", "_commit_hash")


def _code(model: torch.nn.Module) -> dict[str, str]:
    """Version of each released package that runs the model; SHA-256 of the source of any other code.

    Raises:
        UnidentifiedModelError: code was attached to the model by hand, or is in no file.
    """
    modules = {type(module).__module__ for module in model.modules()}
    for name, module in model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if foreign := [hook for hook in hooks if _package(getattr(hook, "__module__", None)) not in _RELEASED]:
            hook = getattr(foreign[0], "__qualname__", type(foreign[0]).__name__)
            raise UnidentifiedModelError(f"the hook {hook} on {name or 'the model'} may change its scores")
        if "forward" in vars(module) and not hasattr(module, "_hf_hook"):
            raise UnidentifiedModelError(f"the forward method of {name or 'the model'} was replaced")
    code = {package: metadata.version(package) for package in ("tokenizers", "torch", "transformers")}
    for module_name in sorted(modules):
        package = _package(module_name)
        if package in _RELEASED:
            code.setdefault(package, _version(package))
        else:
            code |= _sources(module_name)
    return code


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _version(package: str) -> str:
    return str(getattr(sys.modules.get(package), "__version__", "")) or metadata.version(package)


def _sources(module: str) -> dict[str, str]:
    """SHA-256 of the source of a module and of the loaded modules of its package."""
    package = module.rpartition(".")[0]
    names = [name for name in sorted(sys.modules) if package and name.startswith(f"{package}.")]
    sources = {}
    for name in {module, *names}:
        try:
            file = inspect.getsourcefile(sys.modules[name])
            sources[name] = hashlib.sha256(Path(file or "").read_bytes()).hexdigest()
        except (KeyError, OSError, TypeError) as error:
            if name == module:
                raise UnidentifiedModelError(f"the source of its code, {module}, cannot be read") from error
    return sources
