"""Confidence and spans of proxy tokens, for tokens that share characters or have none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import AlignmentError, character_confidence, span_overlap, token_confidence

from . import reference
from .float_comparison import assert_equal_up_to_rounding
from .strategies import cases, cuts, logprobs, texts, tilings

NAN, INF = math.nan, math.inf


def start_and_end(ends: list[int]) -> tuple[list[int], list[int]]:
    """First characters and end offsets of tokens that tile the trace."""
    return [0, *ends[:-1]], ends


def test_worked_example_of_the_design() -> None:
    """``Sum| mod|ulo`` at 0.9, 0.5, 1.0 read through ``Su|m mod|ulo``: 0.9, (0.9 + 4 * 0.5) / 5 = 0.58, 1.0."""
    characters = character_confidence([3, 7, 10], np.log([0.9, 0.5, 1.0]))
    np.testing.assert_allclose(characters, [0.9] * 3 + [0.5] * 4 + [1.0] * 3, rtol=1e-15)
    np.testing.assert_allclose(token_confidence(characters, [0, 2, 7], [2, 7, 10]), [0.9, 0.58, 1.0], rtol=1e-15)


def test_equal_characters_give_exactly_equal_tokens() -> None:
    """0.1 + 0.1 + 0.1 is not 3 * 0.1 in floats; tokens of one to nine such characters all get 0.1 nevertheless."""
    ends = np.cumsum(np.arange(1, 10))
    confidence = token_confidence([0.1] * int(ends[-1]), np.append(0, ends[:-1]), ends)
    assert set(confidence.tolist()) == {0.1}


def test_proxy_tokens_that_share_a_character_both_count_it() -> None:
    """Characters 0.2, 0.4, 1.0 where two tokens each hold part of the second: (0.2 + 0.4) / 2 and (0.4 + 1.0) / 2."""
    shared = token_confidence([0.2, 0.4, 1.0], [0, 1], [2, 3])
    np.testing.assert_allclose(shared, [0.3, 0.7], rtol=1e-15)


def test_tokens_without_characters_take_the_confidence_of_the_next_token() -> None:
    """Empty tokens at the start and in the middle take the next confidence, an empty last token the previous one."""
    confidence = token_confidence([0.2, 0.6], [0, 0, 1, 1, 2], [0, 1, 1, 2, 2])
    np.testing.assert_allclose(confidence, [0.2, 0.2, 0.6, 0.6, 0.6], rtol=1e-15)


def test_token_overlaps_a_span_from_its_first_to_its_last_character() -> None:
    """Span [3, 6) over tokens of two characters overlaps the tokens of characters 3 to 5 only."""
    assert span_overlap([0, 2, 4, 6], [2, 4, 6, 8], [(3, 6)]).tolist() == [False, True, True, False]


def test_empty_spans_mark_nothing() -> None:
    """A span without characters, or no span at all, marks no token."""
    assert not span_overlap([0, 2], [2, 4], [(1, 1)]).any()
    assert not span_overlap([0, 2], [2, 4], []).any()


def test_span_far_beyond_the_trace_costs_no_memory() -> None:
    """A span end far beyond the trace marks the rest of the trace."""
    assert span_overlap([0, 2], [2, 4], [(3, 2**60)]).tolist() == [False, True]


@cases(1000)
@given(st.data(), st.lists(logprobs().map(math.exp), min_size=1, max_size=60))
def test_confidence_is_conserved_by_any_tiling(data: st.DataObject, characters: list[float]) -> None:
    """The sum over tokens of confidence times length is the sum over characters."""
    starts, ends = start_and_end(data.draw(tilings(len(characters))))
    confidence = token_confidence(characters, starts, ends)
    assert_equal_up_to_rounding(confidence @ (np.array(ends) - starts), math.fsum(characters))


@cases(700)
@given(st.data(), st.lists(logprobs().map(math.exp), min_size=1, max_size=60))
def test_confidence_by_character_averages_to_that_of_any_tiling(data: st.DataObject, characters: list[float]) -> None:
    """Tokens of one character have the confidences of the characters; longer tokens have their means."""
    positions = np.arange(len(characters))
    by_character = token_confidence(characters, positions, positions + 1)
    np.testing.assert_array_equal(by_character, characters)
    starts, ends = start_and_end(data.draw(tilings(len(characters))))
    averaged = [by_character[start:end].mean() for start, end in zip(starts, ends, strict=True)]
    assert_equal_up_to_rounding(token_confidence(characters, starts, ends), averaged)


@cases(500)
@given(
    st.lists(st.floats(1e-30, 1e-20), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=200),
)
def test_confidence_of_a_token_depends_on_its_own_characters_only(rare: list[float], before: list[float]) -> None:
    """A token of confidence 1e-20 after hundreds of confident characters keeps its precision."""
    characters = [*before, *rare]
    confidence = token_confidence(characters, [0, len(before)], [len(before), len(characters)])
    assert_equal_up_to_rounding(confidence[1], math.fsum(rare) / len(rare))


@cases(1000)
@given(st.data(), texts())
def test_proxy_tokens_cut_at_any_byte_equal_the_character_loop(data: st.DataObject, text: str) -> None:
    """Tokens that share characters, have none or precede the first have the mean over the characters they overlap."""
    characters = data.draw(st.lists(logprobs().map(math.exp), min_size=len(text), max_size=len(text)))
    byte_end = data.draw(cuts(len(text.encode())))
    covered = reference.characters_of_byte_tokens(text, [0, *byte_end[:-1]], byte_end)
    leading = data.draw(st.integers(0, 3))
    starts = [0] * leading + [start for start, _ in covered]
    ends = [0] * leading + [end for _, end in covered]
    confidence = token_confidence(characters, starts, ends)
    assert_equal_up_to_rounding(confidence, reference.token_confidence(characters, starts, ends))
    assert confidence.min() >= min(characters)
    assert confidence.max() <= max(characters)


@cases(700)
@given(st.data(), texts())
def test_span_overlap_equals_the_character_loop(data: st.DataObject, text: str) -> None:
    """For nested, adjacent, empty and overlapping spans, a token is marked if one of its characters lies in a span."""
    byte_end = data.draw(cuts(len(text.encode())))
    covered = reference.characters_of_byte_tokens(text, [0, *byte_end[:-1]], byte_end)
    starts, ends = [start for start, _ in covered], [end for _, end in covered]
    offset = st.integers(0, len(text) + 3)
    spans = data.draw(st.lists(st.tuples(offset, offset).map(lambda pair: (min(pair), max(pair))), max_size=5))
    assert span_overlap(starts, ends, spans).tolist() == reference.span_overlap(starts, ends, spans)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: token_confidence([0.5, NAN], [0], [1]), id="character confidence is NaN"),
        pytest.param(lambda: token_confidence([0.5, INF], [0], [1]), id="character confidence is infinite"),
        pytest.param(lambda: token_confidence([0.5, -0.7], [0], [1]), id="log-probabilities given as confidences"),
        pytest.param(lambda: token_confidence([0.5, 1.1], [0], [1]), id="character confidence above 1"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [1], [0]), id="proxy token reversed"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [0], [3]), id="proxy token runs over the end"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [-1], [1]), id="proxy token starts before the trace"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [0.5], [1]), id="proxy token starts inside a character"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [0, 1], [1]), id="fewer ends than starts"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [[0, 1]], [[1, 2]]), id="proxy tokens of two traces"),
        pytest.param(lambda: token_confidence([[0.5, 0.5]], [0], [1]), id="characters of two traces"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [0, 1], [0, 1]), id="no proxy token covers a character"),
        pytest.param(lambda: token_confidence([0.5, 0.5], [], []), id="no proxy tokens"),
        pytest.param(lambda: token_confidence([], [0], [0]), id="no characters"),
        pytest.param(lambda: token_confidence([], [], []), id="no characters and no proxy tokens"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [(3, 1)]), id="span reversed"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [(-1, 1)]), id="span starts before the trace"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [1, 2, 3, 4]), id="spans not in pairs"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [(0, 1, 2), (1, 2, 3)]), id="spans of three offsets"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [(0, 1), (2,)]), id="span without an end"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [(0.5, 1.5)]), id="span inside a character"),
        pytest.param(lambda: span_overlap([0, 2], [2, 4], [(NAN, 1)]), id="span offset is NaN"),
        pytest.param(lambda: span_overlap([2, 0], [0, 2], [(0, 1)]), id="token beside a span reversed"),
        pytest.param(lambda: span_overlap([], [], [(0, 1)]), id="no tokens beside a span"),
    ],
)
def test_proxy_tokens_that_do_not_align_are_refused_in_one_line(call: Callable[[], object]) -> None:
    """Offsets, confidences and spans that do not fit give a one-line error, never a number."""
    with pytest.raises(AlignmentError) as refusal:
        call()
    assert "\n" not in str(refusal.value)
