"""Resolve U+FFFD in tokens, which some servers write for a token's part of a character.

The text of the whole answer is known. The parts lie between characters that are shown, and only a character of several
bytes can be split, so the characters that they stand for follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import character_bytes
from rbridge_traces.errors import CompletionError

PART = "\ufffd"
_EMPTY = "\ud800"  # stands for a token shown as empty; occurs in no text
_RUNS = re.compile(f"{_EMPTY}*{PART}+|{_EMPTY}+|[^{PART}{_EMPTY}]+")
MOST_CHARACTERS = 8  # in one token shown as empty


def replaced_ends(tokens: Sequence[str], text: str) -> npt.NDArray[np.int64]:
    """Find where each token ends in a text, although some tokens are shown with U+FFFD.

    Characters that are shown belong to the token that shows them. The characters at a run of U+FFFD are shared evenly
    among the U+FFFD. If that does not fit, tokens shown as empty count too: vLLM shows a token so that ends within a
    character, and drops its bytes if the next token goes on beyond that character.

    Args:
        tokens: text of each token.
        text: what they spell.

    Returns:
        End offset of each token in UTF-8 bytes of ``text``, shape (tokens,).

    Raises:
        CompletionError: they spell something else.

    >>> replaced_ends(["x\ufffd", "\ufffd!"], "xé!")
    array([2, 4])
    """
    try:
        return _ends(tokens, text)
    except CompletionError as error:
        try:
            return _ends([token or _EMPTY for token in tokens], text)
        except CompletionError:
            raise error from None


def _ends(tokens: Sequence[str], text: str) -> npt.NDArray[np.int64]:
    shown = "".join(tokens)
    runs = _RUNS.findall(shown)
    edges = _edges(runs, text)
    n_bytes = np.zeros(len(shown) + 1, dtype=np.int64)
    at = 1
    for run, start, end in zip(runs, edges, edges[1:], strict=False):
        if run[0] in (PART, _EMPTY):
            shares = np.arange(len(run) + 1) * len(text[start:end].encode()) // len(run)
            n_bytes[at : at + len(run)] = np.diff(shares)
        else:
            n_bytes[at : at + len(run)] = character_bytes(run)
        at += len(run)
    ends: npt.NDArray[np.int64] = np.cumsum(n_bytes)[np.cumsum([len(token) for token in tokens])]
    return ends


def _edges(runs: Sequence[str], text: str) -> list[int]:
    """Positions in the text at which the runs begin, and the end of the last."""
    came_from: list[dict[int, int]] = [{0: 0}]  # for each end of a run, its beginning
    for number, run in enumerate(runs):
        reached: dict[int, int] = {}
        for start in came_from[-1]:
            for end in _run_ends(run, text, start):
                reached.setdefault(end, start)
        if not reached:
            raise parted("".join(runs[number:]), text, came_from[-1])
        came_from.append(reached)
    if len(text) not in came_from[-1]:
        raise parted("", text, came_from[-1])
    edges = [len(text)]
    for reached in reversed(came_from[1:]):
        edges.append(reached[edges[-1]])
    return edges[::-1]


def _run_ends(run: str, text: str, start: int) -> Iterator[int]:
    """Positions at which a run that begins at ``start`` can end."""
    parts, empty = run.count(PART), run.count(_EMPTY)
    if not parts and not empty:
        if text.startswith(run, start):
            yield start + len(run)
        return
    yield from _split_characters(text, start, parts) if parts else (start,)
    most = empty * MOST_CHARACTERS + parts if empty else 0
    for end in range(start + 1, min(start + most, len(text)) + 1):
        # The last character of empty tokens shows its other bytes after them, or is a U+FFFD itself.
        if text[end - 1] == PART or len(text[end - 1].encode()) > parts > 0:
            yield end


def _split_characters(text: str, start: int, parts: int) -> Iterator[int]:
    """Possible ends of a run of so many parts: at least two for each character, at most one for each byte."""
    fewest = most = 0
    for end in range(start, len(text)):
        fewest += 1 if text[end] == PART else 2
        most += len(text[end].encode())
        if text[end].isascii() or fewest > parts:
            return
        if most >= parts:
            yield end + 1


def parted(spelled: str, text: str, starts: Iterable[int] = (0,)) -> CompletionError:
    """The error for tokens that differ from a text, told for the start at which they agree the longest."""
    same, start = max((_same(spelled, text, start), start) for start in starts)
    spelled, text, character = spelled[same:], text[start + same :], start + same
    return CompletionError(
        f"the tokens do not spell the text: at character {character} they go on "
        f"{spelled[:30]!r}, the text {text[:30]!r}"
    )


def _same(spelled: str, text: str, start: int) -> int:
    """Number of equal characters of one text and another from ``start`` on."""
    most = min(len(spelled), len(text) - start)
    return next((character for character in range(most) if spelled[character] != text[start + character]), most)
