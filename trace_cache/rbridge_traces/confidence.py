"""Attach token confidences to traces, and average them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import frontier_tokens
from rbridge_metrics.errors import AlignmentError
from rbridge_traces.errors import TraceError
from rbridge_traces.schema import Trace
from rbridge_traces.unknown_logprobs import known_logprobs


def with_confidence(trace: Trace, token_byte_end: npt.ArrayLike, token_logprob: npt.ArrayLike) -> Trace:
    """Replace the token confidences of a trace by those of a model.

    A character whose UTF-8 bytes are spread over several tokens gets the mean over its bytes, as an entry of its own.

    Args:
        trace: the text that the model scored or wrote.
        token_byte_end: shape (tokens,), non-decreasing end offset of each token in UTF-8 bytes; the last is the number
            of bytes of the trace.
        token_logprob: shape (tokens,), log-probability of each token in nats; what ``known_logprobs`` does not know
            is stored as unknown.

    Raises:
        TraceError: the tokens do not tile the trace, or most log-probabilities are above 0; names the trace.

    >>> trace = Trace("gsm8k", "17", question="?", trace="aé")
    >>> scored = with_confidence(trace, [2, 3], np.log([0.5, 0.1]))  # the second token holds half of é
    >>> scored.token_end, np.exp(scored.token_logprob).round(3)
    (array([1, 2], dtype=int32), array([0.5, 0.3], dtype=float32))
    """
    try:
        ends, logprobs = frontier_tokens(trace.trace, token_byte_end, known_logprobs(token_logprob))
    except (AlignmentError, TraceError) as error:
        raise TraceError(f"trace {trace.name}: {error}") from error
    return dataclasses.replace(trace, token_end=ends, token_logprob=logprobs)


def mean_confidence(traces: Iterable[Trace]) -> float | None:
    """Mean confidence over all tokens whose log-probability is known; None without any."""
    logprobs = [trace.token_logprob for trace in traces if trace.token_logprob is not None]
    known = np.concatenate(logprobs)[~np.isnan(np.concatenate(logprobs))] if logprobs else np.empty(0)
    return float(np.exp(known).mean()) if known.size else None
