"""Float32 matrix products of linear layers by oneDNN instead of MKL, which is slower on processors of other makers.

torch calls MKL for them on x86-64, and has oneDNN beside it for its compiler. Sums are made in another order, so that
results differ in the last digits.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``torch.nn.functional.linear``, by oneDNN where no gradients are asked for and it can.

    Args:
        states: shape (..., width).
        weight: shape (outputs, width).
        bias: shape (outputs,).

    Returns:
        Shape (..., outputs).
    """
    plain = not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    if (
        plain
        and all(multiplied_by_onednn(tensor) for tensor in (states, weight, bias) if tensor is not None)
        and states.dim() >= 2
        and states.numel() > 0
        and (states.shape[-1],) == weight.shape[1:]
    ):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
        return product
    return functional.linear(states, weight, bias)


def multiplied_by_onednn(tensor: torch.Tensor) -> bool:
    """Whether ``linear`` leaves such a tensor to oneDNN."""
    return (
        _has_onednn()
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
    )


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
def _has_onednn() -> bool:
    return (
        platform.machine().lower() in {"x86_64", "amd64"}
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
