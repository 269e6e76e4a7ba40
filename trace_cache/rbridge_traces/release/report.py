"""The result of reading a published release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rbridge_traces.schema import Trace


@dataclass(frozen=True)
class ReleaseReport:
    """The traces of one benchmark, and counts of rows that gave none.

    Attributes:
        traces: in the order of the rows.
        dropped: rows that became no trace, by reason.
        completion_tokens: tokens of the whole completions; 0 if the release has none.
        repairs: see ``counted_repairs``.
    """

    traces: list[Trace]
    dropped: Counter[str]
    completion_tokens: int = 0
    repairs: str = ""


Readers = Mapping[str, Callable[[], ReleaseReport]]
"""A reader for each benchmark in a folder."""


def counted(dropped: Mapping[str, int]) -> str:
    """Reasons with their counts, the most frequent first.

    >>> counted({"empty reasoning": 1, "without tokens": 2, "malformed completion": 0})
    '2 without tokens, 1 empty reasoning'
    """
    return ", ".join(f"{n} {reason}" for reason, n in Counter(dropped).most_common() if n)
