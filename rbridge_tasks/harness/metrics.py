"""Our metrics, their aggregations and standard errors, under names that lm-eval finds.

They are registered when this module is imported, which is also what lm-eval's entry points ask for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import lm_eval.api.metrics  # noqa: F401  # registers "mean"
from lm_eval.api.registry import register_aggregation, register_metric

from rbridge_metrics import TraceMoments, bits_per_byte, bits_per_byte_stderr, weighted_nats_over_test_set
from rbridge_tasks.harness.requests import OUTPUT_TYPE


@register_aggregation("corpus_bits_per_byte")
def corpus_bits_per_byte(items: Sequence[tuple[float, int]]) -> float:
    """Bits per byte of all traces together, from (nats, bytes) of each."""
    nats, n_bytes = zip(*items, strict=True)
    return bits_per_byte(nats, n_bytes)


def _corpus_bits_per_byte_stderr(items: Sequence[tuple[float, int]]) -> float:
    nats, n_bytes = zip(*items, strict=True)
    return bits_per_byte_stderr(nats, n_bytes)


def _test_set_items(items: Sequence[TraceMoments]) -> list[tuple[float, int, int]]:
    weighted = weighted_nats_over_test_set(items)
    return [(float(nats), item.tokens, item.n_bytes) for nats, item in zip(weighted, items, strict=True)]


@register_aggregation("test_set_rbridge_nll")
def test_set_rbridge_nll(items: Sequence[TraceMoments]) -> float:
    """Mean over traces of the rBridge NLL, weights normalised over all of them."""
    scores = [nats / tokens for nats, tokens, _ in _test_set_items(items)]
    return math.fsum(scores) / len(scores)


def _test_set_rbridge_nll_stderr(items: Sequence[TraceMoments]) -> float:
    from lm_eval.api.metrics import mean_stderr

    return float(mean_stderr([nats / tokens for nats, tokens, _ in _test_set_items(items)]))


@register_aggregation("test_set_rbridge_bits_per_byte")
def test_set_rbridge_bits_per_byte(items: Sequence[TraceMoments]) -> float:
    """rBridge bits per byte of all traces together, weights normalised over all of them."""
    return corpus_bits_per_byte([(nats, n_bytes) for nats, _, n_bytes in _test_set_items(items)])


def _test_set_rbridge_bits_per_byte_stderr(items: Sequence[TraceMoments]) -> float:
    return _corpus_bits_per_byte_stderr([(nats, n_bytes) for nats, _, n_bytes in _test_set_items(items)])


_STDERRS: dict[Callable[..., float], Callable[..., float]] = {
    corpus_bits_per_byte: _corpus_bits_per_byte_stderr,
    test_set_rbridge_nll: _test_set_rbridge_nll_stderr,
    test_set_rbridge_bits_per_byte: _test_set_rbridge_bits_per_byte_stderr,
}


@register_metric(metric="rbridge_nll", higher_is_better=False, output_type=OUTPUT_TYPE, aggregation="mean")
def rbridge_nll(items: Any) -> Any:
    """Weighted NLL of a trace. ``TraceTask`` computes it; lm-eval wants a function under the name."""
    return items


@register_metric(metric="trace_nll", higher_is_better=False, output_type=OUTPUT_TYPE, aggregation="mean")
def trace_nll(items: Any) -> Any:
    """Plain NLL of a trace, in nats per token; computed by ``TraceTask``."""
    return items


@register_metric(metric="rbridge_span_nll", higher_is_better=False, output_type=OUTPUT_TYPE, aggregation="mean")
def rbridge_span_nll(items: Any) -> Any:
    """NLL of the tokens in marked spans, over all tokens of the trace; computed by ``TraceTask``."""
    return items


@register_metric(
    metric="rbridge_bits_per_byte",
    higher_is_better=False,
    output_type=OUTPUT_TYPE,
    aggregation="corpus_bits_per_byte",
)
def rbridge_bits_per_byte(items: Any) -> Any:
    """(weighted nats, bytes) of a trace; computed by ``TraceTask``."""
    return items


@register_metric(
    metric="trace_bits_per_byte", higher_is_better=False, output_type=OUTPUT_TYPE, aggregation="corpus_bits_per_byte"
)
def trace_bits_per_byte(items: Any) -> Any:
    """(nats, bytes) of a trace; computed by ``TraceTask``."""
    return items


def with_stderr(stderr: Callable[..., float]) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Give an aggregation its standard error: a function of the same items."""

    def register(aggregation: Callable[..., float]) -> Callable[..., float]:
        _STDERRS[aggregation] = stderr
        return aggregation

    return register


def with_closed_form_stderrs(original: Callable[..., Any]) -> Callable[..., Any]:
    """``stderr_for_metric`` that knows the standard errors of our aggregations; for others it asks lm-eval's own."""

    @functools.wraps(original)
    def stderr_for_metric(metric: Callable[..., float], bootstrap_iters: int) -> Any:
        closed_form = _STDERRS.get(metric)
        return closed_form if closed_form is not None and bootstrap_iters > 0 else original(metric, bootstrap_iters)

    return stderr_for_metric
