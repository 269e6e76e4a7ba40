"""Which scores compare: those of one benchmark and metric whose settings are equal.

One check for every command. A difference is an error that names both values; ``--allow-incomparable`` turns it into a
warning. Differences in how a model was loaded (``settings.REPORTED_ONLY``) are only ever a warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.settings import ITEMS_AND_PROMPTS, REPORTED_ONLY, TRACES, UNSTATED

OPTION = "--allow-incomparable"


class IncomparableError(RBridgeError, ValueError):
    """Scores that were measured under different settings. The message is one line."""


@dataclass(frozen=True)
class Measured:
    """A score's benchmark, metric, model and settings."""

    benchmark: str
    metric: str
    model: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """A setting that differs between scores of one benchmark and metric.

    Attributes:
        setting: name.
        text: benchmark, metric and two values with their models.
        refused: whether the scores do not compare; otherwise the difference is only reported.
    """

    setting: str
    text: str
    refused: bool

    @property
    def line(self) -> str:
        """The text as a warning."""
        return f"{self.text}; these scores do not compare" if self.refused else self.text


def differences(scores: Iterable[Measured]) -> list[Difference]:
    """The settings in which scores of one benchmark and metric differ, each once, with an example.

    >>> few, none = Measured("gsm8k", "acc", "a", {"n-shot": "5"}), Measured("gsm8k", "acc", "b", {"n-shot": "0"})
    >>> [difference.text for difference in differences([few, none])]
    ['gsm8k acc: n-shot differs, such as 5 for a and 0 for b']
    """
    scores = [*scores]
    stated = {(score.benchmark, score.metric, name) for score in scores for name in score.settings}
    models: dict[str, dict[tuple[str, str], dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        unstated = {
            name: value
            for name, value in UNSTATED.items()
            if TRACES in score.settings and (score.benchmark, score.metric, name) in stated
        }
        for setting, value in (unstated | {**score.settings}).items():
            models[setting][score.benchmark, score.metric].setdefault(value, score.model)
    different = []
    for setting, by_key in models.items():
        apart = {key: by_value for key, by_value in by_key.items() if len(by_value) > 1}
        if apart:
            (benchmark, metric), by_value = next(iter(apart.items()))
            (value_a, model_a), (value_b, model_b) = [*by_value.items()][:2]
            others = len(apart) - 1
            more = f" (and {others} more pair{'s' * (others > 1)} of benchmark and metric)" if others else ""
            text = f"{benchmark} {metric}{more}: {setting} differs, such as {value_a} for {model_a} and {value_b} for "
            different.append(Difference(setting, text + model_b, setting not in REPORTED_ONLY))
    if any(difference.refused for difference in different):  # it changes prompts and items, and with them the checksum
        different = [difference for difference in different if difference.setting != ITEMS_AND_PROMPTS]
    return different


def check_comparable(scores: Iterable[Measured], *, allow: bool) -> list[str]:
    """Refuse scores of one benchmark and metric that were measured under different settings.

    Args:
        scores: all scores that a command compares with each other.
        allow: report what would be refused.

    Returns:
        A line for each difference that is reported and not refused.

    Raises:
        IncomparableError: settings differ; names them all, with the values of two scores each.
    """
    different = differences(scores)
    refused = [difference.text for difference in different if difference.refused]
    if refused and not allow:
        raise IncomparableError(
            f"{'; '.join(refused)}. These scores do not compare: score all under the same settings, or insist with "
            f"{OPTION}"
        )
    return [difference.line for difference in different]
