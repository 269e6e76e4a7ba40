"""Read the echoed log-probabilities of a prompt from a completions response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_tasks.backends.prompts.probes import RefusedSourceError
from rbridge_tasks.scoring.collector import LogProbabilities


@dataclass
class EchoReader:
    """Reads the responses of one server.

    Attributes:
        server: its name, for errors.
        text: prompts are sent as text: the server tokenises them and may add a first token.
        excess: length of its lists minus the number of prompt tokens and reported generated tokens: 1 where it lists a
            first token that it added, -1 where it does not list the generated token. Set by the first response; another
            value in a later response means that tokens were lost.
    """

    server: str
    text: bool
    excess: int | None = None

    def read(
        self, choice: dict[str, Any], ids: Sequence[int], *, unsent: int, generated: int | None, label: str
    ) -> LogProbabilities:
        """Log-probability of every token of a prompt.

        Args:
            choice: one of a response's ``choices``.
            ids: the prompt, tokenised here.
            unsent: number of first ids that are left to the server to add: a token that begins every text.
            generated: number of tokens that the response adds to the prompt; None if unknown, then none or one.
            label: the prompt's name, for errors.

        Returns:
            NaN where the server gives none: for the first token, and for tokens that were not sent. Ranks where the
            response has vLLM's ``prompt_logprobs``.

        Raises:
            RefusedSourceError: no log-probabilities, or of another number of tokens than were sent.
        """
        answer = choice.get("logprobs")
        logprobs = answer if isinstance(answer, dict) else {}
        values = logprobs.get("token_logprobs")
        if not isinstance(values, list) or not any(map(_is_number, values)):
            raise RefusedSourceError(f"{self.server} returns no log-probabilities; a trace cannot be scored without")
        sent = len(ids) - unsent
        start = max(0, self._excess(len(values), sent, generated, label))
        missing = [at for at, value in enumerate(values[: start + sent]) if not _is_number(value)]
        if any(missing):
            raise RefusedSourceError(f"{self.server} returns no log-probability for token {missing[-1]} of {label}")
        logprob = _column(values[start : start + sent], unsent)
        return LogProbabilities(
            logprob,
            _highest(logprobs.get("top_logprobs"), logprob, start, unsent),
            _ranks(choice.get("prompt_logprobs"), ids[unsent:], start, unsent),
        )

    def _excess(self, entries: int, sent: int, generated: int | None, label: str) -> int:
        """Check the number of entries against the possible layouts and those of earlier responses."""
        ways = {entries - sent - count for count in ((0, 1) if generated is None else (generated,))}
        if self.excess is None:
            ways &= {-1, 0, 1} if self.text else {-1, 0}
        else:
            ways &= {self.excess}
        if entries < sent or not ways:
            raise RefusedSourceError(self._wrong_count(entries, sent, generated or 0, label))
        self.excess = max(ways)
        return self.excess

    def _wrong_count(self, entries: int, sent: int, generated: int, label: str) -> str:
        if entries <= 1 < sent:
            return (
                f"{self.server} returns {entries} log-probability for a prompt of {sent} tokens: it ignores echo=true"
            )
        if self.text:
            return (
                f"{self.server} makes {entries - generated - (self.excess or 0)} tokens of {label}, the tokenizer here "
                f"{sent}; give the served model's own tokenizer (tokenizer=NAME in --model_args), or use a server that "
                "takes token ids"
            )
        return (
            f"{self.server} returns {entries} log-probabilities for {label} of {sent} tokens: it drops or adds some, "
            "or tokenises the prompt anew; use a server that scores token ids as they are"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _column(values: Sequence[float | None], unsent: int) -> npt.NDArray[np.float64]:
    return np.array([np.nan] * unsent + [value if _is_number(value) else np.nan for value in values], dtype=np.float64)


def _highest(entries: Any, logprob: npt.NDArray[np.float64], start: int, unsent: int) -> npt.NDArray[np.float64] | None:
    """Log-probability of the most probable token; None if it is missing for a token that has a log-probability."""
    if not isinstance(entries, list) or len(entries) < start + logprob.size - unsent:
        return None
    tops = [
        max(filter(_is_number, entry.values()), default=None) if isinstance(entry, dict) else None
        for entry in entries[start:]
    ]
    highest = _column(tops[: logprob.size - unsent], unsent)
    if (np.isnan(highest) & ~np.isnan(logprob)).any():
        return None
    return np.fmax(highest, logprob)  # some servers list the token itself only under its own log-probability


def _ranks(entries: Any, ids: Sequence[int], start: int, unsent: int) -> npt.NDArray[np.int64] | None:
    """vLLM's rank of each token, which its server adds to the response."""
    if not isinstance(entries, list) or len(entries) != start + len(ids):
        return None
    ranks = [0] * unsent
    for token, entry in zip(ids, entries[start:], strict=True):
        answer = entry.get(str(token)) if isinstance(entry, dict) else None
        rank = answer.get("rank") if isinstance(answer, dict) else None
        if rank is None and entry is not None:
            return None
        ranks.append(int(rank or 0))
    return np.array(ranks, dtype=np.int64)
