"""Score traces under any function from token ids to logits: models that are no transformers models."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from rbridge_tasks.scoring.collector import ScoringError
from rbridge_tasks.scoring.engine import Scorer
from rbridge_tasks.scoring.forward import padded
from rbridge_tasks.scoring.model_state import restored
from rbridge_tasks.scoring.readers import Choice, Ids, PlainReader
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.upload import upload

#: From token ids (batch, length), int64, to logits (batch, length, vocabulary) of the next token at each place.
Logits = Callable[[torch.Tensor], torch.Tensor]

#: Tokens read to check that the function is causal.
_CHECKED_TOKENS = 32
#: Largest change of a logit by later tokens that counts as rounding, as a share of the largest logit.
_ROUNDING = 1e-2


@dataclass
class CallableScorer(Scorer):
    """Teacher forcing under a function from ids to logits.

    The function is called once a batch, without gradients, on texts padded on the right; it must be causal. Every
    text's scores are then those of the text alone. A module is put into evaluation mode meanwhile; a function around a
    module has to do that itself.

    Attributes:
        forward: the function.
        max_length, device, batch_size, show_progress: see ``Scorer``.
    """

    forward: Logits
    max_length: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int | Literal["auto"] = "auto"
    show_progress: bool = True

    @contextlib.contextmanager
    def _model_ready(self) -> Iterator[None]:
        # not inference mode, whose tensors training code must not keep
        with torch.no_grad(), restored(self.forward, self.device):
            yield

    def _choose(self, longest: Text, prefixes: Sequence[int]) -> Choice:  # noqa: ARG002  # no prefix is kept
        return self._choice or Choice(PlainReader(self._logits_of), self._vocabulary(longest.ids), alone=False)

    def _vocabulary(self, ids: Ids) -> int:
        """Number of logits, from a call that also checks that later tokens change no logits."""
        whole = ids[:_CHECKED_TOKENS]
        half = (whole.size + 1) // 2
        changed = np.where(np.arange(whole.size) < half, whole, ids[0])
        logits = self._logits(np.stack([whole, changed]))
        first, second = logits[:, :half].float()
        if float((first - second).abs().max()) > _ROUNDING * float(first.abs().max()):
            raise ScoringError("the callable's logits change with later tokens; it must be a causal language model")
        return int(logits.shape[-1])

    def _logits_of(self, texts: Sequence[Text]) -> list[torch.Tensor]:
        """Logits (scored, vocabulary) of each text."""
        rows = self._logits(padded(texts, 0))
        return [row[text.lead : text.ids.size] for row, text in zip(rows, texts, strict=True)]

    def _logits(self, ids: Ids) -> torch.Tensor:
        logits = self.forward(upload(ids, self.device))
        shape = tuple(getattr(logits, "shape", ()))
        if not isinstance(logits, torch.Tensor) or len(shape) != 3 or shape[:2] != ids.shape:
            raise ScoringError(
                f"the callable returns {f'shape {shape}' if shape else type(logits).__name__} for ids of shape "
                f"{ids.shape}; it must return logits (batch, length, vocabulary)"
            )
        return logits.detach()
