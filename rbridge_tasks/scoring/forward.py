"""A transformers causal LM divided into its body and its output projection."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rbridge_tasks.scoring.compiled import CompiledLayers, compiled_layers, in_place
from rbridge_tasks.scoring.cpu import LinearByOneDNN
from rbridge_tasks.scoring.stretching_positions import forget_lengths, stretching_rotations
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.token_statistics import Head, LinearHead, token_statistics
from rbridge_tasks.scoring.upload import upload

#: Errors of models that cannot be called in some way. Running out of memory is a RuntimeError, too.
UNSUPPORTED = (
    AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
#: In messages of errors that are no ``OutOfMemoryError``: of the CPU's allocator on Linux and on Windows, of CUDA, HIP
#: and MPS, and of CUDA's libraries.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")

#: Roundings of one product that are allowed.
_SAFETY = 4
#: Tokens for which the output projection is compared with the model's.
_PROJECTED_TOKENS = 8


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(text in str(error) for text in _OUT_OF_MEMORY)


class OwnPass(NamedTuple):
    """A forward pass of a model.

    Attributes:
        hidden: shape (batch, tokens, width), states that enter the output projection.
        logits: shape (batch, last tokens, vocabulary).
    """

    hidden: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True)
class Forward:
    """Forward passes of one model.

    Attributes:
        model: a transformers causal LM in evaluation mode, on its device or spread over several.
        device: where inputs go.
        autocast_dtype: as lm-eval's ``mixed_precision_dtype``.
        compiled: whether layers, and on a GPU the reduction of logits, are compiled.
        bare: whether the model is given nothing but token ids, one text at a time, which every model accepts.
    """

    model: Any
    device: torch.device
    autocast_dtype: torch.dtype | None = None
    compiled: bool = False
    bare: bool = False

    @functools.cached_property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """Parameters of the model's forward pass."""
        return inspect.signature(self.model.forward).parameters

    def call(self, inputs: torch.Tensor, **options: Any) -> Any:
        """The model's forward pass, with those options that it accepts."""
        parameters = self.takes
        if self.bare:
            options = {}
        elif not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            options = {name: value for name, value in options.items() if name in parameters}
        elif "logits_to_keep" not in parameters:  # a wrapper passes it on to a model that may not accept it
            options.pop("logits_to_keep", None)
        forget_lengths(self._rotations)
        with self._autocast(), in_place(self._layers) if self.compiled else contextlib.nullcontext():
            return self.model(input_ids=inputs, **options)

    @functools.cached_property
    def _rotations(self) -> list[torch.nn.Module]:
        return stretching_rotations(self.model)

    @functools.cached_property
    def _layers(self) -> CompiledLayers:
        return compiled_layers(self.model)

    def hidden(self, inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        """Hidden states (batch, tokens, width) that enter the output projection; the model projects the last only."""
        by_onednn = self.device.type == "cpu" and not self.compiled  # elsewhere the mode only costs time for each call
        with LinearByOneDNN() if by_onednn else contextlib.nullcontext():
            return self.own_pass(inputs, projected=1, **options).hidden

    def own_pass(self, inputs: torch.Tensor, *, projected: int = _PROJECTED_TOKENS, **options: Any) -> OwnPass:
        """A forward pass in the model's own arithmetic, in which it projects the last ``projected`` tokens only."""
        with self._caught_hidden(projected) as caught:
            output = self.call(inputs, **options)
        return OwnPass(caught[0], output.logits)

    def projection_difference(self, own: OwnPass) -> float:
        """How far our output projection is from the model's logits for the same hidden states, in roundings.

        Both sides apply the same matrix to the same numbers, so rounding gives values below 1. A sum of ``width``
        rounded products is off by about the square root of ``width`` roundings in float32, and the result is rounded
        once to its dtype.
        """
        logits = own.logits.double()
        hidden = own.hidden[:, -logits.shape[1] :]
        with self._autocast():
            projected = self._head(hidden)(hidden)
        sums = _SAFETY * torch.finfo(torch.float32).eps * hidden.shape[-1] ** 0.5
        last = _SAFETY * torch.finfo(projected.dtype).eps
        size = logits.abs().nan_to_num(nan=0.0, posinf=0.0)  # a bias may rule tokens out
        bound = sums * size.amax(-1, keepdim=True) + last * size
        difference = (projected.to(logits.device).double() - logits).abs().where(projected != logits, 0.0)
        return float((difference / bound.clamp(min=torch.finfo(torch.float32).tiny)).nan_to_num(nan=0.0).max())

    @contextlib.contextmanager
    def _caught_hidden(self, projected: int) -> Iterator[list[torch.Tensor]]:
        """Fill a list with what enters the output projection, which sees the last ``projected`` tokens only."""
        caught: list[torch.Tensor] = []

        def catch(_module: Any, entering: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            caught.append(entering[0])
            return (entering[0][:, -projected:], *entering[1:])

        handle = self.model.get_output_embeddings().register_forward_pre_hook(catch)
        try:
            yield caught
        finally:
            handle.remove()

    def statistics(self, hidden: torch.Tensor, targets: npt.NDArray[np.int64]) -> torch.Tensor:
        """``token_statistics`` of hidden states (scored, width) under the model's output projection."""
        with self._autocast():
            uploaded = self.upload(targets, hidden.device)
            return token_statistics(hidden, uploaded, self._head(hidden), compiled=self.compiled)

    def logits(self, texts: Sequence[Text], **options: Any) -> list[torch.Tensor]:
        """Logits (scored, vocabulary) of each text, from the model's own forward pass over all of them, padded."""
        if self.bare and len(texts) > 1:
            return [logits for text in texts for logits in self.logits([text])]
        inputs = self.upload(padded(texts, 0))
        keep = inputs.shape[1] - min(text.lead for text in texts)
        logits = self.call(inputs, use_cache=False, logits_to_keep=keep, **options).logits
        first_kept = inputs.shape[1] - logits.shape[1]
        return [logits[i, text.lead - first_kept : text.ids.size - first_kept] for i, text in enumerate(texts)]

    def upload(self, array: npt.NDArray[np.int64], device: torch.device | None = None) -> torch.Tensor:
        """Copy an array to a device, without waiting for the copy."""
        return upload(array, self.device if device is None else device)

    def _head(self, hidden: torch.Tensor) -> Head | LinearHead:
        """The output projection; a ``LinearHead`` where it is a plain matrix."""
        head, after = self.model.get_output_embeddings(), self._after_head
        weight = getattr(head, "weight", None)
        hooked = "forward" in vars(head) or head._forward_hooks or head._forward_pre_hooks
        plain = type(head) is torch.nn.Linear and not hooked
        if (
            type(weight) is torch.nn.Parameter
            and plain
            and self.autocast_dtype is None
            and (weight.device, weight.dtype) == (hidden.device, hidden.dtype)
        ):
            return LinearHead(weight, head.bias, after)
        return head if after is None else lambda rows: after(head(rows))

    @functools.cached_property
    def _after_head(self) -> Head | None:
        """What some models do to logits after the projection: Granite divides, Cohere multiplies, Gemma 2 caps."""
        config = self.model.config.get_text_config()
        divisor, factor = (getattr(config, name, None) for name in ("logits_scaling", "logit_scale"))
        caps = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
        cap = next((value for name in caps if (value := getattr(config, name, None)) is not None), None)
        if divisor is factor is cap is None:
            return None

        def after(logits: torch.Tensor) -> torch.Tensor:
            logits = logits if divisor is None else logits / divisor
            logits = logits if factor is None else logits * factor
            return logits if cap is None else torch.tanh(logits / cap) * cap

        return after

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device_type=self.device.type, dtype=self.autocast_dtype)


def statistics_of_logits(logits: torch.Tensor, targets: npt.NDArray[np.int64]) -> torch.Tensor:
    """``token_statistics`` of logits (scored, vocabulary)."""
    return token_statistics(logits, upload(targets, logits.device), lambda rows: rows)


def padded(texts: Sequence[Text], skip: int) -> npt.NDArray[np.int64]:
    """Ids (texts, longest) after the first ``skip``, padded on the right: causal attention never sees padding."""
    inputs = np.zeros((len(texts), max(text.ids.size for text in texts) - skip), dtype=np.int64)
    for i, text in enumerate(texts):
        inputs[i, : text.ids.size - skip] = text.ids[skip:]
    return inputs
