"""The comparators' metrics under names that lm-eval finds, and which way each runs.

Every one is a mean over items, with lm-eval's standard error of a mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lm_eval.api.metrics  # noqa: F401  # registers "mean"
from lm_eval.api.registry import register_metric

from rbridge_metrics.cloze import CLOZE_METRICS
from rbridge_tasks.harness.requests import OUTPUT_TYPE

#: Name and output type of lm-eval's own ``exact_match`` are as they are; these are ours.
_LOWER = {"gold_nll": OUTPUT_TYPE, "scb_nll": OUTPUT_TYPE, "ted": "generate_until", "ted_per_token": "generate_until"}
_HIGHER = {
    **dict.fromkeys(CLOZE_METRICS, "multiple_choice"),
    "mpca": OUTPUT_TYPE,
    "math_verify": "generate_until",
    "pass@1": "generate_until",
}


def metric_list(names: Iterable[str]) -> list[dict[str, Any]]:
    """What a task's YAML file would say of metrics.

    >>> metric_list(["ted"])
    [{'metric': 'ted', 'aggregation': 'mean', 'higher_is_better': False}]
    """
    return [{"metric": name, "aggregation": "mean", "higher_is_better": name not in _LOWER} for name in names]


def _registered(name: str, output_type: str) -> Any:
    @register_metric(metric=name, higher_is_better=name not in _LOWER, output_type=output_type, aggregation="mean")
    def value(items: Any) -> Any:
        """The task computes it; lm-eval wants a function under the name."""
        return items

    value.__name__ = value.__qualname__ = name
    return value


METRICS = {name: _registered(name, output_type) for name, output_type in (_LOWER | _HIGHER).items()}


def __getattr__(name: str) -> Any:
    """A metric by its name, as entry points ask for it."""
    key = name.replace("pass_at_", "pass@")
    if key not in METRICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return METRICS[key]
