"""What became of the rows of a published release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rbridge_traces.schema import Trace


@dataclass(frozen=True)
class ReleaseReport:
    """The traces of one benchmark, and what is to say of them.

    Attributes:
        traces: one for each row that gives one, in their order.
        dropped: rows that became no trace, by reason.
        completion_tokens: tokens read of the whole completions, from which the traces are cut; 0 where none came along.
        repairs: what ``counted_repairs`` says of the completions.
    """

    traces: list[Trace]
    dropped: Counter[str]
    completion_tokens: int = 0
    repairs: str = ""


Readers = Mapping[str, Callable[[], ReleaseReport]]
"""What reads each benchmark that a folder holds."""


def counted(dropped: Mapping[str, int]) -> str:
    """Reasons with their counts, the most frequent first.

    >>> counted({"empty reasoning": 1, "without tokens": 2, "malformed completion": 0})
    '2 without tokens, 1 empty reasoning'
    """
    return ", ".join(f"{n} {reason}" for reason, n in Counter(dropped).most_common() if n)
