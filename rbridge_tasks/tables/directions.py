"""The direction and the bounds of a metric: from the catalogue or from the user, never guessed from numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.catalogue import metric_info


class DirectionError(RBridgeError):
    """The direction of a metric is unknown or contradictory, or its values are in two units."""


class Metric(NamedTuple):
    """A metric and its direction.

    Attributes:
        name: as in the score table.
        lower_is_better: True for an NLL, False for an accuracy.
        told: the user gave the direction; otherwise it follows from the name.
    """

    name: str
    lower_is_better: bool
    told: bool

    @property
    def better(self) -> str:
        """Which values are better, ``lower`` or ``higher``."""
        return "lower" if self.lower_is_better else "higher"

    @property
    def direction(self) -> str:
        """The direction in words, and whether it follows from the name."""
        return f"{self.better} is better{'' if self.told else ', by its name'}"


def metric_called(text: str, *, lower_is_better: bool | None = None, remedy: str = "") -> Metric:
    """The metric of a name, to which ``:lower`` or ``:higher`` may be appended.

    Args:
        text: ``rbridge_nll``, ``exact_match,strict-match``, ``my_metric:lower``.
        lower_is_better: the direction that the user gave by an option; None for none.
        remedy: another way to give it, for the error.

    Raises:
        DirectionError: the direction is unknown, or was given twice with different values.

    >>> metric_called("exact_match,strict-match")
    Metric(name='exact_match,strict-match', lower_is_better=False, told=False)
    >>> metric_called("surprise:lower").lower_is_better
    True
    """
    name, way = split_direction(text)
    if way and lower_is_better is not None and lower_is_better != (way == "lower"):
        raise DirectionError(f"{text} contradicts the option for the direction; give the direction once")
    if way or lower_is_better is not None:
        return Metric(name, way == "lower" if way else bool(lower_is_better), told=True)
    known = metric_info(name)
    if known is None:
        raise DirectionError(
            f"the direction of the metric {name!r} is unknown: is lower or higher better? Write {name}:lower or "
            f"{name}:higher{remedy}"
        )
    return Metric(name, known.lower_is_better, told=False)


def split_direction(text: str) -> tuple[str, str]:
    """The name of a metric, and the direction appended to it: ``lower``, ``higher`` or nothing.

    >>> split_direction("surprise:lower"), split_direction("acc")
    (('surprise', 'lower'), ('acc', ''))
    """
    name, _, way = text.rpartition(":")
    return (name, way) if way in ("lower", "higher") and way != text else (text, "")


def bounds_of(metric: str, values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest possible value of a metric. An accuracy with a value above 1 is in per cent.

    >>> bounds_of("acc", [0.2, 0.4]), bounds_of("acc", [20, 40]), bounds_of("rbridge_nll", [1.5])
    ((0.0, 1.0), (0.0, 100.0), (0.0, inf))
    """
    known = metric_info(metric)
    if known is None:
        return (-math.inf, math.inf)
    return (0.0, 100.0) if known.is_fraction and max(values) > 1 else known.bounds


def check_one_unit(metric: str, values: Sequence[float], where: str) -> None:
    """Refuse accuracies that mix fractions and percentages.

    They mix where values above 1 are at least ten times as large as those below: 0.61 and 58, but not 0.4 % and 1.2 %.

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
