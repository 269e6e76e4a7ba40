"""Texts to read and the tokens to score in them, and a batch of them laid out as one line without repetition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_tasks.scoring.prefix_tree import shared_tokens

Ids = npt.NDArray[np.int64]

#: A text is padded to a longer one if it has this share of its tokens, or if that has no more than so many.
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
        """Number of tokens before the one that predicts the first target."""
        return self.ids.size - self.targets.size


@dataclass(frozen=True)
class Pack:
    """Texts as one line of tokens in which what they share, behind a prefix read before, stands once.

    Attributes:
        ids: shape (tokens,).
        positions: place of each token in its text, shape (tokens,).
        rows: where the tokens of each text stand in the line, the longest text first; texts of like length together,
            each group of shape (texts, longest), padded with 0.
        home: where each token of the line stands in ``rows``, flattened one behind the other, shape (tokens,).
        predicting: where the tokens stand that predict the targets, text by text, shape (scored,).
        targets: shape (scored,).
        reach: tokens of the longest text, the prefix included.
    """

    ids: Ids
    positions: Ids
    rows: tuple[Ids, ...]
    home: Ids
    predicting: Ids
    targets: Ids
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
        own = text.ids[skip:]
        known = shared_tokens(before, own)
        ids.append(own[known:])
        positions.append(np.arange(skip + known, skip + own.size))
        place = np.concatenate([place[:known], count + np.arange(own.size - known)])
        places.append(place)
        before, count = own, count + own.size - known
    rows, starts = _rows(places)
    return Pack(
        ids=np.concatenate(ids),
        positions=np.concatenate(positions),
        rows=rows,
        home=np.concatenate([start + new - skip for start, new in zip(starts, positions, strict=True)]),
        predicting=np.concatenate([place[text.lead - skip :] for text, place in zip(texts, places, strict=True)]),
        targets=np.concatenate([text.targets for text in texts]),
        reach=max(text.ids.size for text in texts),
    )


def _rows(places: Sequence[Ids]) -> tuple[tuple[Ids, ...], list[int]]:
    """``Pack.rows`` of texts whose tokens stand at ``places``, and where each text begins in them, flattened."""
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
    """How much to read at once: a number of texts, or of tokens, whichever is given.

    Attributes:
        texts: at most so many.
        tokens: at most so many that are different, and twice as many padded; a longer text is read alone.
    """

    texts: int | None = None
    tokens: int | None = None

    def fits(self, texts: int, different: int, padded: int) -> bool:
        """Whether so many texts, different tokens, and tokens if padded to the longest, can be read at once."""
        if self.texts is not None and texts > self.texts:
            return False
        return self.tokens is None or (different <= self.tokens and padded <= 2 * self.tokens)

    def take(self, texts: Iterable[Text], skip: int) -> int:
        """How many texts from the front can be read at once behind ``skip`` tokens, at least one."""
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
        """Half of what did not fit into memory: a batch of so many texts, of so many tokens together."""
        if self.tokens is None:
            return BatchSize(texts=texts // 2)
        return BatchSize(self.texts, tokens // 2)

    def __str__(self) -> str:
        return f"{self.texts}" if self.tokens is None else f"{self.tokens} tokens"
