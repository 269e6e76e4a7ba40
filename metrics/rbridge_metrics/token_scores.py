"""What one forward pass says about one trace: the per-token arrays that every metric is computed from."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import ScoreError

_INTEGERS = ("token_id", "token_start", "token_end", "rank")
_FLOATS = ("logprob", "entropy", "max_logprob", "confidence")


@dataclass(eq=False, slots=True)
class TokenScores:
    """Scores of the proxy tokens of one trace, each array of shape (tokens,).

    Attributes:
        token_id: id in the proxy's vocabulary.
        token_start, token_end: letters (code points) of the trace that the token covers, ``[start, end)``. Empty for
            a token before the first letter, such as a space that is a token of its own.
        logprob: natural log of the probability of the token given all text before it.
        rank: 1 for the most probable token; 1 + tokens with a larger logit + tokens with an equal logit and lower id.
        entropy: of the predicted distribution, in nats. None where the back end cannot give it.
        max_logprob: log-probability of the most probable token. None where the back end cannot give it.
        vocab_size: number of logits, the V in an entropy normalised by ln V.
        context_tokens_cut: tokens cut from the left of the context because the model's window was too short.
        windows: forward passes the trace was spread over; more than 1 if it is longer than the model's window.
        confidence: frontier confidence of each token, see ``token_confidence``; None until a task has aligned it.
    """

    token_id: npt.NDArray[np.int32]
    token_start: npt.NDArray[np.int32]
    token_end: npt.NDArray[np.int32]
    logprob: npt.NDArray[np.float32]
    rank: npt.NDArray[np.int32]
    entropy: npt.NDArray[np.float32] | None
    max_logprob: npt.NDArray[np.float32] | None
    vocab_size: int
    context_tokens_cut: int = 0
    windows: int = 1
    confidence: npt.NDArray[np.float32] | None = None

    @property
    def nll(self) -> npt.NDArray[np.float64]:
        """Negative log-likelihood of each token in nats, shape (tokens,)."""
        return -self.logprob.astype(np.float64)

    def to_json(self) -> str:
        """One line of JSON; floats are written with the fewest digits that give the same float32 back."""
        parts: dict[str, str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, np.ndarray):
                # str() of a NumPy float32 is its shortest exact form; json would print the float64 it widens to.
                text = value.astype(np.float32).astype(str) if field.name in _FLOATS else value.astype(str)
                parts[field.name] = "[" + ",".join(text.tolist()) + "]"
            else:
                parts[field.name] = str(value)
        return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"

    @classmethod
    def from_json(cls, text: str) -> TokenScores:
        """Read what ``to_json`` wrote, for example the ``resps`` of an lm-eval samples file.

        Raises:
            ScoreError: not such a line.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            values = {name: np.asarray(raw[name], dtype=np.int32) for name in _INTEGERS}
            floats = {name: np.asarray(raw[name], dtype=np.float32) if name in raw else None for name in _FLOATS}
            return cls(
                **values,
                **floats,  # type: ignore[arg-type]  # logprob is always written
                vocab_size=int(raw["vocab_size"]),
                context_tokens_cut=int(raw["context_tokens_cut"]),
                windows=int(raw["windows"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ScoreError(
                f"not the token scores of a trace ({error!r} in {text[:40]!r}...); "
                "expected a response of an rbridge task, as lm_eval --log_samples writes it"
            ) from error

    __str__ = to_json
