"""Map the characters of a text's Unicode normal form back to the characters of the text.

Tokenizers with a normaliser (NFC in GPT-NeoX, OLMo 1 and Qwen) cut the normalised text into tokens. Where the
normaliser composes characters ("e" and a combining accent to "é"), the offsets that the ``tokenizers`` library reports
leave the second character out of every token. The normal form gives the same tokens with exact offsets; this module
maps these back to the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from unicodedata import category, combining, normalize

import numpy as np
import numpy.typing as npt

Form = Literal["NFC", "NFKC"]
Spans = list[tuple[int, int]]


def source_spans(text: str, form: Form) -> npt.NDArray[np.int64] | None:
    """The characters of a text that each character of its normal form is made of.

    Args:
        text: any text.
        form: of the normal form.

    Returns:
        ``[start, end)`` for each character of ``normalize(form, text)``, shape (characters, 2); both columns are
        non-decreasing and the spans cover the text. Characters that the normal form reorders share one span. None if
        the normal form of the whole differs from that of its parts.

    >>> source_spans("cafe\\u0301", "NFC").tolist()
    [[0, 1], [1, 2], [2, 3], [3, 5]]
    """
    spans: Spans = []
    parts: list[str] = []
    for start, end in _segments(text, form):
        segment = text[start:end]
        shaped = normalize(form, segment)
        within = [(at, at + 1) for at in range(len(segment))] if shaped == segment else _within(segment, shaped, form)
        spans += [(start + first, start + last) for first, last in within]
        parts.append(shaped)
    if "".join(parts) != normalize(form, text):
        return None
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def extends_character(text: str, at: int) -> bool:
    """Whether the character at an index modifies the one before it: a combining mark, or a part that composes with it.

    >>> [extends_character("e\\u0301 x", at) for at in (1, 2)]
    [True, False]
    """
    if at == 0:
        return False
    if category(text[at]).startswith("M"):
        return True
    before = text[max(0, at - 2) : at]  # Hangul syllables have up to three parts
    return not text[at].isascii() and len(normalize("NFKC", before + text[at])) <= len(normalize("NFKC", before))


def _segments(text: str, form: Form) -> Iterator[tuple[int, int]]:
    """Parts of the text that the normal form does not join, ``[start, end)``."""
    decomposed: Literal["NFD", "NFKD"] = "NFD" if form == "NFC" else "NFKD"
    start = 0
    for at in range(1, len(text)):
        character = text[at]
        if combining(normalize(decomposed, character)[0]):
            continue
        if not character.isascii():
            before = text[start:at]
            if normalize(form, before + character) != normalize(form, before) + normalize(form, character):
                continue
        yield start, at
        start = at
    if text:
        yield start, len(text)


def _within(segment: str, shaped: str, form: Form) -> Spans:
    """Spans of one segment's normalised characters, by the code points that both decompose to."""
    decomposed: Literal["NFD", "NFKD"] = "NFD" if form == "NFC" else "NFKD"
    pool = [(point, at) for at, character in enumerate(segment) for point in normalize(decomposed, character)]
    spans: Spans = []
    for character in shaped:
        sources = []
        for point in normalize(decomposed, character):
            place = next((place for place, (candidate, _) in enumerate(pool) if candidate == point), None)
            if place is None:
                return [(0, len(segment))] * len(shaped)
            sources.append(pool.pop(place)[1])
        spans.append((min(sources), max(sources) + 1))
    return _without_crossings(spans)


def _without_crossings(spans: Spans) -> Spans:
    """The spans; those that cross, because the normal form reorders characters, become their union."""
    blocks: list[tuple[int, int, int]] = []  # start, end, how many characters share it
    for start, end in spans:
        block = (start, end, 1)
        while blocks and start < blocks[-1][1] and block[:2] != blocks[-1][:2]:
            before = blocks.pop()
            start, end = min(start, before[0]), max(end, before[1])
            block = (start, end, block[2] + before[2])
        blocks.append(block)
    return [(start, end) for start, end, count in blocks for _ in range(count)]
