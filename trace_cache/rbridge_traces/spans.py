"""Parse the ``<span>..</span>`` marks in the text of a trace."""

from __future__ import annotations

import re

from rbridge_traces.errors import TraceError

_MARK = re.compile(r"(</?span>)")


def parse_spans(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Remove the ``<span>`` marks from a text such as the column ``reasoning`` of ``trillionlabs/rbridge-mask``.

    Returns:
        The text without marks, and its regions ``[start, end)`` in characters of that text, in order.

    Raises:
        TraceError: nested, unbalanced or empty marks; names the position.

    >>> parse_spans("So <span>2 + 2</span> is 4")
    ('So 2 + 2 is 4', ((3, 8),))
    """
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    start: int | None = None
    characters = 0
    for piece in _MARK.split(marked):
        if piece == "<span>":
            if start is not None:
                raise TraceError(f"a <span> at character {characters} opens inside another; close that one first")
            start = characters
        elif piece == "</span>":
            if start is None:
                raise TraceError(f"a </span> at character {characters} closes nothing; open it with <span>")
            if start == characters:
                raise TraceError(f"the <span></span> at character {characters} holds nothing; remove it")
            spans.append((start, characters))
            start = None
        else:
            pieces.append(piece)
            characters += len(piece)
    if start is not None:
        raise TraceError(f"the <span> at character {start} is never closed; close it with </span>")
    return "".join(pieces), tuple(spans)
