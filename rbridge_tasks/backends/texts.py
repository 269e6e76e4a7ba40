"""Texts to read and the tokens to score in them, and a batch of them laid out as one line without repetition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_tasks.backends.prefix_tree import shared_tokens

Ids = npt.NDArray[np.int64]


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
        rows: where the tokens of each text stand in the line, shape (texts, longest); padded with 0.
        home: where each token of the line stands in the flattened ``rows``, shape (tokens,).
        predicting: where the tokens stand that predict the targets, text by text, shape (scored,).
        targets: shape (scored,).
        reach: tokens of the longest text, the prefix included.
    """

    ids: Ids
    positions: Ids
    rows: Ids
    home: Ids
    predicting: Ids
    targets: Ids
    reach: int


def pack(texts: Sequence[Text], skip: int) -> Pack:
    """Lay out texts that have their first ``skip`` tokens in common.

    A text's tokens stand once where it shares them with the text before it.

    >>> line = pack([Text(np.array([7, 1, 2, 3]), np.array([3, 9])), Text(np.array([7, 1, 4]), np.array([5]))], 1)
    >>> line.ids.tolist(), line.positions.tolist(), line.rows.tolist(), line.predicting.tolist()
    ([1, 2, 3, 4], [1, 2, 3, 2], [[0, 1, 2], [0, 3, 0]], [1, 2, 3])
    """
    longest = max(text.ids.size for text in texts) - skip
    rows = np.zeros((len(texts), longest), dtype=np.int64)
    ids, positions, home, predicting = [], [], [], []
    before: Ids = np.zeros(0, dtype=np.int64)
    count = 0
    for i, text in enumerate(texts):
        own = text.ids[skip:]
        known = shared_tokens(before, own)
        new = own.size - known
        rows[i, :known] = rows[i - 1, :known]
        rows[i, known : own.size] = np.arange(count, count + new)
        ids.append(own[known:])
        positions.append(np.arange(skip + known, skip + own.size))
        home.append(np.arange(i * longest + known, i * longest + own.size))
        predicting.append(rows[i, text.lead - skip : own.size])
        before, count = own, count + new
    return Pack(
        ids=np.concatenate(ids),
        positions=np.concatenate(positions),
        rows=rows,
        home=np.concatenate(home),
        predicting=np.concatenate(predicting),
        targets=np.concatenate([text.targets for text in texts]),
        reach=skip + longest,
    )


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
