"""The arithmetic of rBridge: arrays in, arrays out. No torch, no lm-eval, no files."""

from rbridge_metrics.alignment import (
    frontier_tokens,
    letter_confidence,
    span_overlap,
    token_confidence,
)
from rbridge_metrics.errors import AlignmentError, RBridgeError, ScoreError
from rbridge_metrics.scores import (
    TraceMoments,
    bits_per_byte,
    bits_per_byte_stderr,
    rbridge_nll,
    trace_nll,
    weighted_nats,
    weighted_nats_over_test_set,
)
from rbridge_metrics.token_scores import TokenScores
from rbridge_metrics.weights import minmax_weights, minmax_weights_over_test_set, span_weights

__all__ = [
    "AlignmentError",
    "RBridgeError",
    "ScoreError",
    "TokenScores",
    "TraceMoments",
    "bits_per_byte",
    "bits_per_byte_stderr",
    "frontier_tokens",
    "letter_confidence",
    "minmax_weights",
    "minmax_weights_over_test_set",
    "rbridge_nll",
    "span_overlap",
    "span_weights",
    "token_confidence",
    "trace_nll",
    "weighted_nats",
    "weighted_nats_over_test_set",
]
