"""A batch packed into one line holds all texts without padding; neighbours share the tokens of a common start."""

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
    """The length up to which all texts are padded: one that splits these texts into groups, and the default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts_module, "_SHORT", request.param)
        yield


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Text], int]:
    """Texts that begin with the same few tokens and then agree by chance, and the number of tokens that are skipped."""
    skip = draw(st.integers(0, 4))
    texts = []
    for _ in range(draw(st.integers(1, 6))):
        own_tokens = draw(st.lists(st.integers(0, 1), min_size=1, max_size=9))
        ids = np.array([7] * skip + own_tokens)
        scored = draw(st.integers(1, len(own_tokens)))
        texts.append(Text(ids, np.arange(scored) + 100))
    return texts, skip


@cases(300)
@given(batches())
def test_line_holds_each_text(case: tuple[list[Text], int]) -> None:
    """Rows hold the texts' tokens, positions count them, and ``predicting`` holds the places before the targets."""
    texts, skip = case
    line = pack(texts, skip)
    order = sorted(range(len(texts)), key=lambda i: -texts[i].ids.size)
    rows = dict(zip(order, (row for rows in line.rows for row in rows), strict=True))
    for i, text in enumerate(texts):
        places = rows[i][: text.ids.size - skip]
        assert line.ids[places].tolist() == text.ids[skip:].tolist()
        assert line.positions[places].tolist() == list(range(skip, text.ids.size))
    expected = [rows[i][text.lead - skip : text.ids.size - skip] for i, text in enumerate(texts)]
    assert line.predicting.tolist() == np.concatenate(expected).tolist()
    assert line.reach == max(text.ids.size for text in texts)


@cases(300)
@given(batches())
def test_every_token_of_the_line_has_one_home_row(case: tuple[list[Text], int]) -> None:
    """Its attention is computed in that row, in which all earlier tokens of its text come before it."""
    texts, skip = case
    line = pack(texts, skip)
    assert line.home.size == line.ids.size == line.positions.size
    flat = np.concatenate([rows.flatten() for rows in line.rows])
    column = np.concatenate([np.arange(rows.size) % rows.shape[1] for rows in line.rows])
    assert flat[line.home].tolist() == list(range(line.ids.size))
    assert (column[line.home] + skip == line.positions).all()


def test_a_short_text_is_not_padded_to_a_long_one() -> None:
    """A text joins a group if it has three quarters of the longest text's length, or if the padding is short."""
    sizes = [1000, 16, 760, 740, 560, 90, 1000, 500]
    texts = [Text(np.full(size, i), np.array([0])) for i, size in enumerate(sizes)]
    shapes = [rows.shape for rows in pack(texts, 0).rows]
    assert shapes in ([(3, 1000), (2, 740), (1, 500), (2, 90)], [(3, 1000), (2, 740), (1, 500), (1, 90), (1, 16)])
    assert [rows[0, 0] for rows in pack(texts, 0).rows][:2] == [0, 1000 + 16 + 760]


def test_sorted_texts_share_all_common_prefixes() -> None:
    """Sorted texts take one place for each node of their prefix tree."""
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
    """Texts of 12, 12, 12 and 6 tokens; 2 are skipped, and 7 shared by three texts: 10, 13, 16 and 20 tokens differ."""
    shared = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    texts = [Text(np.array([*shared, 10 + i, 11 + i, 12 + i]), np.array([0])) for i in range(3)]
    texts.append(Text(np.array([1, 2, 0, 0, 0, 0]), np.array([0])))
    assert size.take(texts, skip=2) == taken


def test_padding_counts_towards_the_size() -> None:
    """Attention reads rows of the longest text's length, so padding is limited to twice the size."""
    texts = [Text(np.full(size, size), np.array([0])) for size in (50, 1, 2, 3, 4)]
    assert BatchSize(tokens=75).take(texts, skip=0) == 3


def test_a_batch_that_did_not_fit_is_halved() -> None:
    """A limit on texts becomes half of the texts read; a limit on tokens becomes half of the tokens read."""
    assert BatchSize(texts=8).halved(6, 600) == BatchSize(texts=3)
    assert BatchSize(texts=8, tokens=1000).halved(6, 600) == BatchSize(texts=8, tokens=300)
