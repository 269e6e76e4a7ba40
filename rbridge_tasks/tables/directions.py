"""Which way a metric runs, and what it cannot leave. Known by name, or told; never guessed from numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rbridge_metrics.cloze import CLOZE_METRICS
from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.proxy_names import PROXIES

_LOWER = frozenset((
    "rbridge_nll", "rbridge_span_nll", "trace_nll", "rbridge_bits_per_byte", "trace_bits_per_byte", "nll", "loss",
    "bits_per_byte", "byte_perplexity", "word_perplexity", "perplexity", "ppl", "brier_score", "ter",
    "gold_nll", "scb_nll", "ted", "ted_per_token",
))  # fmt: skip
#: Fractions (or percentages) of items: an accuracy by any name.
_FRACTIONS = frozenset((
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "accuracy", "mpca", "exact_match", "em", "math_verify",
    "prompt_level_strict_acc", "inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc",
    "correct_prob", "norm_correct_prob", "total_prob", "f1",
    *(metric for metric in CLOZE_METRICS if not metric.startswith(("cf_total_prob", "cf_margin"))),
))  # fmt: skip
_HIGHER = _FRACTIONS | {*CLOZE_METRICS, "mcc", "bleu", "chrf", "rouge1", "rouge2", "rougeL", "rbridge_negated"}


class DirectionError(RBridgeError):
    """A metric of which nobody knows whether more of it is better."""


class Metric(NamedTuple):
    """A metric and the way it runs.

    Attributes:
        name: as in the score table.
        lower_is_better: True for an NLL, False for an accuracy.
        told: the user said so; otherwise it is known by its name.
    """

    name: str
    lower_is_better: bool
    told: bool

    @property
    def direction(self) -> str:
        """In words, with where it is known from."""
        return f"{'lower' if self.lower_is_better else 'higher'} is better{'' if self.told else ', by its name'}"


def metric_called(text: str, *, lower_is_better: bool | None = None, remedy: str = "") -> Metric:
    """The metric of a name, to which ``:lower`` or ``:higher`` may be appended.

    Args:
        text: ``rbridge_nll``, ``exact_match,strict-match``, ``my_metric:lower``.
        lower_is_better: what the user said of it in another way; None for nothing.
        remedy: another way to say it, for the error.

    Raises:
        DirectionError: neither known nor told, or told both ways.

    >>> metric_called("exact_match,strict-match")
    Metric(name='exact_match,strict-match', lower_is_better=False, told=False)
    >>> metric_called("surprise:lower").lower_is_better
    True
    """
    name, colon, way = text.rpartition(":")
    if not colon or way not in ("lower", "higher"):
        name, way = text, ""
    if way and lower_is_better is not None and lower_is_better != (way == "lower"):
        raise DirectionError(f"{text} is told to run both ways; say it once")
    if way or lower_is_better is not None:
        return Metric(name, way == "lower" if way else bool(lower_is_better), told=True)
    plain = _plain(name)
    if plain in PROXIES:
        return Metric(name, PROXIES[plain].lower_is_better, told=False)
    if plain not in _LOWER and plain not in _HIGHER and not plain.startswith("pass@"):
        raise DirectionError(
            f"nothing is known of the metric {name!r}: is lower or higher better? Write {name}:lower or {name}:higher"
            f"{remedy}"
        )
    return Metric(name, plain in _LOWER, told=False)


def bounds_of(metric: str, values: Sequence[float]) -> tuple[float, float]:
    """What the values of a metric cannot leave, by its name; an accuracy above 1 is in per cent.

    >>> bounds_of("acc", [0.2, 0.4]), bounds_of("acc", [20, 40]), bounds_of("rbridge_nll", [1.5])
    ((0.0, 1.0), (0.0, 100.0), (0.0, inf))
    """
    plain = _plain(metric)
    if plain in PROXIES:
        return PROXIES[plain].bounds
    if plain.startswith("cf_margin"):
        return (-1.0, 1.0)
    if plain in _FRACTIONS or plain.startswith("pass@"):
        return (0.0, 100.0) if max(values) > 1 else (0.0, 1.0)
    return (0.0, math.inf) if plain in _LOWER or plain.startswith("cf_total_prob") else (-math.inf, math.inf)


def check_one_unit(metric: str, values: Sequence[float], where: str) -> None:
    """Refuse accuracies of which some are fractions and others percentages.

    That is taken to be so where the values part at 1 by a factor of ten or more: 0.61 and 58, but not 0.4 % and 1.2 %.

    Raises:
        DirectionError: names the two values beside the gap.

    >>> check_one_unit("acc", [0.4, 1.2, 5.0], "scores.csv")
    """
    if bounds_of(metric, values)[1] != 100.0:
        return
    fractions = [value for value in values if 0 < value <= 1]
    if fractions and min(value for value in values if value > 1) >= 10 * max(fractions):
        raise DirectionError(
            f"{metric} in {where} mixes fractions and per cent: {max(fractions):g} beside "
            f"{min(value for value in values if value > 1):g}; write all of them in one unit"
        )


def _plain(metric: str) -> str:
    """Without lm-eval's filter."""
    return metric.partition(",")[0]
