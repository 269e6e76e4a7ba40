"""Which texts begin with the same tokens: a tree of prefixes to read once, and the order to read the texts in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

#: A prefix that adds fewer tokens than this to what is shared already is read again with each text.
MIN_SHARED_TOKENS = 32


@dataclass
class PrefixNode:
    """A prefix, the texts to read behind it, and longer prefixes that begin with it.

    Attributes:
        length: tokens of the prefix; 0 at the root.
        texts: indices of the texts that are read behind this prefix, those that share more beside each other,
            otherwise the longest first.
        children: prefixes that many texts share.
    """

    length: int = 0
    texts: list[int] = field(default_factory=list)
    children: list[PrefixNode] = field(default_factory=list)

    def walk(self) -> Iterator[PrefixNode]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def prefix_tree(
    texts: Sequence[Ids], limits: Sequence[int], fits: Callable[[int, int, int], bool] = lambda *_: False
) -> PrefixNode:
    """Find the prefixes worth keeping.

    Args:
        texts: token ids of each text.
        limits: how long a prefix each text can do without having read, at most; the tokens behind it are scored.
        fits: whether texts can be read at once, in which case what they share needs no keeping: called with their
            number, the tokens that are different, and the tokens of all if padded to the longest.

    Returns:
        The root. Every text is in exactly one node, whose prefix it begins with and is allowed to do without.

    >>> tree = prefix_tree([np.arange(50), np.arange(60), np.arange(5)], [49, 49, 4])
    >>> tree.texts, [(child.length, child.texts) for child in tree.children]
    ([2], [(49, [1, 0])])
    """
    order = sorted(range(len(texts)), key=lambda i: texts[i].astype(">u4").tobytes())
    shared = [0] + [shared_tokens(texts[a], texts[b]) for a, b in itertools.pairwise(order)]
    sizes = [text.size for text in texts]
    return _grow(list(zip(order, shared, strict=True)), 0, sizes, limits, fits)


#: A text and the number of tokens that it shares with the one before it in a list.
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
    """Neighbours that share at least ``length`` tokens; texts that cannot do without so many stand alone."""
    run: list[_Entry] = []
    least: int | None = None  # tokens shared with the last of the run, over those left out since
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
    """Number of tokens that two texts both begin with."""
    length = min(first.size, second.size)
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if different.size else length
