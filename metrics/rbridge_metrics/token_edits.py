"""Levenshtein distance between two sequences of tokens."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Smallest number of insertions, deletions and replacements, each of one token, that turns one into the other.

    >>> edit_distance("half of 48 is 24".split(), "half of 48 makes 24 clips".split())
    2
    """
    from rapidfuzz.distance import Levenshtein

    number: dict[Hashable, int] = {}  # rapidfuzz compares hashes, which may collide
    numbered = [[number.setdefault(token, len(number)) for token in tokens] for tokens in (first, second)]
    return Levenshtein.distance(*numbered)
