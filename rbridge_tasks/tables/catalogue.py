"""Every metric that this package knows by name: its direction, unit, bounds, aggregation and what it needs.

Directions, bounds, axis labels and settings are read from here. The task files, the entry points in ``pyproject.toml``
and the tables in ``docs/`` are checked against it by ``tests/tables/test_catalogue.py``. No NumPy: the names are cheap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rbridge_metrics.proxy_names import PROXIES

Kind = Literal["trace", "proxy", "cloze", "answer", "generation", "lm_eval"]
Needs = Literal["confidences", "spans", "choices", "answers", "entropy", "max_logprob", "rank", "counts"]

_ANY = (-math.inf, math.inf)
_FRACTION = "fraction of items"


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric.

    Attributes:
        name: in score tables and lm-eval, without a filter.
        lower_is_better: True for an NLL, False for an accuracy.
        kind: tasks that report it: ``trace`` (``rbridge_*``), ``proxy`` (``rbridge_proxies_*``), ``cloze``, ``answer``
            and ``generation`` (the comparators), or ``lm_eval`` for a metric of other tasks.
        unit: of a value; empty where it has none.
        bounds: smallest and largest possible value. A fraction of items may also be written in per cent.
        aggregation: how lm-eval makes the value of a task from its items.
        per_token: an average over tokens, so that values of two tokenizers do not compare.
        needs: what an item must have.
    """

    name: str
    lower_is_better: bool
    kind: Kind
    unit: str = ""
    bounds: tuple[float, float] = _ANY
    aggregation: str = "mean"
    per_token: bool = False
    needs: frozenset[Needs] = frozenset()

    @property
    def is_fraction(self) -> bool:
        """Whether it is a share of the items, which people also write in per cent."""
        return self.unit == _FRACTION


def _loss(name: str, kind: Kind, unit: str = "", *needs: Needs, aggregation: str = "mean") -> MetricInfo:
    per_token = unit == "nats per token"
    return MetricInfo(name, True, kind, unit, (0.0, math.inf), aggregation, per_token, frozenset(needs))


def _fraction(name: str, kind: Kind, *needs: Needs) -> MetricInfo:
    return MetricInfo(name, False, kind, _FRACTION, (0.0, 1.0), needs=frozenset(needs))


#: Measures of multiple choice in cloze form; their names carry no suffix, or one of the units below.
_CLOZE_BOUNDS = {
    "correct_prob": None,
    "norm_correct_prob": None,
    "total_prob": (0.0, math.inf),
    "margin": (-1.0, 1.0),
    "accuracy": None,
}


def _cloze(measure: str, suffix: str) -> MetricInfo:
    name, bounds = f"cf_{measure}{suffix}", _CLOZE_BOUNDS[measure]
    if bounds is None:
        return _fraction(name, "cloze", "choices")
    return MetricInfo(name, False, "cloze", bounds=bounds, needs=frozenset(("choices",)))


_LM_EVAL_LOSSES = (
    "nll", "loss", "bits_per_byte", "byte_perplexity", "word_perplexity", "perplexity", "ppl", "brier_score", "ter",
)  # fmt: skip
_LM_EVAL_FRACTIONS = (
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "accuracy", "exact_match", "em", "prompt_level_strict_acc",
    "inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc", "correct_prob", "norm_correct_prob",
    "total_prob", "f1",
)  # fmt: skip
_LM_EVAL_HIGHER = ("mcc", "bleu", "chrf", "rouge1", "rouge2", "rougeL", "rbridge_negated")

_METRICS = (
    _loss("rbridge_nll", "trace", "nats per token", "confidences"),
    _loss("rbridge_bits_per_byte", "trace", "bits per byte", "confidences", aggregation="corpus_bits_per_byte"),
    _loss("trace_nll", "trace", "nats per token"),
    _loss("trace_bits_per_byte", "trace", "bits per byte", aggregation="corpus_bits_per_byte"),
    _loss("rbridge_span_nll", "trace", "nats per token", "spans"),
    *(
        MetricInfo(name, proxy.lower_is_better, "proxy", "", proxy.bounds, "mean", True, proxy.needs)
        for name, proxy in PROXIES.items()
    ),
    *(_cloze(measure, suffix) for suffix in ("", "_per_char", "_per_byte") for measure in _CLOZE_BOUNDS),
    _loss("gold_nll", "answer", "nats per token", "answers"),
    _fraction("mpca", "answer", "answers"),
    _loss("scb_nll", "answer", "nats per token", "answers"),
    _loss("ted", "generation"),
    _loss("ted_per_token", "generation"),
    _fraction("math_verify", "generation", "answers"),
    _fraction("pass@1", "generation"),
    *(_loss(name, "lm_eval") for name in _LM_EVAL_LOSSES),
    *(_fraction(name, "lm_eval") for name in _LM_EVAL_FRACTIONS),
    *(MetricInfo(name, False, "lm_eval") for name in _LM_EVAL_HIGHER),
)

#: All metrics by name.
METRICS = {metric.name: metric for metric in _METRICS}

#: Proxies that the tasks ``rbridge_proxies_*`` report; ``rbridge proxies`` computes all 80.
REPORTED_PROXIES = (
    "top5_accuracy_by_frequency",
    "top1_accuracy_by_inverse_frequency",
    "entropy",
    "reciprocal_rank",
    "cross_entropy",
)


def plain_name(metric: str) -> str:
    """The name of a metric without lm-eval's filter.

    >>> plain_name("exact_match,strict-match")
    'exact_match'
    """
    return metric.partition(",")[0]


def metric_info(metric: str) -> MetricInfo | None:
    """What is known of a metric, with a filter or without; None where its name is unknown.

    >>> metric_info("exact_match,strict-match").unit, metric_info("pass@10").bounds, metric_info("surprise")
    ('fraction of items', (0.0, 1.0), None)
    """
    name = plain_name(metric)
    return _fraction(name, "lm_eval") if name.startswith("pass@") and name not in METRICS else METRICS.get(name)


def axis_label(metric: str) -> str:
    """The name of a metric with its unit.

    >>> axis_label("rbridge_nll"), axis_label("acc")
    ('rbridge_nll (nats per token)', 'acc')
    """
    known = METRICS.get(metric)
    return metric if known is None or known.is_fraction or not known.unit else f"{metric} ({known.unit})"
