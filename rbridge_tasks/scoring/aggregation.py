"""From the metrics of items to those of a benchmark, with standard errors; arrays and numbers only, no lm-eval.

Each aggregation has a standard error over the items in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rbridge_metrics import TraceMoments, bits_per_byte, bits_per_byte_stderr, weighted_nats_over_test_set
from rbridge_tasks.tables.catalogue import METRICS


@dataclass(frozen=True)
class Aggregation:
    """A function of the items' values and the standard error of its result."""

    value: Callable[[Sequence[Any]], float]
    stderr: Callable[[Sequence[Any]], float]


def mean(values: Sequence[float]) -> float:
    """The mean, summed from left to right: the same float as lm-eval's."""
    return sum(values) / len(values)


def mean_stderr(values: Sequence[float]) -> float:
    """Standard error of a mean, the same float as lm-eval's; NaN for a single item."""
    if len(values) < 2:
        return math.nan
    center = mean(values)
    return math.sqrt(sum([(value - center) ** 2 for value in values]) / (len(values) - 1)) / math.sqrt(len(values))


def corpus_bits_per_byte(items: Sequence[tuple[float, int]]) -> float:
    """Bits per byte of all traces together, from (nats, bytes) of each."""
    return bits_per_byte(*zip(*items, strict=True))


def corpus_bits_per_byte_stderr(items: Sequence[tuple[float, int]]) -> float:
    """Standard error of ``corpus_bits_per_byte``."""
    return bits_per_byte_stderr(*zip(*items, strict=True))


def test_set_rbridge_nll(items: Sequence[TraceMoments]) -> float:
    """Mean over traces of the rBridge NLL, weights normalised over all of them."""
    scores = _nats_per_token(items)
    return math.fsum(scores) / len(scores)


def test_set_rbridge_bits_per_byte(items: Sequence[TraceMoments]) -> float:
    """rBridge bits per byte of all traces together, weights normalised over all of them."""
    return corpus_bits_per_byte(_nats_and_bytes(items))


#: By the name that lm-eval and the YAML files use. Over the test set, the range of the weights is taken as known.
AGGREGATIONS = {
    "mean": Aggregation(mean, mean_stderr),
    "corpus_bits_per_byte": Aggregation(corpus_bits_per_byte, corpus_bits_per_byte_stderr),
    "test_set_rbridge_nll": Aggregation(test_set_rbridge_nll, lambda items: mean_stderr(_nats_per_token(items))),
    "test_set_rbridge_bits_per_byte": Aggregation(
        test_set_rbridge_bits_per_byte, lambda items: corpus_bits_per_byte_stderr(_nats_and_bytes(items))
    ),
}

#: Where weights are normalised over the whole test set.
AGGREGATION_OVER_TEST_SET = {
    "rbridge_nll": "test_set_rbridge_nll",
    "rbridge_bits_per_byte": "test_set_rbridge_bits_per_byte",
}


def aggregate(
    metrics: Sequence[Mapping[str, Any]], *, over_test_set: bool = False
) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of a benchmark and their standard errors, from those of its items.

    Args:
        metrics: of each item by name, as ``item_metrics`` gives them; all with the same names.
        over_test_set: weights are normalised over the test set.
    """
    special = AGGREGATION_OVER_TEST_SET if over_test_set else {}
    values, stderrs = {}, {}
    for name in metrics[0]:
        aggregation = AGGREGATIONS[special.get(name, METRICS[name].aggregation)]
        items = [item[name] for item in metrics]
        values[name], stderrs[name] = aggregation.value(items), aggregation.stderr(items)
    return values, stderrs


def item_values(name: str, items: Sequence[Any]) -> list[float]:
    """One number for each item: its NLL per token, or the bits per byte of its trace alone.

    Args:
        name: of the metric.
        items: its values as ``item_metrics`` gives them.
    """
    if isinstance(items[0], TraceMoments):
        items = _nats_per_token(items) if name == "rbridge_nll" else _nats_and_bytes(items)
    return [bits_per_byte(*([part] for part in item)) if isinstance(item, tuple) else float(item) for item in items]


def _nats_per_token(items: Sequence[TraceMoments]) -> list[float]:
    weighted = weighted_nats_over_test_set(items)
    return [float(nats) / item.tokens for nats, item in zip(weighted, items, strict=True)]


def _nats_and_bytes(items: Sequence[TraceMoments]) -> list[tuple[float, int]]:
    weighted = weighted_nats_over_test_set(items)
    return [(float(nats), item.n_bytes) for nats, item in zip(weighted, items, strict=True)]
