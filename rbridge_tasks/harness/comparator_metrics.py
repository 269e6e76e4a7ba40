"""The comparators' metrics of the catalogue, registered with lm-eval.

Every one is a mean over items, with lm-eval's standard error of a mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lm_eval.api.metrics  # noqa: F401  # registers "mean"
from lm_eval.api.registry import register_metric

from rbridge_tasks.harness.requests import OUTPUT_TYPE
from rbridge_tasks.tables.catalogue import METRICS as CATALOGUE
from rbridge_tasks.tables.catalogue import MetricInfo

_OUTPUT_TYPES = {"cloze": "multiple_choice", "answer": OUTPUT_TYPE, "generation": "generate_until"}


def metric_list(names: Iterable[str]) -> list[dict[str, Any]]:
    """What a task's YAML file would say of metrics.

    >>> metric_list(["ted"])
    [{'metric': 'ted', 'aggregation': 'mean', 'higher_is_better': False}]
    """
    known = {name: CATALOGUE[name] for name in names}
    return [
        {"metric": name, "aggregation": metric.aggregation, "higher_is_better": not metric.lower_is_better}
        for name, metric in known.items()
    ]


def _registered(metric: MetricInfo) -> Any:
    @register_metric(
        metric=metric.name,
        higher_is_better=not metric.lower_is_better,
        output_type=_OUTPUT_TYPES[metric.kind],
        aggregation=metric.aggregation,
    )
    def value(items: Any) -> Any:
        """The task computes it; lm-eval wants a function under the name."""
        return items

    value.__name__ = value.__qualname__ = metric.name
    return value


METRICS = {name: _registered(metric) for name, metric in CATALOGUE.items() if metric.kind in _OUTPUT_TYPES}


def __getattr__(name: str) -> Any:
    """A metric by its name, as entry points ask for it."""
    key = name.replace("pass_at_", "pass@")
    if key not in METRICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return METRICS[key]
