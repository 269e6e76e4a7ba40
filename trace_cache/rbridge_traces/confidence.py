"""Give a trace the confidences of a model whose tokens are known by their bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import frontier_tokens
from rbridge_metrics.errors import AlignmentError
from rbridge_traces.errors import TraceError
from rbridge_traces.schema import Trace

_IMPOSSIBLE_NATS = -9999.0
"""Stored for a probability of 0, whose logarithm is not finite. API servers write the same number."""


def with_confidence(trace: Trace, token_byte_end: npt.ArrayLike, token_logprob: npt.ArrayLike) -> Trace:
    """Give a trace the token confidences of a model, which replace any it has.

    A letter whose UTF-8 bytes are spread over several tokens gets the mean over its bytes, as an entry of its own.

    Args:
        trace: the text that the model scored or wrote.
        token_byte_end: shape (tokens,), non-decreasing end offset of each token in UTF-8 bytes; the last is the number
            of bytes of the trace.
        token_logprob: shape (tokens,), log-probability of each token in nats; minus infinity is allowed.

    Raises:
        TraceError: the tokens do not tile the trace, or a log-probability is NaN or above 0; names the trace.

    >>> trace = Trace("gsm8k", "17", question="?", trace="aé")
    >>> scored = with_confidence(trace, [2, 3], np.log([0.5, 0.1]))  # the second token holds half of é
    >>> scored.token_end, np.exp(scored.token_logprob).round(3)
    (array([1, 2], dtype=int32), array([0.5, 0.3], dtype=float32))
    """
    try:
        ends, logprobs = frontier_tokens(trace.trace, token_byte_end, token_logprob)
    except AlignmentError as error:
        raise TraceError(f"trace {trace.name}: {error}") from error
    return dataclasses.replace(trace, token_end=ends, token_logprob=stored_logprob(logprobs))


def stored_logprob(logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Log-probabilities as a cache stores them, shape (tokens,), nats: those of a probability of 0 are finite."""
    return np.maximum(logprobs, np.float32(_IMPOSSIBLE_NATS))
