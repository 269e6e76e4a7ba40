"""A simulated GPU: tensors with shapes, dtypes and a CUDA device, but no content.

Under torch's ``FakeTensorMode`` an operation that has to wait for a device raises an error, because there is no content
to return. An operation on tensors of two devices raises one, too. This module also requires uploads to come from pinned
memory, and counts the bytes of the tensors that exist at the same time.

Indexing needs a guard for CUDA devices, which torch builds without CUDA lack; this module compiles one that does
nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda", 0)
_GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
using namespace c10;
impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, new impl::NoOpDeviceGuardImpl<DeviceType::CUDA>());
"""


#: A call of ``to`` is dispatched as ``to`` in inference mode and as ``_to_copy`` outside it.
_COPIES = (torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.copy_)


class UnpinnedCopyError(AssertionError):
    """A copy between CPU and GPU for which the host waits."""


class Pinning(TorchFunctionMode):
    """Records pinned tensors, and refuses to create GPU tensors from Python numbers, which are not pinned."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: list[torch.Tensor] = []

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.pin_memory:
            self.pinned.append(args[0].clone())
            return self.pinned[-1]
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type == "cuda":
            raise UnpinnedCopyError(f"{function.__name__} with a device")
        return function(*args, **kwargs)


class Gpu(TorchDispatchMode):
    """Checks copies, and counts the bytes of the GPU tensors that exist at the same time.

    Temporary memory inside a kernel is not counted.

    Attributes:
        uploads: copies to the GPU so far.
        peak: largest number of bytes so far.
        at: the operation that reached it.
    """

    def __init__(self, pinning: Pinning) -> None:
        super().__init__()
        self.uploads, self.peak, self.at = 0, 0, ""
        self._pinning = pinning
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function.overloadpacket in _COPIES:
            arguments = (
                dict(zip((parameter.name for parameter in function._schema.arguments), args, strict=False)) | kwargs
            )
            self._check(
                arguments.get("src", arguments["self"]), result, non_blocking=arguments.get("non_blocking", False)
            )
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                self._add(tensor.untyped_storage())
        live = sum(size for reference, size in self._storages.values() if not reference.expired())
        if live > self.peak:
            self.peak, self.at = live, str(function)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._storages = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}
        reference = StorageWeakRef(storage)
        self._storages.setdefault(reference.cdata, (reference, storage.nbytes()))

    def _check(self, source: torch.Tensor, result: torch.Tensor, *, non_blocking: bool) -> None:
        device_types = source.device.type, result.device.type
        if device_types == ("cpu", "cuda"):
            if not non_blocking or not any(source is tensor for tensor in self._pinning.pinned):
                raise UnpinnedCopyError("a copy to the GPU from memory that is not pinned, or one that blocks")
            self.uploads += 1
        elif device_types == ("cuda", "cpu"):
            raise UnpinnedCopyError("a copy to the CPU, for which the host waits")


@contextlib.contextmanager
def simulated_gpu() -> Iterator[Gpu]:
    """Run a block with tensors that have no content. Earlier tensors are not counted."""
    _register_guard()
    with (
        patch.object(torch.cuda, "get_device_capability", return_value=(9, 0)),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.inference_mode(),
        Pinning() as pinning,
        Gpu(pinning) as gpu,
    ):
        yield gpu


def without_content(model: torch.nn.Module, device: torch.device = DEVICE) -> torch.nn.Module:
    """Replace the parameters and buffers of a model on the "meta" device; call it in ``FakeTensorMode``."""
    replacements: dict[int, torch.Tensor] = {}

    def on_device(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in replacements:  # tied weights stay tied
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            replacements[id(tensor)] = torch.nn.Parameter(empty, requires_grad=False) if is_parameter else empty
        return replacements[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update({name: on_device(tensor) for name, tensor in tensors.items() if tensor is not None})
    return model


@functools.cache
def _register_guard() -> None:
    if torch.cuda.is_available():
        return
    package = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "guard.cpp", Path(folder) / "guard.so"
        source.write_text(_GUARD)
        compiler = [os.environ.get("CXX", "g++"), "-std=c++20", "-shared", "-fPIC", f"-I{package / 'include'}"]
        command = [*compiler, str(source), "-o", str(library), f"-L{package / 'lib'}", "-lc10"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        if done.returncode:
            pytest.skip(f"no device guard can be compiled here: {done.stderr.splitlines()[0]}")
        ctypes.CDLL(str(library))
