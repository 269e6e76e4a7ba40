"""The metrics of traces, their aggregations and standard errors, under names that lm-eval finds.

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
from rbridge_tasks.tables.catalogue import METRICS

_STDERRS: dict[Callable[..., float], Callable[..., float]] = {}


def with_stderr(stderr: Callable[..., float]) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Give an aggregation its standard error: a function of the same items."""

    def register(aggregation: Callable[..., float]) -> Callable[..., float]:
        _STDERRS[aggregation] = stderr
        return aggregation

    return register


def _aggregation(name: str) -> Callable[..., float]:
    """Register an aggregation under its name, with its standard error."""
    known = AGGREGATIONS[name]
    function: Callable[..., float] = register_aggregation(name)(with_stderr(known.stderr)(known.value))
    return function


corpus_bits_per_byte = _aggregation("corpus_bits_per_byte")
test_set_rbridge_nll = _aggregation("test_set_rbridge_nll")
test_set_rbridge_bits_per_byte = _aggregation("test_set_rbridge_bits_per_byte")


def registered(name: str) -> Callable[[Any], Any]:
    """Register a metric of the catalogue. The task computes it; lm-eval wants a function under the name."""
    known = METRICS[name]

    def metric(items: Any) -> Any:
        return items

    metric.__name__ = metric.__qualname__ = name
    metric.__doc__ = f"The metric {name} of an item; computed by the task."
    function: Callable[[Any], Any] = register_metric(
        metric=name,
        higher_is_better=not known.lower_is_better,
        output_type=_OUTPUT_TYPES.get(known.kind, OUTPUT_TYPE),
        aggregation=known.aggregation,
    )(metric)
    return function


_OUTPUT_TYPES = {"cloze": "multiple_choice", "generation": "generate_until"}
rbridge_nll, trace_nll, rbridge_span_nll, rbridge_bits_per_byte, trace_bits_per_byte = map(
    registered, ("rbridge_nll", "trace_nll", "rbridge_span_nll", "rbridge_bits_per_byte", "trace_bits_per_byte")
)


def with_closed_form_stderrs(original: Callable[..., Any]) -> Callable[..., Any]:
    """``stderr_for_metric`` that knows the standard errors of our aggregations; for others it asks lm-eval's own."""

    @functools.wraps(original)
    def stderr_for_metric(metric: Callable[..., float], bootstrap_iters: int) -> Any:
        closed_form = _STDERRS.get(metric)
        return closed_form if closed_form is not None and bootstrap_iters > 0 else original(metric, bootstrap_iters)

    return stderr_for_metric
