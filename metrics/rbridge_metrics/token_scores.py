"""Per-token scores of a trace from one forward pass; every metric is computed from them."""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import ScoreError

_DTYPES: dict[str, type[np.int32] | type[np.float32]] = {
    "token_id": np.int32, "token_start": np.int32, "token_end": np.int32, "logprob": np.float32, "rank": np.int32,
    "entropy": np.float32, "max_logprob": np.float32, "confidence": np.float32,
}  # fmt: skip
_OPTIONAL = ("rank", "entropy", "max_logprob", "confidence")
_COUNTS = ("vocab_size", "context_tokens_cut", "windows")


@dataclass(eq=False, slots=True)
class TokenScores:
    """Scores of the proxy tokens of one trace, each array of shape (tokens,).

    Attributes:
        token_id: id in the proxy's vocabulary.
        token_start, token_end: characters (code points) of the trace that the token covers, ``[start, end)``. Empty for
            a token before the first character, such as a space that is a token of its own.
        logprob: natural log of the probability of the token given all text before it.
        rank: 1 for the most probable token; 1 + tokens with a larger logit + tokens with an equal logit and lower id.
            None where the back end cannot give it; docs/backends.md says which back end counts ties in another way.
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
    rank: npt.NDArray[np.int32] | None
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
        """One line of JSON; floats are written with the fewest digits that give the same float32 back.

        Those that are not finite are written as Python's ``json`` writes them: ``-Infinity``, ``NaN``.
        """
        parts: dict[str, str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, np.ndarray):
                # str() of a NumPy float32 is its shortest exact form; json would print the float64 it widens to.
                text = value.astype(np.float32).astype(str) if _DTYPES[field.name] is np.float32 else value.astype(str)
                joined = ",".join(text.tolist()).replace("inf", "Infinity").replace("nan", "NaN")
                parts[field.name] = f"[{joined}]"
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
            values: dict[str, Any] = {}
            for name, dtype in _DTYPES.items():
                lacking = name in _OPTIONAL and raw.get(name) is None
                values[name] = None if lacking else _column(raw[name], dtype)
            sizes = {name: column.size for name, column in values.items() if column is not None}
            if len(set(sizes.values())) > 1:
                raise ValueError(f"lengths {sizes}, not one number per token")  # noqa: TRY301  # as any malformed line
            values |= {name: operator.index(raw[name]) for name in _COUNTS}
            return cls(**values)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ScoreError(
                f"not the token scores of a trace ({type(error).__name__}: {reason[:200]} in {text[:40]!r}...); "
                "expected a response of an rbridge task, as lm_eval --log_samples writes it"
            ) from error

    __str__ = to_json


def _column(values: object, dtype: type[np.int32] | type[np.float32]) -> npt.NDArray[Any]:
    """Numbers of a JSON array. One that ``dtype`` cannot hold is refused; a float32 is the nearest to its digits."""
    column = np.asarray(values)
    if column.ndim != 1:
        raise TypeError(f"shape {column.shape} where (tokens,) is needed")
    if column.dtype.kind not in "iuf":
        raise TypeError(f"{column.dtype} where numbers are needed")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = column.astype(dtype)
    lost = cast != column if dtype is np.int32 else np.isinf(cast) & np.isfinite(column)
    if lost.any():
        raise ValueError(f"{column[lost][0]} does not fit {np.dtype(dtype)}")
    return cast
