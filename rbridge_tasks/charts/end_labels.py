"""Labels at the right ends of lines, moved apart."""

from __future__ import annotations

from collections.abc import Sequence


def apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Places moved as little as needed to lie ``least`` apart, in their order, between two ends if there is room.

    >>> apart([10.0, 12.0, 50.0], 10.0, 0.0, 60.0)
    [6.0, 16.0, 50.0]
    """

    def first(group: Sequence[int]) -> float:
        """Place of the first of neighbours that stand ``least`` apart around the mean of their places."""
        extent = (len(group) - 1) * least
        middle = sum(places[index] for index in group) / len(group)
        return max(low, min(middle - extent / 2, high - extent))

    groups: list[list[int]] = []  # neighbours that touch share their mean place
    for index in sorted(range(len(places)), key=places.__getitem__):
        groups.append([index])
        while len(groups) > 1 and first(groups[-1]) < first(groups[-2]) + len(groups[-2]) * least:
            last = groups.pop()
            groups[-1] += last
    moved = [0.0] * len(places)
    for group in groups:
        for step, index in enumerate(group):
            moved[index] = first(group) + step * least
    return moved
