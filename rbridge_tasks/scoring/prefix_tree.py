"""A tree of the prefixes that texts share, to read each once, and the order in which to read the texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

#: A prefix that adds fewer tokens than this to its parent is not kept but read again with each text.
MIN_SHARED_TOKENS = 32


@dataclass
class PrefixNode:
    """A prefix, the texts to read behind it, and longer prefixes that begin with it.

    Attributes:
        length: tokens of the prefix; 0 at the root.
        texts: indices of the texts that are read after this prefix: texts that share more are neighbours, otherwise the
            longest comes first.
        children: longer prefixes.
        apart: indices of the texts that are read one at a time after this prefix, before the others.
    """

    length: int = 0
    texts: list[int] = field(default_factory=list)
    children: list[PrefixNode] = field(default_factory=list)
    apart: list[int] = field(default_factory=list)

    def walk(self) -> Iterator[PrefixNode]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def set_apart(self, text: int) -> tuple[int, ...]:
        """Move a text into a batch of its own.

        Returns:
            Lengths of the prefixes that are read before it, the shortest first.

        >>> PrefixNode(0, [2], [PrefixNode(49, [1, 0])]).set_apart(0)
        (49,)
        """
        own = (self.length,) if self.length else ()
        for child in self.children:
            if any(text in node.texts for node in child.walk()):
                return own + child.set_apart(text)
        self.texts.remove(text)
        self.apart.append(text)
        return own


def prefix_tree(
    texts: Sequence[Ids], limits: Sequence[int], fits: Callable[[int, int, int], bool] = lambda *_: False
) -> PrefixNode:
    """Find the prefixes worth keeping.

    Args:
        texts: token ids of each text.
        limits: longest prefix of each text that may be kept; the tokens after it are scored.
        fits: whether texts can be read at once, so that no prefix of theirs is kept: called with their number, the
            number of different tokens, and the number of tokens if all are padded to the longest.

    Returns:
        The root. Every text is in exactly one node, whose prefix it begins with and whose length is within its limit.

    >>> tree = prefix_tree([np.arange(50), np.arange(60), np.arange(5)], [49, 49, 4])
    >>> tree.texts, [(child.length, child.texts) for child in tree.children]
    ([2], [(49, [1, 0])])
    """
    order = sorted(range(len(texts)), key=lambda i: texts[i].astype(">u4").tobytes())
    shared = [0] + [shared_tokens(texts[a], texts[b]) for a, b in itertools.pairwise(order)]
    sizes = [text.size for text in texts]
    return _grow(list(zip(order, shared, strict=True)), 0, sizes, limits, fits)


#: A text and the number of tokens that it shares with the text before it in a list.
_Entry = tuple[int, int]


def _grow(
    entries: Sequence[_Entry], depth: int, sizes: Sequence[int], limits: Sequence[int], fits: Callable[..., bool]
) -> PrefixNode:
    node = PrefixNode(depth)
    beside: list[list[int]] = []
    for run in _runs(entries, depth + MIN_SHARED_TOKENS, limits):
        texts = [text for text, _ in run]
        length = min([limits[text] for text in texts] + [shared for _, shared in run[1:]])
        different = sum(sizes[text] - shared for text, shared in run[1:]) + sizes[texts[0]] - depth
        longest = max(sizes[text] for text in texts) - depth
        if len(run) == 1 or length < depth + MIN_SHARED_TOKENS or fits(len(run), different, len(run) * longest):
            beside.append(texts)
        else:
            node.children.append(_grow(run, length, sizes, limits, fits))
    beside.sort(key=lambda texts: max(sizes[text] for text in texts), reverse=True)
    node.texts = [text for texts in beside for text in texts]
    return node


def _runs(entries: Sequence[_Entry], length: int, limits: Sequence[int]) -> Iterator[list[_Entry]]:
    """Neighbours that share at least ``length`` tokens; texts with a smaller limit are single."""
    run: list[_Entry] = []
    least: int | None = None  # tokens shared with the last text of the run
    for text, shared in entries:
        least = shared if least is None else min(least, shared)
        if limits[text] < length:
            yield [(text, 0)]
            continue
        if run and least < length:
            yield run
            run = []
        run.append((text, least))
        least = None
    if run:
        yield run


def shared_tokens(first: Ids, second: Ids) -> int:
    """Length of the longest common prefix."""
    length = min(first.size, second.size)
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if different.size else length
