"""The metrics of one trace, from its token scores and the frontier model's confidences or spans."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from rbridge_metrics import (
    RBridgeError,
    TokenScores,
    TraceMoments,
    character_confidence,
    minmax_weights,
    rbridge_nll,
    span_weights,
    token_confidence,
    trace_nll,
    weighted_nats,
)
from rbridge_traces import Trace

_OPTION = """--metadata '{"rbridge_weights": "%s"}'"""


class MissingWeightsError(RBridgeError):
    """The traces lack what the chosen weighting needs."""


def needs_of(weighting: str) -> Literal["confidence", "spans"] | None:
    """What traces need for a weighting, a key of ``task_options.WEIGHTINGS``."""
    return "confidence" if weighting.startswith("confidence") else "spans" if weighting == "spans" else None


def require_weights(traces: list[Trace], weighting: str, where: str) -> None:
    """Check before any model runs that every trace has what the weighting needs.

    Raises:
        MissingWeightsError: names the first trace without confidences or spans, and the remedy.
    """
    needs = needs_of(weighting)
    if needs == "confidence":
        lacking = [trace for trace in traces if not trace.has_confidence]
        partly = sum(trace.token_end is not None for trace in lacking)
        what = "token confidences"
        what += f" ({partly} of them too few: less than half of the characters have a known one)" if partly else ""
        remedy = f'give them some with "rbridge traces score --benchmark {traces[0].benchmark} --model CKPT"'
        if all(trace.spans for trace in traces):
            remedy += f", weight their marked key steps instead with {_OPTION % 'spans'}"
    elif needs == "spans":
        lacking = [trace for trace in traces if not trace.spans]
        what = "spans"
        remedy = 'get some with "rbridge traces pull --spans", import traces with <span> marks (--map spans=inline)'
    else:
        return
    if lacking:
        raise MissingWeightsError(
            f"{len(lacking)} of {len(traces)} traces in {where} have no {what} (first: {lacking[0].name}) and "
            f"rbridge_nll needs them; {remedy}, or report trace_nll alone with {_OPTION % 'none'}"
        )


def item_metrics(scores: TokenScores, trace: Trace, weighting: str, *, spans: bool) -> dict[str, Any]:
    """Metrics of one trace; lower is better in all.

    Sets ``scores.confidence``, so that a samples file contains what every weighting needs.

    Args:
        scores: per-token arrays of the trace under the proxy model.
        trace: the trace, with what the weighting needs (see ``require_weights``).
        weighting: a key of ``task_options.WEIGHTINGS``.
        spans: whether every trace of the task has marked spans, so that no mean covers a part of them.

    Returns:
        ``rbridge_nll`` and ``trace_nll`` in nats per token, ``rbridge_bits_per_byte`` and ``trace_bits_per_byte`` as
        (nats, bytes) to be divided over the corpus, and where there are spans ``rbridge_span_nll``: the NLL of the
        tokens in them, over all tokens. With ``confidence_test_set`` the weighted two are ``TraceMoments``, because
        their MinMax is known only when every trace is scored.
    """
    nll = scores.nll
    n_bytes = len(trace.trace.encode())
    plain = {"trace_nll": trace_nll(nll), "trace_bits_per_byte": (float(nll.sum()), n_bytes)}
    if trace.has_confidence:  # NaN, an unknown log-probability, is interpolated by character_confidence
        characters = character_confidence(trace.token_end, trace.token_logprob)  # type: ignore[arg-type]  # neither is None
        confidence = token_confidence(characters, scores.token_start, scores.token_end)
        scores.confidence = confidence.astype(np.float32)
    if spans:
        marked = span_weights(scores.token_start, scores.token_end, trace.spans or ())
        plain["rbridge_span_nll"] = rbridge_nll(nll, marked)
    if weighting == "none":
        return plain
    if weighting == "confidence_test_set":
        moments = TraceMoments.of(nll, confidence, n_bytes)
        return {"rbridge_nll": moments, "rbridge_bits_per_byte": moments, **plain}
    weights = marked if weighting == "spans" else minmax_weights(confidence)
    return {
        "rbridge_nll": rbridge_nll(nll, weights),
        "rbridge_bits_per_byte": (weighted_nats(nll, weights), n_bytes),
        **plain,
    }
