"""The arithmetic of rBridge: arrays in, arrays out. No torch, no lm-eval, no files.

The names below are imported when they are first used: whoever only wants the error class does not wait for NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbridge_metrics.alignment import (
        frontier_tokens,
        letter_bytes,
        letter_confidence,
        letter_tokens,
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
    "letter_bytes",
    "letter_confidence",
    "letter_tokens",
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

_MODULES = {
    "alignment": (
        "frontier_tokens",
        "letter_bytes",
        "letter_confidence",
        "letter_tokens",
        "span_overlap",
        "token_confidence",
    ),
    "errors": (
        "AlignmentError",
        "RBridgeError",
        "ScoreError",
    ),
    "scores": (
        "TraceMoments",
        "bits_per_byte",
        "bits_per_byte_stderr",
        "rbridge_nll",
        "trace_nll",
        "weighted_nats",
        "weighted_nats_over_test_set",
    ),
    "token_scores": ("TokenScores",),
    "weights": (
        "minmax_weights",
        "minmax_weights_over_test_set",
        "span_weights",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
