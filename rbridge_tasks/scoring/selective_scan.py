"""Go on from a state in layers of Mamba 1, whose scan in transformers begins every input of several tokens anew.

The recurrence is linear: what a state adds to the output of a later token is the state, decayed by the time steps up to
the token, times the token's output vector. This is added to the scan that begins at zero, whichever implementation
computes it (torch or a kernel). On a CPU a scan goes in parts, each from the state after the one before: torch's
implementation makes tensors that are larger than the inputs by the width of the state.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch.nn import functional

#: Name of the scan in the modules of transformers that call it: Mamba, FalconMamba, Jamba, Zamba.
_NAME = "mamba_selective_scan"
#: Size of a scan's largest intermediate tensor (tokens x state, float32), in bytes. A CPU keeps it in its caches;
#: elsewhere each part costs one more call of a kernel.
_BYTES = {"cpu": 4 << 20}
_BYTES_ELSEWHERE = 256 << 20

#: States from which the scans of the current layer go on, one for each call.
_waiting: ContextVar[deque[torch.Tensor] | None] = ContextVar("waiting", default=None)


class UnusedStateError(NotImplementedError):
    """A layer did not scan in the way that is known here."""


@contextlib.contextmanager
def scans_from(model: Any, cache: Any) -> Iterator[None]:
    """Have the model's selective scans of several tokens go on from the recurrent states in a cache."""
    mixers = [module for module in model.modules() if _scans(module.__class__)]
    if not mixers:
        yield
        return

    def before(mixer: Any, *_: Any) -> None:
        state = cache.get_recurrent_state(mixer.layer_idx)
        _waiting.set(deque(state.unbind(1) if state.dim() == 4 else [state]))  # Zamba scans each head by itself

    def after(mixer: Any, *_: Any) -> None:
        if _waiting.get():
            raise UnusedStateError(f"{type(mixer).__name__} does not go on from its state")
        _waiting.set(None)

    token = _waiting.set(None)
    with contextlib.ExitStack() as stack:
        stack.callback(_waiting.reset, token)
        for name in {type(mixer).__module__ for mixer in mixers}:
            stack.enter_context(_replaced(name))
        for mixer in mixers:
            stack.callback(mixer.register_forward_pre_hook(before).remove)
            stack.callback(mixer.register_forward_hook(after).remove)
        yield


@functools.cache
def _scans(kind: type) -> bool:
    """Whether a class of layers calls the scan."""
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)  # type: ignore[attr-defined]
    return code is not None and _NAME in code.co_names


_replacing = threading.Lock()
_originals: dict[str, tuple[Callable[..., Any], int]] = {}


@contextlib.contextmanager
def _replaced(name: str) -> Iterator[None]:
    """Replace the scan in a module until the last thread that needs it is done; other threads notice nothing."""
    module = sys.modules[name]
    with _replacing:
        original, users = _originals.get(name, (getattr(module, _NAME), 0))
        _originals[name] = original, users + 1
        setattr(module, _NAME, functools.partial(_scan, original))
    try:
        yield
    finally:
        with _replacing:
            original, users = _originals.pop(name)
            if users > 1:
                _originals[name] = original, users - 1
            else:
                setattr(module, _NAME, original)


def _scan(original: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """The model's scan, from a state if one is waiting."""
    waiting = _waiting.get()
    if not waiting:
        return original(*args, **named)
    return scan_from(waiting.popleft(), original, *args, **named)


def scan_from(
    state: torch.Tensor,
    scan: Callable[..., Any],
    inputs: torch.Tensor,
    steps: torch.Tensor,
    rates: torch.Tensor,
    inward: torch.Tensor,
    outward: torch.Tensor,
    *,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **options: Any,
) -> Any:
    """Selective scan that begins at a state.

    Args:
        state: shape (batch, channels, width).
        scan: a scan that begins at zero, with the remaining arguments.
        inputs, steps: inputs and time steps, shape (batch, channels, tokens).
        rates: logarithm of the decay in one unit of time, shape (channels, width).
        inward, outward: input and output vectors, shape (batch, width, tokens).
        z: gate, as ``inputs``.
        delta_bias: added to time steps, shape (channels,).
        delta_softplus: whether the time steps are the softplus of those given.
        return_last_state: whether to return the last state, too.
        options: further arguments of ``scan``.

    Returns:
        Output as ``inputs``, and the last state if asked for.
    """
    delta = {"delta_bias": delta_bias, "delta_softplus": delta_softplus}
    biased = (steps if delta_bias is None else steps + delta_bias.to(steps.dtype)[..., None]).float()
    lengths = functional.softplus(biased) if delta_softplus else biased
    outs = []
    at, tokens = state.float(), _tokens_at_once(state)
    by_time = (torch.split(some, tokens, -1) for some in (inputs, steps, inward, outward, lengths))
    for of_inputs, of_steps, of_inward, of_outward, of_lengths in zip(*by_time, strict=True):
        parts = of_inputs, of_steps, rates, of_inward, of_outward
        out, last = scan(*parts, z=None, return_last_state=True, **delta, **options)
        elapsed = of_lengths.cumsum(-1)
        decayed = (rates.float()[:, None] * elapsed[..., None]).exp_().mul_(at[:, :, None])
        outs.append(out + torch.einsum("bctw,bwt->bct", decayed, of_outward.float()).to(out.dtype))
        at = last.float() + decayed[:, :, -1]
    out = torch.cat(outs, -1)
    out = out if z is None else out * functional.silu(z)
    return (out, at.to(last.dtype)) if return_last_state else out


def _tokens_at_once(state: torch.Tensor) -> int:
    """Number of tokens to scan at a time, so that intermediate tensors (tokens x state) stay within the limit."""
    limit = _BYTES.get(state.device.type, _BYTES_ELSEWHERE)
    return max(1, limit // (state.numel() * torch.float32.itemsize))
