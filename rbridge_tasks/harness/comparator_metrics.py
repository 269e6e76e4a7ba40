"""The comparators' metrics of the catalogue, registered with lm-eval.

Every one is a mean over items, with lm-eval's standard error of a mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rbridge_tasks.harness.metrics import registered
from rbridge_tasks.tables.catalogue import METRICS as CATALOGUE


def metric_list(names: Iterable[str]) -> list[dict[str, Any]]:
    """What a task's YAML file would say of metrics.

    >>> metric_list(["ted"])
    [{'metric': 'ted', 'aggregation': 'mean', 'higher_is_better': False}]
    """
    metrics = [CATALOGUE[name] for name in names]
    return [
        {"metric": metric.name, "aggregation": metric.aggregation, "higher_is_better": not metric.lower_is_better}
        for metric in metrics
    ]


_KINDS = ("cloze", "answer", "generation")
METRICS = {name: registered(name) for name, metric in CATALOGUE.items() if metric.kind in _KINDS}


def __getattr__(name: str) -> Any:
    """A metric by its name, as entry points ask for it."""
    key = name.replace("pass_at_", "pass@")
    if key not in METRICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return METRICS[key]
