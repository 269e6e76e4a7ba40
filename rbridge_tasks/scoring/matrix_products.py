"""Float32 matrix products of linear layers by oneDNN instead of MKL, which is slower on processors of other makers.

torch calls MKL for them on x86-64, and has oneDNN beside it for its compiler. Sums are made in another order, so that
results differ in the last digits.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# oneDNN, and torch above it, keep a program for each shape that they have met, 1024 unless told otherwise before
# their first product: half a gigabyte, as no two batches have the same number of tokens. A batch needs about ten.
for _capacity in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_capacity, "64")


def linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``torch.nn.functional.linear``, by oneDNN where no gradients are asked for and it can.

    Args:
        states: shape (..., width).
        weight: shape (outputs, width).
        bias: shape (outputs,).

    Returns:
        Shape (..., outputs).
    """
    tensors = [tensor for tensor in (states, weight, bias) if tensor is not None]
    if _left_to_onednn(*tensors) and states.dim() >= 2 and (states.shape[-1],) == weight.shape[1:]:
        return _linear_by_onednn(states, weight, bias)
    return functional.linear(states, weight, bias)


class Factor:
    """What many matrices are multiplied by, brought into oneDNN's order once where oneDNN multiplies.

    Attributes:
        columns: shape (columns, width).
    """

    def __init__(self, columns: torch.Tensor) -> None:
        self.columns = columns
        self._ordered = None
        if _left_to_onednn(columns):
            self._ordered = torch.ops.mkldnn._reorder_linear_weight(columns.contiguous())

    def linear(self, rows: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Products (rows, columns) with the rows of ``rows`` (rows, width), and ``offset`` (columns,) added to each."""
        if self._ordered is not None and _left_to_onednn(rows, offset) and rows.shape[1:] == self.columns.shape[1:]:
            return _linear_by_onednn(rows, self._ordered, offset)
        return functional.linear(rows, self.columns).add_(offset)


def _left_to_onednn(*tensors: torch.Tensor) -> bool:
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


class LinearByOneDNN(TorchFunctionMode):
    """While it is entered, the linear layers of every model are ``linear``."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call what torch was about to call, or ``linear`` in its place."""
        return (linear if function is functional.linear else function)(*args, **(kwargs or {}))


@functools.cache
def has_onednn() -> bool:
    """Whether this processor's float32 products are left to oneDNN."""
    return (
        platform.machine().lower() in {"x86_64", "amd64"}
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    )
