"""Assemble the scores of traces from the scores of windows, whichever order the windows are scored in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.windows import Window, plan_windows, report_cuts

#: Called after each batch with the indices of the pairs that it completed and their scores, each pair once.
Done = Callable[[Sequence[int], Sequence[TokenScores]], None]

#: What an API writes for a token of probability zero: JSON has no infinity.
_PROBABILITY_ZERO = -9999.0
#: By how much rounding may raise a log-probability above 0, in nats.
ROUNDING = 1e-2


class ScoringError(RBridgeError):
    """A trace cannot be scored: NaN, probability zero, or no memory for even one trace."""


def ignore_finished(_pairs: Sequence[int], _scores: Sequence[TokenScores]) -> None:
    """The default ``Done``."""


@dataclass(frozen=True)
class LogProbabilities:
    """Statistics of consecutive tokens, arrays of shape (tokens,). None where the source does not give one.

    Attributes:
        logprob: natural log of the probability given all tokens before it. NaN where the source gives none, as for the
            first token of a prompt.
        max_logprob: the same of the most probable token at that place.
        rank: 1 is the most probable token.
        entropy: in nats.
    """

    logprob: npt.NDArray[np.float64]
    max_logprob: npt.NDArray[Any] | None = None
    rank: npt.NDArray[Any] | None = None
    entropy: npt.NDArray[Any] | None = None

    def __getitem__(self, tokens: slice) -> LogProbabilities:
        """The statistics of some of the tokens."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: column[tokens] for name, column in columns.items() if column is not None})


class TraceCollector:
    """Divides pairs into windows and collects the scores of windows until every trace is complete.

    Args:
        pairs: tokenised (context, trace) pairs.
        labels: names of the pairs, for errors.
        max_length: longest input of the model in tokens, at least 1.
        vocab_size: see ``TokenScores``.
        done: called with each batch of completed pairs.
        known: scores of pairs from an earlier run, by index; ``done`` is not called for them.

    Attributes:
        windows: what to score, in the order of the pairs.
        vocab_size: may be set until the first window is added.
    """

    def __init__(
        self,
        pairs: Sequence[TokenizedPair],
        labels: Sequence[str],
        *,
        max_length: int,
        vocab_size: int = 0,
        done: Done = ignore_finished,
        known: Mapping[int, TokenScores] | None = None,
    ) -> None:
        if max_length < 1:
            raise ScoringError(
                f"the model's window leaves room for {max_length + 1} tokens; set max_length in --model_args"
            )
        self.vocab_size = vocab_size
        self._pairs, self._labels, self._done = pairs, labels, done
        self._plans = [plan_windows(i, pair.ids.size, pair.first, max_length) for i, pair in enumerate(pairs)]
        self._parts: dict[int, list[tuple[Window, LogProbabilities]]] = {}
        self._scores = dict(known or {})
        self.windows = [window for plan in self._plans for window in plan]
        report_cuts(self._plans, max_length)

    def require_ids_below(self, size: int, *, scored: bool = False) -> None:
        """Check that a model knows all token ids, or all scored ones.

        Raises:
            ScoringError: names the first trace with another id.
        """
        for pair, label in zip(self._pairs, self._labels, strict=True):
            largest = int(pair.ids[pair.first if scored else 0 :].max())
            if largest >= size:
                raise ScoringError(
                    f"the tokenizer makes token {largest} of trace {label}, and the model knows {size} tokens, from 0 "
                    f"to {size - 1}; give the model's own tokenizer"
                )

    def is_known(self, window: Window) -> bool:
        """Whether the window's pair is complete."""
        return window.pair in self._scores

    def ids(self, window: Window) -> npt.NDArray[np.int64]:
        """Token ids of the window, the last one included."""
        return self._pairs[window.pair].ids[window.start : window.stop]

    def label(self, window: Window) -> str:
        """The name of the window's trace."""
        return self._labels[window.pair]

    def add(self, batch: Iterable[tuple[Window, LogProbabilities]]) -> None:
        """Take statistics of the scored tokens of windows; report the traces that they complete.

        Raises:
            ScoringError: a token has no finite log-probability, or one above 0.
        """
        finished = []
        for window, part in batch:
            self._require_logprobs(window, part)
            parts = self._parts.setdefault(window.pair, [])
            parts.append((window, part))
            if len(parts) == len(self._plans[window.pair]):
                parts = self._parts.pop(window.pair)
                if not self.is_known(window):
                    self._scores[window.pair] = self._assemble(window.pair, parts)
                    finished.append(window.pair)
        if finished:
            self._done(finished, [self._scores[pair] for pair in finished])

    def add_prompts(self, batch: Iterable[tuple[Window, LogProbabilities]]) -> None:
        """``add`` from statistics of all tokens of windows, context included."""
        self.add((window, all_[window.first - window.start : window.stop - window.start]) for window, all_ in batch)

    def scores(self) -> list[TokenScores]:
        """Scores of all pairs, in their order, once every window is added."""
        return [self._scores[pair] for pair in range(len(self._pairs))]

    def _require_logprobs(self, window: Window, part: LogProbabilities) -> None:
        bad = ~np.isfinite(part.logprob) | (part.logprob <= _PROBABILITY_ZERO) | (part.logprob > ROUNDING)
        for column in (part.max_logprob, part.entropy):
            bad |= False if column is None else ~np.isfinite(column)
        if not bad.any():
            return
        at = int(np.argmax(bad))
        token = f"token {window.first - self._pairs[window.pair].first + at}"
        if part.logprob[at] <= _PROBABILITY_ZERO:
            raise ScoringError(
                f"the model gives {token} of trace {self.label(window)} probability zero; its NLL is infinite"
            )
        if ROUNDING < part.logprob[at] < np.inf:
            raise ScoringError(
                f"the model gives {token} of trace {self.label(window)} the log-probability {part.logprob[at]:.4g}, "
                "which is above 0: these are no log-probabilities of a language model"
            )
        raise ScoringError(
            f"the model's logits are NaN for trace {self.label(window)}, {token}; check the checkpoint, or load it "
            "with dtype=float32 if it was run in float16"
        )

    def _assemble(self, index: int, parts: list[tuple[Window, LogProbabilities]]) -> TokenScores:
        pair, plan = self._pairs[index], self._plans[index]
        ordered = [part for _, part in sorted(parts, key=lambda part: part[0].first)]
        return TokenScores(
            token_id=pair.ids[pair.first :].astype(np.int32),
            token_start=pair.token_start,
            token_end=pair.token_end,
            logprob=np.concatenate([part.logprob for part in ordered]).astype(np.float32),
            rank=_joined([part.rank for part in ordered], np.int32),
            entropy=_joined([part.entropy for part in ordered], np.float32),
            max_logprob=_joined([part.max_logprob for part in ordered], np.float32),
            vocab_size=self.vocab_size,
            context_tokens_cut=plan[0].start,
            windows=len(plan),
        )


def _joined(parts: Sequence[npt.NDArray[Any] | None], dtype: Any) -> npt.NDArray[Any] | None:
    """The parts one after the other; None if a part is missing."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present).astype(dtype) if len(present) == len(parts) else None
