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
    """A token in a table: its context, its trace, and numbers in nats (NaN where unknown).

    Attributes:
        times: number of tokens with the same text in all traces.
        was: weight × NLL under the earlier checkpoint.
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


def worst_tokens(traces: Sequence[WeightedTrace], earlier: Mapping[str, WeightedTrace]) -> list[TokenRow]:
    """Tokens of the largest weight × NLL.

    Args:
        traces: of one checkpoint, at least one.
        earlier: the same traces in the same tokens under an earlier one, by item, as far as there are any.
    """
    return _largest(traces, earlier, [trace.cost for trace in traces], _WORST)


def changed_tokens(
    traces: Sequence[WeightedTrace], earlier: Mapping[str, WeightedTrace]
) -> tuple[list[TokenRow], list[TokenRow]]:
    """Tokens whose weight × NLL fell most, and those whose rose most."""
    if not traces:
        return [], []
    with np.errstate(invalid="ignore"):  # an infinite NLL in both: the change is unknown
        falls = [earlier[trace.item].cost - trace.cost for trace in traces]
    rises = [-fall for fall in falls]
    return _largest(traces, earlier, falls, _CHANGED), _largest(traces, earlier, rises, _CHANGED)


def _largest(
    traces: Sequence[WeightedTrace], earlier: Mapping[str, WeightedTrace], values: Sequence[Values], most: int
) -> list[TokenRow]:
    """The tokens of the largest positive values, each text once; ties in the order of the traces."""
    names = [trace.trace.text[start:end] for trace in traces for start, end in trace.places]
    places = [(trace, at) for trace in traces for at in range(trace.nll.size)]
    times = Counter(names)
    every = np.concatenate(values)
    rows: dict[str, TokenRow] = {}
    for place in np.argsort(np.where(np.isnan(every), np.inf, -every), kind="stable").tolist():
        if len(rows) == most or not every[place] > 0:
            break
        if (name := names[place]) not in rows:
            trace, at = places[place]
            before = earlier.get(trace.item)
            rows[name] = TokenRow(
                context=in_context(trace, at),
                item=trace.item,
                times=times[name],
                nll=float(trace.nll[at]),
                confidence=float(trace.confidence[at]),
                weight=float(trace.weight[at]),
                cost=float(trace.cost[at]),
                was=math.nan if before is None else float(before.cost[at]),
            )
    return [*rows.values()]
