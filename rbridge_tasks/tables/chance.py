"""Accuracy of guessing on benchmarks of multiple choice, by the benchmark's name."""

from __future__ import annotations

import math

from rbridge_tasks.tables.catalogue import plain_name

#: One in so many is right by chance, none where the answer is written and not chosen.
#: A task whose name starts with one of these and ``_`` has the same.
CHOICES = {
    "agieval": 4, "agieval_aqua": 5, "agieval_gaokao_mathcloze": math.inf, "agieval_lsat": 5, "agieval_math": math.inf,
    "arc": 4, "arc_challenge": 4, "arc_easy": 4, "boolq": 2, "commonsense_qa": 5, "copa": 2, "cqa": 5,
    "csqa": 5, "hellaswag": 4, "logiqa": 4, "mmlu": 4, "mmlu_pro": 10, "obqa": 4, "openbookqa": 4, "piqa": 2, "qasc": 8,
    "race": 4, "rte": 2, "sciq": 4, "siqa": 3, "social_iqa": 3, "socialiqa": 3, "wic": 2, "winogrande": 2, "wsc": 2,
}  # fmt: skip
_OF_CHOICE = frozenset(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "accuracy"))


def chance_of(benchmark: str, metric: str) -> float | None:
    """Accuracy of chance, a fraction; 0 for a metric that is no choice, None where it is unknown.

    >>> chance_of("arc_challenge", "acc_norm"), chance_of("mmlu_anatomy", "acc"), chance_of("gsm8k", "exact_match")
    (0.25, 0.25, 0.0)
    """
    name = plain_name(metric)
    if name not in _OF_CHOICE and not name.startswith("cf_accuracy"):
        return 0.0
    task = benchmark.removeprefix("rbridge_")
    parts = task.split("_")
    for length in range(len(parts), 0, -1):
        if (choices := CHOICES.get("_".join(parts[:length]))) is not None:
            return 1.0 / choices
    return None
