"""The token table returns tokens by item and in order, in whatever order they are read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import TraceError
from rbridge_traces.errors import UnusableItemError
from rbridge_traces.release.token_table import TokenTable

from ...metrics.strategies import cases
from ..support import complaint


@cases(60)
@given(st.data(), st.integers(0, 1))
def test_a_table_gives_what_was_put_in(data: st.DataObject, base: int) -> None:
    """The table agrees with a dictionary of lists for any items, tokens and order of rows."""
    piece = st.tuples(st.binary(max_size=4), st.floats(-20, 0) | st.just(math.nan))
    expected = data.draw(
        st.dictionaries(st.text(max_size=3), st.lists(piece, min_size=1, max_size=6), min_size=1, max_size=5)
    )
    rows = [(name, at, *token) for name, tokens in expected.items() for at, token in enumerate(tokens, start=base)]
    table = TokenTable()
    for number, (name, at, spelled, value) in enumerate(data.draw(st.permutations(rows)), start=1):
        if number % 3 == 1:
            table.begin(f"part {number}")
        table.add(table.item(name), at, spelled, value, number)
    assert len(table) == len(rows)
    for name, tokens in expected.items():
        pieces, values = table.of(table.items[name])
        assert pieces == [spelled for spelled, _ in tokens]
        np.testing.assert_array_equal(values, [value for _, value in tokens])


def filled(*rows: tuple[str, int, float], **options: bool) -> TokenTable:
    """A table of one-character tokens that are read from two files."""
    table = TokenTable(**options)
    for number, (name, position, value) in enumerate(rows, start=1):
        if number in (1, 3):
            table.begin(f"{number}.jsonl")
        table.add(table.item(name), position, b"x", value, number)
    return table


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([0, 1, 1], "3.jsonl, line 3: position 1 is that of 1.jsonl, line 2 too"),
        ([2, 0, 3], "1.jsonl, line 1: position 2 where 1 is next; positions count from 0"),
        ([2, 3, 4], "1.jsonl, line 1: position 2 where 0 is next; positions count from 0"),
        ([1, 2, 4], "3.jsonl, line 3: position 4 where 3 is next; positions count from 1"),
        ([-1, 0, 1], "1.jsonl, line 1: position -1 where 0 is next; positions count from 0"),
    ],
)
def test_positions_that_do_not_count_are_named(positions: list[int], expected: str) -> None:
    """A repeated or missing position is an error with file and line."""
    table = filled(*(("a", position, 0.0) for position in positions))
    assert expected in complaint(table.of, 0, error=UnusableItemError)


def test_an_item_that_begins_late_is_not_taken_to_count_from_one() -> None:
    """If other items have a position 0, an item that begins at 1 lacks its first token."""
    table = filled(("a", 0, 0.0), ("b", 1, 0.0))
    assert table.of(0)[0] == [b"x"]
    assert "position 1 where 0 is next" in complaint(table.of, 1, error=UnusableItemError)


def test_probabilities_become_logarithms() -> None:
    """In nats: 0 becomes minus infinity, NaN stays unknown, and other values outside [0, 1] are refused."""
    table = filled(("a", 0, 0.5), ("a", 1, 0.0), ("a", 2, math.nan), ("b", 0, -0.1), probabilities=True)
    np.testing.assert_array_equal(table.of(0)[1], [math.log(0.5), -math.inf, math.nan])
    assert "3.jsonl, line 4: the probability is -0.1" in complaint(table.of, 1, error=TraceError)
