"""Which scores compare: the settings that have to be equal between two scores of one benchmark and metric.

One check for every command. A difference is an error that names both values; ``--allow-incomparable`` turns it into a
warning. Differences in how a model was loaded (``settings.REPORTED_ONLY``) are always a warning only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.settings import ITEMS_AND_PROMPTS, REPORTED_ONLY

OPTION = "--allow-incomparable"


class IncomparableError(RBridgeError, ValueError):
    """Scores that were measured under different settings. The message is one line."""


@dataclass(frozen=True)
class Measured:
    """A score's benchmark and metric, what was evaluated, and under which settings."""

    benchmark: str
    metric: str
    model: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """A setting that differs between scores of one benchmark and metric.

    Attributes:
        setting: name.
        text: which values, of which models.
        refused: whether the scores do not compare; else the difference is worth a line, and no more.
    """

    setting: str
    text: str
    refused: bool


def differences(scores: Iterable[Measured]) -> list[Difference]:
    """The settings in which scores of one benchmark and metric differ, each once, with an example.

    >>> proxy, other = Measured("gsm8k", "acc", "a", {"n-shot": "5"}), Measured("gsm8k", "acc", "b", {"n-shot": "0"})
    >>> [one.text for one in differences([proxy, other])]
    ['gsm8k acc: n-shot differs, such as 5 for a and 0 for b; these scores do not compare']
    """
    seen: dict[str, dict[tuple[str, str], dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        for setting, value in score.settings.items():
            seen[setting][score.benchmark, score.metric].setdefault(value, score.model)
    found = []
    for setting, values in seen.items():
        apart = {key: models for key, models in values.items() if len(models) > 1}
        if apart:
            (benchmark, metric), models = next(iter(apart.items()))
            one, other = [*models.items()][:2]
            others = len(apart) - 1
            more = f" (and {others} more pair{'s' * (others > 1)} of benchmark and metric)" if others else ""
            refused = setting not in REPORTED_ONLY
            text = (
                f"{benchmark} {metric}{more}: {setting} differs, such as {one[0]} for {one[1]} and {other[0]} for "
                f"{other[1]}"
            )
            found.append(Difference(setting, f"{text}; these scores do not compare" if refused else text, refused))
    if any(one.refused for one in found):  # they change prompts and items, so the checksum adds nothing
        found = [one for one in found if one.setting != ITEMS_AND_PROMPTS]
    return found


def check_comparable(scores: Iterable[Measured], *, allow: bool) -> list[str]:
    """Refuse scores of one benchmark and metric that were measured under different settings.

    Args:
        scores: all scores that a command compares with each other.
        allow: the user insists: report what would be refused.

    Returns:
        A line for each difference that is reported and not refused.

    Raises:
        IncomparableError: settings differ; names them all, with the values of two scores each.
    """
    found = differences(scores)
    refused = [one for one in found if one.refused]
    if refused and not allow:
        texts = [one.text.removesuffix("; these scores do not compare") for one in refused]
        raise IncomparableError(
            f"{'; '.join(texts)}. These scores do not compare: score all under the same settings, or insist with "
            f"{OPTION}"
        )
    return [one.text for one in found]
