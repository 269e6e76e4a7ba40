"""Our metrics, their aggregations and standard errors, under names that lm-eval finds.

They are registered when this module is imported, which is also what lm-eval's entry points ask for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import lm_eval.api.metrics  # noqa: F401  # registers "mean"
from lm_eval.api.registry import register_aggregation, register_metric

from rbridge_tasks.harness.requests import OUTPUT_TYPE
from rbridge_tasks.scoring.aggregation import AGGREGATIONS


def _registered(name: str) -> Callable[..., float]:
    """Register an aggregation under its name, and its standard error."""
    aggregation = AGGREGATIONS[name]
    _STDERRS[aggregation.value] = aggregation.stderr
    function: Callable[..., float] = register_aggregation(name)(aggregation.value)
    return function


_STDERRS: dict[Callable[..., float], Callable[..., float]] = {}
corpus_bits_per_byte = _registered("corpus_bits_per_byte")
test_set_rbridge_nll = _registered("test_set_rbridge_nll")
test_set_rbridge_bits_per_byte = _registered("test_set_rbridge_bits_per_byte")


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
