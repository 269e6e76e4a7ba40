"""A batch laid out as one line is the same texts, without padding and without what neighbours share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.scoring import texts as texts_module
from rbridge_tasks.scoring.texts import BatchSize, Text, pack

from ..metrics.strategies import cases


@pytest.fixture(autouse=True, scope="module", params=[2, 128])
def short(request: pytest.FixtureRequest) -> Iterator[None]:
    """The length up to which all texts are padded: so short that these fall into groups, or the usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts_module, "_SHORT", request.param)
        yield


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Text], int]:
    """Texts that begin with the same few tokens and otherwise agree by chance, and how many of those are skipped."""
    skip = draw(st.integers(0, 4))
    texts = []
    for _ in range(draw(st.integers(1, 6))):
        own = draw(st.lists(st.integers(0, 1), min_size=1, max_size=9))
        ids = np.array([7] * skip + own)
        scored = draw(st.integers(1, len(own)))
        texts.append(Text(ids, np.arange(scored) + 100))
    return texts, skip


@cases(300)
@given(batches())
def test_line_holds_each_text(case: tuple[list[Text], int]) -> None:
    """Rows spell the texts, positions count their tokens, the predicting ones are those before each target."""
    texts, skip = case
    line = pack(texts, skip)
    order = sorted(range(len(texts)), key=lambda i: -texts[i].ids.size)
    rows = dict(zip(order, (row for rows in line.rows for row in rows), strict=True))
    for i, text in enumerate(texts):
        own = rows[i][: text.ids.size - skip]
        assert line.ids[own].tolist() == text.ids[skip:].tolist()
        assert line.positions[own].tolist() == list(range(skip, text.ids.size))
    expected = [rows[i][text.lead - skip : text.ids.size - skip] for i, text in enumerate(texts)]
    assert line.predicting.tolist() == np.concatenate(expected).tolist()
    assert line.targets.tolist() == [target for text in texts for target in text.targets]
    assert line.reach == max(text.ids.size for text in texts)


@cases(300)
@given(batches())
def test_every_token_of_the_line_is_at_home_in_one_row(case: tuple[list[Text], int]) -> None:
    """Its attention is computed there, where all that comes before it in its text comes before it in the row."""
    texts, skip = case
    line = pack(texts, skip)
    assert line.home.size == line.ids.size == line.positions.size
    flat = np.concatenate([rows.flatten() for rows in line.rows])
    column = np.concatenate([np.arange(rows.size) % rows.shape[1] for rows in line.rows])
    assert flat[line.home].tolist() == list(range(line.ids.size))
    assert (column[line.home] + skip == line.positions).all()


def test_a_short_text_is_not_padded_to_a_long_one() -> None:
    """Three quarters of the longest is near enough, or few tokens; each group is as long as its longest text."""
    sizes = [1000, 16, 760, 740, 560, 90, 1000, 500]
    texts = [Text(np.full(size, i), np.array([0])) for i, size in enumerate(sizes)]
    shapes = [rows.shape for rows in pack(texts, 0).rows]
    assert shapes in ([(3, 1000), (2, 740), (1, 500), (2, 90)], [(3, 1000), (2, 740), (1, 500), (1, 90), (1, 16)])
    assert [rows[0, 0] for rows in pack(texts, 0).rows][:2] == [0, 1000 + 16 + 760]


def test_texts_in_order_share_all_they_can() -> None:
    """Sorted texts take as many places as the tree that they form has nodes."""
    rng = np.random.default_rng(0)
    texts = sorted((rng.integers(0, 2, 12).tolist() for _ in range(40)), key=tuple)
    nodes = {tuple(text[:end]) for text in texts for end in range(1, 13)}
    line = pack([Text(np.array(text), np.array([0])) for text in texts], 0)
    assert line.ids.size == len(nodes)


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        (BatchSize(texts=2), 2),
        (BatchSize(texts=9), 4),
        (BatchSize(tokens=10), 1),
        (BatchSize(tokens=13), 2),
        (BatchSize(tokens=16), 3),
        (BatchSize(tokens=30), 4),
        (BatchSize(texts=3, tokens=30), 3),
        (BatchSize(tokens=1), 1),
    ],
)
def test_batch_is_as_large_as_its_size_allows(size: BatchSize, taken: int) -> None:
    """Of texts of 12, 12, 12 and 6 tokens behind 2 read before, which share 7 more, 10, 13, 16 and 20 are different."""
    begun = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    texts = [Text(np.array([*begun, 10 + i, 11 + i, 12 + i]), np.array([0])) for i in range(3)]
    texts.append(Text(np.array([1, 2, 0, 0, 0, 0]), np.array([0])))
    assert size.take(texts, skip=2) == taken


def test_padding_counts_towards_the_size() -> None:
    """A long text with many short ones beside it: attention reads rows of its length, so no more than twice as much."""
    texts = [Text(np.full(size, size), np.array([0])) for size in (50, 1, 2, 3, 4)]
    assert BatchSize(tokens=75).take(texts, skip=0) == 3


def test_half_of_a_batch_that_did_not_fit() -> None:
    """A number of texts halves by the texts that were read, a number of tokens by the tokens."""
    assert BatchSize(texts=8).halved(6, 600) == BatchSize(texts=3)
    assert BatchSize(texts=8, tokens=1000).halved(6, 600) == BatchSize(texts=8, tokens=300)
