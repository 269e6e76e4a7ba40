"""Score traces under a transformers causal LM: shared text is read once, only trace tokens are projected.

A naive pass reads the few-shot prompt again for every item, pads, and computes logits of the whole vocabulary at every
position. Here prefixes that many requests share are read once (``prefix_tree``), a batch is one line of tokens without
repetition (``texts``, ``packed_attention``), and the output projection is applied only to positions that predict trace
tokens, part by part (``token_statistics``).

A model for which a short cut changes its numbers is read in a slower way (``short_cuts``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.collector import Done, ScoringError, ignore_finished
from rbridge_tasks.scoring.cpu import keep_freed_memory
from rbridge_tasks.scoring.engine import Engine
from rbridge_tasks.scoring.forward import Forward
from rbridge_tasks.scoring.model_state import restored
from rbridge_tasks.scoring.prefix_tree import prefix_tree
from rbridge_tasks.scoring.readers import Choice, PackedReader
from rbridge_tasks.scoring.short_cuts import choose_reader
from rbridge_tasks.scoring.texts import Text, longest_of
from rbridge_tasks.scoring.tokenization import TokenizedPair

__all__ = ["CausalScorer", "ScoringError"]


@dataclass
class CausalScorer:
    """Teacher forcing under one model.

    Scoring leaves the model and the process as they were, also where it ends with an exception: see ``model_state``.

    Attributes:
        model: a transformers causal LM on its device or spread over several, in training or evaluation mode; it is
            scored in evaluation mode.
        device: where inputs go.
        max_length: longest input, in tokens.
        batch_size: texts to read at once; "auto" reads as many as make up a number of tokens that keeps the device
            busy. Either is halved when memory runs out.
        max_batch_size: the largest number of texts that "auto" reads at once; None sets no limit.
        autocast_dtype: as lm-eval's ``mixed_precision_dtype``.
        compiled: whether to compile the model's layers, where that gives the same numbers.
        show_progress: whether to draw a progress bar.
    """

    model: Any
    device: torch.device
    max_length: int
    batch_size: int | Literal["auto"] = 1
    max_batch_size: int | None = None
    autocast_dtype: torch.dtype | None = None
    compiled: bool = False
    show_progress: bool = True
    _engine: Engine = field(init=False, repr=False)
    _choice: Choice | None = field(default=None, init=False, repr=False)
    _tried_length: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._engine = Engine(self.device, self.max_length, self.batch_size, self.max_batch_size, self.show_progress)

    @property
    def way_of_reading(self) -> str:
        """How texts were read last: "one line", "padded", "padded, prompt read again", "model's own logits", ...

        "alone" where every text is read by itself because a text beside it changes its numbers. Empty before the first
        call of ``score``.
        """
        return str(self._choice or "")

    @torch.inference_mode()
    def score(
        self,
        pairs: Sequence[TokenizedPair],
        labels: Sequence[str],
        *,
        done: Done = ignore_finished,
        known: Mapping[int, TokenScores] | None = None,
    ) -> list[TokenScores]:
        """Score every pair.

        Args:
            pairs: tokenised (context, trace) pairs.
            labels: names of the pairs, for errors.
            done: called after each batch with the indices of the pairs that it completed and their scores, each pair
                once. A pair is complete when all of its windows are.
            known: scores of pairs from an earlier run, by index. Batches are planned as if nothing were known, so that
                the numbers are the same to the last bit; batches in which every pair is known are skipped.

        Returns:
            One ``TokenScores`` per pair, in the order given.

        Raises:
            ScoringError: the model's logits are NaN or exclude a token, or one trace does not fit into memory.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        with restored(self.model, self.device):
            try:
                return self._engine.score(pairs, labels, self._choose, done=done, known=known)
            finally:
                if self._choice is not None and isinstance(self._choice.reader, PackedReader):
                    self._choice.reader.forget()  # the model may be trained before the next call

    def _choose(self, texts: Sequence[Text]) -> Choice:
        """Choose a reader by a trial on the longest text so far."""
        i = longest_of(texts)
        longest = texts[i]
        if self._choice is None or longest.ids.size > self._tried_length:
            tree = prefix_tree([text.ids for text in texts], [text.lead for text in texts])
            forward = Forward(self.model, self.device, self.autocast_dtype)
            prefixes = tree.set_apart(i)
            self._choice = choose_reader(forward, longest, prefixes, compiled=self.compiled)
            self._tried_length = longest.ids.size
        return self._choice
