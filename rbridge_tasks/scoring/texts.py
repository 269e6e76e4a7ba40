"""Texts to read, tokens to score, and batches of texts as one line of tokens without repetition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_tasks.scoring.prefix_tree import shared_tokens

Ids = npt.NDArray[np.int64]

#: A text is padded to a longer one if it has at least this share of its tokens, or if the longer has at most so many.
_LIKE_LENGTH, _SHORT = 0.75, 128


@dataclass(frozen=True, slots=True)
class Text:
    """Input tokens, the last of which predict ``targets``.

    Attributes:
        ids: shape (tokens,).
        targets: shape (scored,), with ``scored`` at most ``tokens``.
    """

    ids: Ids
    targets: Ids

    @property
    def lead(self) -> int:
        """Number of tokens before the token that predicts the first target."""
        return self.ids.size - self.targets.size


def longest_of(texts: Sequence[Text]) -> int:
    """Index of the longest text; of equally long ones, the first."""
    return max(range(len(texts)), key=lambda i: texts[i].ids.size)


@dataclass(frozen=True)
class Pack:
    """Texts as one line of tokens after a prefix; tokens that neighbours share stand once.

    Attributes:
        ids: shape (tokens,).
        positions: position of each token in its text, shape (tokens,).
        rows: indices in the line of the tokens of each text, the longest text first; a matrix (texts, longest), padded
            with 0, for each group of texts of similar length.
        home: index of each token of the line in the flattened, concatenated ``rows``, shape (tokens,).
        predicting: indices in the line of the tokens that predict the targets, text by text, shape (scored,).
        reach: tokens of the longest text, the prefix included.
    """

    ids: Ids
    positions: Ids
    rows: tuple[Ids, ...]
    home: Ids
    predicting: Ids
    reach: int


def pack(texts: Sequence[Text], skip: int) -> Pack:
    """Lay out texts that have their first ``skip`` tokens in common.

    A text's tokens stand once where it shares them with the text before it.

    >>> line = pack([Text(np.array([7, 1, 2, 3]), np.array([3, 9])), Text(np.array([7, 1, 4]), np.array([5]))], 1)
    >>> line.ids.tolist(), line.positions.tolist(), line.rows[0].tolist(), line.predicting.tolist()
    ([1, 2, 3, 4], [1, 2, 3, 2], [[0, 1, 2], [0, 3, 0]], [1, 2, 3])
    """
    ids, positions, places = [], [], []
    before, place = np.zeros((2, 0), dtype=np.int64)
    count = 0
    for text in texts:
        tokens = text.ids[skip:]
        shared = shared_tokens(before, tokens)
        ids.append(tokens[shared:])
        positions.append(np.arange(skip + shared, skip + tokens.size))
        place = np.concatenate([place[:shared], count + np.arange(tokens.size - shared)])
        places.append(place)
        before, count = tokens, count + tokens.size - shared
    rows, starts = _rows(places)
    return Pack(
        ids=np.concatenate(ids),
        positions=np.concatenate(positions),
        rows=rows,
        home=np.concatenate([start + new - skip for start, new in zip(starts, positions, strict=True)]),
        predicting=np.concatenate([place[text.lead - skip :] for text, place in zip(texts, places, strict=True)]),
        reach=max(text.ids.size for text in texts),
    )


def _rows(places: Sequence[Ids]) -> tuple[tuple[Ids, ...], list[int]]:
    """``Pack.rows`` of texts whose tokens are at ``places``, and the start of each text in the flattened rows."""
    groups: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: -places[i].size):
        longest = places[groups[-1][0]].size if groups else 0
        if not groups or (longest > _SHORT and places[i].size < _LIKE_LENGTH * longest):
            groups.append([])
        groups[-1].append(i)
    rows, starts, end = [], [0] * len(places), 0
    for group in groups:
        matrix = np.zeros((len(group), places[group[0]].size), dtype=np.int64)
        for row, i in zip(matrix, group, strict=True):
            row[: places[i].size] = places[i]
            starts[i], end = end, end + row.size
        rows.append(matrix)
    return tuple(rows), starts


@dataclass(frozen=True)
class BatchSize:
    """How much to read at once: a number of texts, of tokens, or both.

    Attributes:
        texts: largest number of texts.
        tokens: largest number of different tokens; twice as many after padding. A longer text is read alone.
    """

    texts: int | None = None
    tokens: int | None = None

    def fits(self, texts: int, different: int, padded: int) -> bool:
        """Whether this number of texts, of different tokens and of tokens after padding can be read at once."""
        if self.texts is not None and texts > self.texts:
            return False
        return self.tokens is None or (different <= self.tokens and padded <= 2 * self.tokens)

    def take(self, texts: Iterable[Text], skip: int) -> int:
        """Number of texts from the front that can be read at once after ``skip`` tokens, at least 1."""
        count = different = longest = 0
        before: Text | None = None
        for text in texts:
            known = skip if before is None else max(skip, shared_tokens(before.ids, text.ids))
            different += text.ids.size - known
            longest = max(longest, text.ids.size - skip)
            if count and not self.fits(count + 1, different, (count + 1) * longest):
                return count
            count, before = count + 1, text
        return count

    def halved(self, texts: int, tokens: int) -> BatchSize:
        """The size after a batch of this many texts and tokens did not fit into memory."""
        if self.tokens is None:
            return BatchSize(texts=texts // 2)
        return BatchSize(self.texts, tokens // 2)

    def __str__(self) -> str:
        return f"{self.texts}" if self.tokens is None else f"{self.tokens} tokens"
