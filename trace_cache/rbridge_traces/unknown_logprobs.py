"""Placeholders that servers write for an unknown log-probability, and counts of them.

Servers write -9999 (OpenAI: "not within the top 20"), minus infinity or null if they do not report the probability of a
sampled token. Read as a probability, -9999 is 0; it would become the minimum of the trace and change the MinMax weight
of every other token. Such a token therefore has an unknown confidence, stored as null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import ROUNDING
from rbridge_traces.errors import TraceError

if TYPE_CHECKING:
    from rbridge_traces.schema import Trace

LOWEST_LOGPROB = -1000.0
"""Log-probabilities at or below this (nats) are placeholders: sampled tokens of real models lie far above."""


def known_logprobs(logprobs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Replace placeholders by NaN: values that are infinite, at most -1000, or above 0 by more than rounding.

    Raises:
        TraceError: more than half of them are above 0, as probabilities are.

    >>> known_logprobs([-0.5, -9999.0, float("-inf"), 1e-9])
    array([-0.5,  nan,  nan,  0. ])
    """
    values = np.asarray(logprobs, dtype=np.float64)
    above = values > ROUNDING
    if 2 * np.count_nonzero(above) > values.size:
        at = int(np.argmax(above))
        raise TraceError(
            f"the log-probability is {values[at]:g} at token {at}, and most others are above 0 too; expected natural "
            "logarithms of probabilities, which are at most 0"
        )
    return np.where((values > LOWEST_LOGPROB) & ~above, np.minimum(values, 0.0), np.nan)


@dataclass(frozen=True)
class UnknownTokens:
    """Tokens without a known log-probability in a set of traces.

    Attributes:
        tokens: how many there are.
        traces: how many traces hold one.
        unusable: how many of these traces know too little to have confidences (see ``Trace.has_confidence``).
        first: name of the first such trace; empty without any.
    """

    tokens: int = 0
    traces: int = 0
    unusable: int = 0
    first: str = ""

    def __bool__(self) -> bool:
        return self.tokens > 0

    def __str__(self) -> str:
        """One line that says how they are treated."""
        text = f"{self.tokens} tokens in {self.traces} traces have no known log-probability (-9999, -inf, null or "
        text += f"above 0; first: {self.first}); their confidence is interpolated between their neighbours'"
        if self.unusable:
            text += f"; {self.unusable} of these traces know less than half and count as without confidences"
        return text


NO_UNKNOWN = UnknownTokens()


def unknown_tokens(traces: Sequence[Trace]) -> UnknownTokens:
    """Count the tokens without a known log-probability. Traces without any token confidences have none."""
    holding = [trace for trace in traces if trace.unknown_tokens]
    return UnknownTokens(
        tokens=sum(trace.unknown_tokens for trace in holding),
        traces=len(holding),
        unusable=sum(not trace.has_confidence for trace in holding),
        first=holding[0].name if holding else "",
    )
