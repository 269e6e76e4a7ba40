"""Put the scores of traces together from log-probabilities that an engine or a server gives for whole prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.windows import Window, plan_windows, report_cuts

_Number = TypeVar("_Number", np.float64, np.int64)

Done = Callable[[Sequence[int], Sequence[TokenScores]], None]

#: What an API writes for a token that the model rules out: JSON has no infinity.
_RULED_OUT = -9999.0


class PromptScoresError(RBridgeError):
    """Log-probabilities that are NaN, infinite or none: no score can be made of them."""


@dataclass(frozen=True)
class PromptScores:
    """What is known of each token of one prompt, arrays of shape (tokens,).

    Attributes:
        logprob: natural log of the probability given all tokens before it. NaN where the source gives none, as for
            the first token.
        max_logprob: the same of the most probable token there, or None.
        rank: 1 is the most probable token, or None. Without meaning where ``logprob`` is NaN.
    """

    logprob: npt.NDArray[np.float64]
    max_logprob: npt.NDArray[np.float64] | None
    rank: npt.NDArray[np.int64] | None

    def __getitem__(self, tokens: slice) -> PromptScores:
        """The same of some of the tokens."""
        return PromptScores(
            self.logprob[tokens],
            None if self.max_logprob is None else self.max_logprob[tokens],
            None if self.rank is None else self.rank[tokens],
        )


class TraceCollector:
    """Cuts pairs into prompts, and takes the scores of prompts, in any order, until every trace is whole.

    Args:
        pairs: tokenised (context, trace) pairs.
        labels: what to call each pair in an error.
        max_prompt: longest prompt in tokens, at least 2. The last of them is scored too.
        vocab_size: see ``TokenScores``.
        done: called with the indices of the pairs that a batch completed and their scores.

    Attributes:
        windows: what to score, in the order of the pairs.
    """

    def __init__(
        self, pairs: Sequence[TokenizedPair], labels: Sequence[str], *, max_prompt: int, vocab_size: int, done: Done
    ) -> None:
        if max_prompt < 2:
            raise PromptScoresError(
                f"the model's window leaves room for {max_prompt} tokens; set max_length in --model_args"
            )
        self._pairs, self._labels, self._vocab_size, self._done = pairs, labels, vocab_size, done
        self._plans = [plan_windows(i, pair.ids.size, pair.first, max_prompt - 1) for i, pair in enumerate(pairs)]
        self._parts: dict[int, list[tuple[Window, PromptScores]]] = {}
        self._scores: dict[int, TokenScores] = {}
        self.windows = [window for plan in self._plans for window in plan]
        report_cuts(self._plans, max_prompt - 1)

    def prompt(self, window: Window) -> list[int]:
        """Token ids to be scored."""
        ids: list[int] = self._pairs[window.pair].ids[window.start : window.stop].tolist()
        return ids

    def label(self, window: Window) -> str:
        """What to call the trace in an error."""
        return self._labels[window.pair]

    def add(self, batch: Iterable[tuple[Window, PromptScores]]) -> None:
        """Take the scores of prompts; hand on those of the traces that they complete.

        Raises:
            PromptScoresError: a token of a trace has no log-probability, or one that is not finite.
        """
        finished = []
        for window, prompt in batch:
            part = prompt[window.first - window.start : window.stop - window.start]
            self._require_finite(window, part)
            parts = self._parts.setdefault(window.pair, [])
            parts.append((window, part))
            if len(parts) == len(self._plans[window.pair]):
                self._scores[window.pair] = self._assemble(window.pair, self._parts.pop(window.pair))
                finished.append(window.pair)
        if finished:
            self._done(finished, [self._scores[pair] for pair in finished])

    def scores(self) -> list[TokenScores]:
        """Scores of all pairs, in their order, once every window was added."""
        return [self._scores[pair] for pair in range(len(self._pairs))]

    def _require_finite(self, window: Window, part: PromptScores) -> None:
        bad = ~np.isfinite(part.logprob) | (part.logprob <= _RULED_OUT)
        if part.max_logprob is not None:
            bad |= ~np.isfinite(part.max_logprob)
        if not bad.any():
            return
        at = int(np.argmax(bad))
        where = f"token {window.first - self._pairs[window.pair].first + at} of trace {self.label(window)}"
        if part.logprob[at] <= _RULED_OUT:
            raise PromptScoresError(f"the model gives {where} probability zero; its NLL is infinite")
        raise PromptScoresError(
            f"the log-probability of {where} is not a number; check the checkpoint, or load it with dtype=float32 if "
            "it was run in float16"
        )

    def _assemble(self, index: int, parts: list[tuple[Window, PromptScores]]) -> TokenScores:
        pair, plan = self._pairs[index], self._plans[index]
        ordered = [part for _, part in sorted(parts, key=lambda one: one[0].first)]
        rank, max_logprob = _joined([part.rank for part in ordered]), _joined([part.max_logprob for part in ordered])
        return TokenScores(
            token_id=pair.ids[pair.first :].astype(np.int32),
            token_start=pair.token_start,
            token_end=pair.token_end,
            logprob=np.concatenate([part.logprob for part in ordered]).astype(np.float32),
            rank=None if rank is None else rank.astype(np.int32),
            entropy=None,
            max_logprob=None if max_logprob is None else max_logprob.astype(np.float32),
            vocab_size=self._vocab_size,
            context_tokens_cut=plan[0].start,
            windows=len(plan),
        )


def _joined(parts: Sequence[npt.NDArray[_Number] | None]) -> npt.NDArray[_Number] | None:
    """The parts in a row; None where one is missing."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None
