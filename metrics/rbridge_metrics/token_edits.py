"""How many tokens to insert, delete or replace to turn one sequence into another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Levenshtein distance: the least number of insertions, deletions and replacements, each of one token.

    A row of the usual table at a time: within a row the cost of insertions is a running minimum, so that there are as
    many operations as tokens in the shorter sequence, on arrays of the longer one.

    Args:
        first: tokens, of any kind that compares.
        second: tokens of the same kind.

    >>> edit_distance("half of 48 is 24".split(), "half of 48 makes 24 clips".split())
    2
    """
    first, second = sorted((first, second), key=len)  # the fewer rows the faster
    number: dict[Hashable, int] = {}
    numbered = [np.array([number.setdefault(token, len(number)) for token in side], int) for side in (first, second)]
    places = np.arange(len(second) + 1)
    row = places.copy()
    for at, token in enumerate(numbered[0], start=1):
        replaced = row[:-1] + (numbered[1] != token)
        best = np.append(at, np.minimum(replaced, row[1:] + 1))
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])
