"""The tree of shared prefixes holds every text once, and no prefix covers a token that a text must read itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.scoring import prefix_tree as module
from rbridge_tasks.scoring.prefix_tree import MIN_SHARED_TOKENS, PrefixNode, prefix_tree, shared_tokens

from ..metrics.strategies import cases

Fits = Callable[[int, int, int], bool]


@st.composite
def texts_and_limits(draw: st.DrawFn) -> tuple[list[np.ndarray], list[int]]:
    """Texts that branch off each other at random positions, and the number of tokens that each may skip."""
    texts: list[list[int]] = []
    for _ in range(draw(st.integers(1, 12))):
        parent: list[int] = draw(st.sampled_from([[], *texts]))
        start = parent[: draw(st.integers(0, len(parent)))]
        texts.append(start + draw(st.lists(st.integers(0, 2), min_size=1 - bool(start), max_size=12)))
    limits = [draw(st.integers(0, len(text) - 1)) for text in texts]
    return [np.array(text) for text in texts], limits


@cases(300)
@given(texts_and_limits(), st.integers(1, 6), st.integers(1, 30))
def test_every_text_is_in_one_node_that_it_begins_with(
    case: tuple[list[np.ndarray], list[int]], least: int, room: int
) -> None:
    """For any texts and batch limit: all texts below a node begin with its prefix and may skip all of it."""
    texts, limits = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIN_SHARED_TOKENS", least)
        tree = prefix_tree(texts, limits, lambda _count, different, _padded: different <= room)
    nodes = list(tree.walk())
    assert sorted(i for node in nodes for i in node.texts) == list(range(len(texts)))
    for node in nodes:
        below = [i for child in node.walk() for i in child.texts]
        assert all(node.length <= limits[i] for i in below)
        assert len({tuple(texts[i][: node.length]) for i in below}) == 1
        for child in node.children:
            assert child.length >= node.length + least
            assert len([i for inner in child.walk() for i in inner.texts]) > 1


@cases(200)
@given(texts_and_limits(), st.integers(1, 6), st.data())
def test_a_text_that_is_set_apart_keeps_its_prefixes(
    case: tuple[list[np.ndarray], list[int]], least: int, data: st.DataObject
) -> None:
    """Every text stays in one node, and the text has a batch of its own there."""
    texts, limits = case
    apart = data.draw(st.integers(0, len(texts) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIN_SHARED_TOKENS", least)
        tree = prefix_tree(texts, limits)
        above = [node.length for node in tree.walk() if any(apart in child.texts for child in node.walk())]
        prefixes = tree.set_apart(apart)
    nodes = list(tree.walk())
    assert sorted(i for node in nodes for i in (*node.apart, *node.texts)) == list(range(len(texts)))
    assert prefixes == tuple(length for length in above if length)
    (home,) = (node for node in nodes if apart in node.apart)
    assert home.length == (prefixes[-1] if prefixes else 0)


def test_prompts_within_prompts() -> None:
    """A preamble, two tasks below it, and one question with many traces: prefixes are nested nodes."""
    preamble, first, second, question = np.split(np.arange(400), [100, 200, 300])
    tails = [np.full(20, 1000 + i) for i in range(12)]
    texts = [np.concatenate([preamble, first, tail]) for tail in tails[:4]]
    texts += [np.concatenate([preamble, second, tail]) for tail in tails[4:8]]
    texts += [np.concatenate([preamble, second, question, tail]) for tail in tails[8:]]

    def shape(node: PrefixNode) -> object:
        return node.length, sorted(node.texts), [shape(child) for child in node.children]

    tree = prefix_tree(texts, [text.size - 20 for text in texts])
    below_second: object = (200, [4, 5, 6, 7], [(300, [8, 9, 10, 11], [])])
    assert shape(tree) == (0, [], [(100, [], [(200, [0, 1, 2, 3], []), below_second])])


def test_texts_that_fit_into_a_batch_are_not_split() -> None:
    """Four traces of one question fit into a batch and stay together; all 24 do not, so their prompt is a node."""
    prompt, rng = np.arange(100), np.random.default_rng(0)
    questions = [np.concatenate([prompt, rng.integers(200, 300, 50)]) for _ in range(6)]
    texts = [np.concatenate([question, rng.integers(300, 400, 9)]) for question in questions for _ in range(4)]
    calls: list[tuple[int, int, int]] = []

    def fits(count: int, different: int, padded: int) -> bool:
        calls.append((count, different, padded))
        return count <= 8

    tree = prefix_tree(texts, [150] * 24, fits)
    (node,) = tree.children
    assert (tree.texts, node.length, node.children) == ([], 100, [])
    assert [len({i // 4 for i in node.texts[at : at + 4]}) for at in range(0, 24, 4)] == [1] * 6
    assert calls[0] == (24, 100 + 6 * 50 + 24 * 9, 24 * 159)
    assert calls[1:] == [(4, 50 + 4 * 9, 4 * 59)] * 6


def test_a_text_that_may_skip_nothing_does_not_prevent_sharing() -> None:
    """A trace scored from its first token is read alone; the texts before and after it in the order share a prefix."""
    prompt = np.arange(80)
    texts = [np.append(prompt, [5, 1]), np.append(prompt, [5, 2]), np.append(prompt, [5, 3])]
    tree = prefix_tree(texts, [81, 0, 81])
    (node,) = tree.children
    assert (tree.texts, node.length, sorted(node.texts)) == ([1], 81, [0, 2])


def test_a_short_common_prefix_is_no_node() -> None:
    """A prefix shorter than the minimum is read with each text; the longest text comes first."""
    prefix = np.arange(MIN_SHARED_TOKENS - 1)
    texts = [np.append(prefix, np.full(size, 100 + size)) for size in (3, 9, 5)]
    tree = prefix_tree(texts, [prefix.size] * 3)
    assert (tree.texts, tree.children) == ([1, 2, 0], [])


def test_number_of_shared_tokens() -> None:
    """Counted up to the first difference, or to the end of the shorter text."""
    assert shared_tokens(np.array([1, 2, 3]), np.array([1, 2, 4])) == 2
    assert shared_tokens(np.array([1, 2]), np.array([1, 2, 4])) == 2
    assert shared_tokens(np.array([], dtype=np.int64), np.array([1])) == 0
