"""Score traces under any function from token ids to logits: models that are no transformers models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.collector import Done, ScoringError, ignore_finished
from rbridge_tasks.scoring.engine import Engine
from rbridge_tasks.scoring.forward import padded
from rbridge_tasks.scoring.model_state import restored
from rbridge_tasks.scoring.readers import Choice, Ids, Prefix
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.token_statistics import token_statistics
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.upload import upload

#: From token ids (batch, length), int64, to logits (batch, length, vocabulary) of the next token at each place.
Logits = Callable[[torch.Tensor], torch.Tensor]

#: Tokens read to check that the function is causal.
_CHECKED_TOKENS = 32
#: Largest change of a logit by later tokens that counts as rounding, as a share of the largest logit.
_ROUNDING = 1e-2


@dataclass
class CallableScorer:
    """Teacher forcing under a function from ids to logits.

    The function is called once a batch, without gradients, on texts padded on the right; it must be causal. Every
    text's scores are then those of the text alone. A module is put into evaluation mode meanwhile; a function around a
    module has to do that itself.

    Attributes:
        forward: the function.
        max_length: longest input, in tokens.
        device: where ids are put.
        batch_size: texts in a call; "auto" takes as many as make up a number of tokens that keeps the device busy.
            Either is halved when memory runs out.
        show_progress: whether to draw a progress bar.
    """

    forward: Logits
    max_length: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int | Literal["auto"] = "auto"
    show_progress: bool = True
    _engine: Engine = field(init=False, repr=False)
    _choice: Choice | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._engine = Engine(self.device, self.max_length, self.batch_size, show_progress=self.show_progress)

    @torch.no_grad()  # not inference mode, whose tensors training code must not keep
    def score(
        self,
        pairs: Sequence[TokenizedPair],
        labels: Sequence[str],
        *,
        done: Done = ignore_finished,
        known: Mapping[int, TokenScores] | None = None,
    ) -> list[TokenScores]:
        """Score every pair; arguments and result as of ``CausalScorer.score``.

        Raises:
            ScoringError: the function is not causal or returns no logits, they are NaN or exclude a token, or one trace
                does not fit into memory.
        """
        with restored(self.forward, self.device):
            return self._engine.score(pairs, labels, self._choose, done=done, known=known)

    def _choose(self, texts: Sequence[Text]) -> Choice:
        if self._choice is None:
            reader = _CallableReader(self.forward, self.device)
            self._choice = Choice(reader, reader.vocabulary(texts[0].ids), alone=False)
        return self._choice


@dataclass(frozen=True)
class _CallableReader:
    """Reads texts by one call of the function, padded to the longest."""

    call: Logits
    device: torch.device
    shares: bool = False
    what: ClassVar[str] = "the callable's logits"
    way: ClassVar[str] = what
    repeats: ClassVar[bool] = True
    reads_longest_apart: ClassVar[bool] = False

    def vocabulary(self, ids: Ids) -> int:
        """Number of logits, from a call that also checks that later tokens change no logits."""
        whole = ids[:_CHECKED_TOKENS]
        half = (whole.size + 1) // 2
        changed = np.where(np.arange(whole.size) < half, whole, ids[0])
        logits = self._logits(upload(np.stack([whole, changed]), self.device))
        first, second = logits[:, :half].float()
        if float((first - second).abs().max()) > _ROUNDING * float(first.abs().max()):
            raise ScoringError("the callable's logits change with later tokens; it must be a causal language model")
        return int(logits.shape[-1])

    def keep(self, ids: Ids, parent: Prefix | None) -> Prefix | None:  # noqa: ARG002  # nothing is kept
        """None."""
        return None

    def read(self, texts: Sequence[Text], prefix: Prefix | None) -> torch.Tensor:  # noqa: ARG002  # never given one
        """Columns of the scored tokens."""
        logits = self._logits(upload(padded(texts, 0), self.device))
        tables = [
            token_statistics(row[text.lead : text.ids.size], upload(text.targets, row.device), _unchanged)
            for row, text in zip(logits, texts, strict=True)
        ]
        return torch.cat(tables)

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        logits = self.call(ids)
        shape = tuple(getattr(logits, "shape", ()))
        if not isinstance(logits, torch.Tensor) or len(shape) != 3 or shape[:2] != tuple(ids.shape):
            raise ScoringError(
                f"the callable returns {f'shape {shape}' if shape else type(logits).__name__} for ids of shape "
                f"{tuple(ids.shape)}; it must return logits (batch, length, vocabulary)"
            )
        return logits.detach()


def _unchanged(rows: torch.Tensor) -> torch.Tensor:
    return rows
