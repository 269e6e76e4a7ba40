"""The tokens of some traces that cost most, and those whose cost changed most between two checkpoints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rbridge_tasks.report.coloured_tokens import Values, WeightedTrace, in_context

_WORST, _CHANGED = 10, 6


@dataclass(frozen=True)
class TokenRow:
    """A token in a table: a place of it, its trace, and numbers in nats (NaN where there is no such number).

    Attributes:
        times: how often the same letters are a token in all traces.
    """

    context: Mapping[str, str]
    item: str
    times: int
    nll: float
    confidence: float
    weight: float
    cost: float
    was: float

    @property
    def change(self) -> float:
        """Of weight × NLL, from the earlier checkpoint; negative is better."""
        return self.cost - self.was


def worst_tokens(traces: Sequence[WeightedTrace], others: Mapping[str, WeightedTrace]) -> list[TokenRow]:
    """Tokens of the largest weight × NLL.

    Args:
        traces: of one checkpoint, at least one.
        others: the same traces in the same tokens under an earlier one, by item; as far as there are any.
    """
    return _Extremes(traces, others).rows([one.cost for one in traces], _WORST)


def _row(one: WeightedTrace, other: WeightedTrace | None, at: int, times: int) -> TokenRow:
    known = one.confidence
    return TokenRow(
        context=in_context(one, at),
        item=one.trace.item,
        times=times,
        nll=float(one.nll[at]),
        confidence=math.nan if known is None else float(known[at]),
        weight=float(one.weight[at]),
        cost=float(one.cost[at]),
        was=math.nan if other is None else float(other.cost[at]),
    )


def changed_tokens(
    traces: Sequence[WeightedTrace], others: Mapping[str, WeightedTrace]
) -> tuple[list[TokenRow], list[TokenRow]]:
    """Tokens whose weight × NLL fell most, and those whose rose most."""
    if not traces:
        return [], []
    extremes = _Extremes(traces, others)
    falls = [others[one.trace.item].cost - one.cost for one in traces]
    return extremes.rows(falls, _CHANGED), extremes.rows([-fall for fall in falls], _CHANGED)


class _Extremes:
    """Tokens of some traces, each once, in the place where a number is largest."""

    def __init__(self, traces: Sequence[WeightedTrace], others: Mapping[str, WeightedTrace]) -> None:
        self._traces, self._others = traces, others
        self._names = [[one.trace.text[a:b] for a, b in one.places] for one in traces]
        self._times = Counter(name for names in self._names for name in names)
        self._ends = np.cumsum([one.nll.size for one in traces])

    def rows(self, values: Sequence[Values], most: int) -> list[TokenRow]:
        """The tokens of the largest values, the largest first; ties in the order of the traces."""
        every = np.concatenate(values)
        found: dict[str, TokenRow] = {}
        for place in np.argsort(np.where(np.isnan(every), np.inf, -every), kind="stable").tolist():
            if len(found) == most or not every[place] > 0:
                break
            which = int(np.searchsorted(self._ends, place, side="right"))
            at = place - (int(self._ends[which - 1]) if which else 0)
            one, name = self._traces[which], self._names[which][at]
            if name not in found:
                found[name] = _row(one, self._others.get(one.trace.item), at, self._times[name])
        return [*found.values()]
