"""Score traces under a transformers causal LM: shared text is read once, only trace tokens are projected.

A naive pass reads the few-shot prompt again for every item, pads, and computes logits of the whole vocabulary at every
position. Here prefixes that many requests share are read once (``prefix_tree``), a batch is one line of tokens without
repetition (``texts``, ``packed_attention``), and the output projection is applied only to positions that predict trace
tokens, part by part (``token_statistics``).

A model for which a short cut changes its numbers is read in a slower way (``short_cuts``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from rbridge_tasks.scoring.collector import ScoringError
from rbridge_tasks.scoring.cpu import keep_freed_memory
from rbridge_tasks.scoring.engine import Scorer
from rbridge_tasks.scoring.forward import UNSUPPORTED, Forward
from rbridge_tasks.scoring.model_state import restored
from rbridge_tasks.scoring.readers import Choice, PackedReader
from rbridge_tasks.scoring.short_cuts import choose_reader
from rbridge_tasks.scoring.texts import Text

__all__ = ["CausalScorer", "ScoringError"]


@dataclass
class CausalScorer(Scorer):
    """Teacher forcing under one model.

    Scoring leaves the model and the process as they were, also where it ends with an exception: see ``model_state``.

    Attributes:
        model: a transformers causal LM on its device or spread over several, in training or evaluation mode; it is
            scored in evaluation mode.
        device, max_length, batch_size, max_batch_size, show_progress: see ``Scorer``.
        autocast_dtype: as lm-eval's ``mixed_precision_dtype``.
        compiled: whether to compile the model's layers, where that gives the same numbers.
    """

    model: Any
    device: torch.device
    max_length: int
    batch_size: int | Literal["auto"] = 1
    max_batch_size: int | None = None
    autocast_dtype: torch.dtype | None = None
    compiled: bool = False
    show_progress: bool = True
    _tried_length: int = field(default=0, init=False, repr=False)

    @property
    def way_of_reading(self) -> str:
        """How texts were read last: "one line", "padded", "padded, prompt read again", "model's own logits", ...

        "alone" where every text is read by itself because a text beside it changes its numbers. Empty before the first
        call of ``score``.
        """
        return str(self._choice or "")

    @contextlib.contextmanager
    def _model_ready(self) -> Iterator[None]:
        if self.device.type == "cpu":
            keep_freed_memory()
        with torch.inference_mode(), restored(self.model, self.device):
            try:
                yield
            finally:
                if self._choice is not None and isinstance(self._choice.reader, PackedReader):
                    self._choice.reader.forget()  # the model may be trained before the next call

    def _input_vocabulary(self) -> int | None:
        try:
            embedding = self.model.get_input_embeddings()
        except UNSUPPORTED:
            return None
        return embedding.num_embeddings if isinstance(embedding, torch.nn.Embedding) else None

    def _choose(self, longest: Text, prefixes: Sequence[int]) -> Choice:
        """Choose a reader by a trial on the longest text so far."""
        if self._choice is not None and longest.ids.size <= self._tried_length:
            return self._choice
        forward = Forward(self.model, self.device, self.autocast_dtype)
        choice = choose_reader(forward, longest, prefixes, compiled=self.compiled)
        self._tried_length = longest.ids.size
        return choice
