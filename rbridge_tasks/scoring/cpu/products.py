"""Float32 matrix products of linear layers by oneDNN instead of MKL, which is slower on AMD processors.

On x86-64 torch calls MKL for these products and ships oneDNN for its compiler. oneDNN sums in another order, so results
differ in the last digits.
"""

from __future__ import annotations

import functools
import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

#: At their first product oneDNN (once a process) and torch's interface to it (once a thread) read from these variables
#: how many compiled programs to keep: by default one for each of the last 1024 shapes, 0.5 GiB. Hardly two batches have
#: the same shape, and a batch needs about ten.
_CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_PROGRAMS = "64"
_this_thread = threading.local()
_environment = threading.Lock()


def linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``torch.nn.functional.linear``, computed by oneDNN where it can and no gradient is needed.

    Args:
        states: shape (..., width).
        weight: shape (outputs, width).
        bias: shape (outputs,).

    Returns:
        Shape (..., outputs).
    """
    tensors = [tensor for tensor in (states, weight, bias) if tensor is not None]
    if _suits_onednn(*tensors) and states.dim() >= 2 and (states.shape[-1],) == weight.shape[1:]:
        return _linear_by_onednn(states, weight, bias)
    return functional.linear(states, weight, bias)


class Factor:
    """A matrix to multiply many others with. Where oneDNN multiplies, its memory layout is prepared once.

    Attributes:
        columns: shape (columns, width).
    """

    def __init__(self, columns: torch.Tensor) -> None:
        self.columns = columns
        self._reordered = None
        if _suits_onednn(columns):
            self._reordered = torch.ops.mkldnn._reorder_linear_weight(columns.contiguous())

    def linear(self, rows: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Products (rows, columns) with ``rows`` (rows, width), plus ``offset`` (columns,)."""
        if self._reordered is not None and _suits_onednn(rows, offset) and rows.shape[1:] == self.columns.shape[1:]:
            return _linear_by_onednn(rows, self._reordered, offset)
        return functional.linear(rows, self.columns).add_(offset)


class LinearByOneDNN(TorchFunctionMode):
    """While this mode is active, every ``torch.nn.functional.linear`` is ``linear``."""

    def __enter__(self) -> LinearByOneDNN:
        """Activate the mode."""
        _limit_programs()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``function``, or ``linear`` in its place."""
        return (linear if function is functional.linear else function)(*args, **(kwargs or {}))


@functools.cache
def has_onednn() -> bool:
    """Whether oneDNN computes this processor's float32 products."""
    return (
        platform.machine().lower() in {"x86_64", "amd64"}
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    )


def _limit_programs() -> None:
    """Make this thread's first oneDNN product under a small program limit; the environment is restored.

    A value that the user set stays. Threads that compute one batch and end need no limit.
    """
    if getattr(_this_thread, "limited", False):
        return
    _this_thread.limited = True
    unset = [name for name in _CAPACITIES if name not in os.environ]
    tiny = torch.ones(2, 2)
    with _environment, torch.inference_mode():
        os.environ.update(dict.fromkeys(unset, _PROGRAMS))
        try:
            if has_onednn():
                _linear_by_onednn(tiny, tiny, None)
        finally:
            for name in unset:
                del os.environ[name]


def _suits_onednn(*tensors: torch.Tensor) -> bool:
    return (
        has_onednn()
        and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
        and all(
            tensor.dtype == torch.float32
            and tensor.device.type == "cpu"
            and type(tensor) in (torch.Tensor, torch.nn.Parameter)
            and tensor.numel() > 0
            for tensor in tensors
        )
    )


def _linear_by_onednn(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return product
