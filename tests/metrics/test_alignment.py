"""Frontier confidence reaches the right characters and proxy tokens, however the two tokenizations cut the text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import (
    AlignmentError,
    character_bytes,
    character_confidence,
    character_tokens,
    frontier_tokens,
    span_overlap,
    token_confidence,
)

from ..error_bounds import assert_within, stored_bound
from . import reference
from .strategies import byte_tokens, cases, cuts, logprobs, texts, tilings


def assert_same(found: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Equal but for rounding: at most a few hundred float64 additions, 1e-16 each. Below 1e-300 digits run out."""
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-12, atol=1e-300)


def letters_of(ends: list[int]) -> tuple[list[int], list[int]]:
    """Start and end characters of tokens that tile the trace."""
    return [0, *ends[:-1]], ends


def test_worked_example_of_the_design() -> None:
    """``Sum| mod|ulo`` at 0.9, 0.5, 1.0 read through ``Su|m mod|ulo``: 0.9, (0.9 + 4 * 0.5) / 5 = 0.58, 1.0."""
    characters = character_confidence([3, 7, 10], np.log([0.9, 0.5, 1.0]))
    np.testing.assert_allclose(characters, [0.9] * 3 + [0.5] * 4 + [1.0] * 3, rtol=1e-15)
    np.testing.assert_allclose(token_confidence(characters, [0, 2, 7], [2, 7, 10]), [0.9, 0.58, 1.0], rtol=1e-15)


def test_letter_split_over_three_tokens_takes_the_mean_of_its_bytes() -> None:
    """``x∑`` as bytes ``x|E2 88|91`` at 0.8, 0.6, 0.3: the sum sign gets (0.6 + 0.6 + 0.3) / 3 = 0.5."""
    ends, logprob = frontier_tokens("x∑", [1, 3, 4], np.log([0.8, 0.6, 0.3]))
    assert_within(character_confidence(ends, logprob), [0.8, 0.5], stored_bound([0.8, 0.5]))


def test_letter_split_between_its_neighbours_takes_from_both() -> None:
    """``a😀b`` (1, 4 and 1 bytes) as 3 + 3 bytes at 0.9 and 0.1: characters 0.9, (2 * 0.9 + 2 * 0.1) / 4 = 0.5, 0.1."""
    ends, logprob = frontier_tokens("a😀b", [3, 6], np.log([0.9, 0.1]))
    assert ends.tolist() == [1, 2, 3]
    assert_within(character_confidence(ends, logprob), [0.9, 0.5, 0.1], stored_bound([0.9, 0.5, 0.1]))


def test_unknown_tokens_lie_between_their_known_neighbours() -> None:
    """By hand: ``ab|c|d|e|f`` at ?, 0.8, ?, ?, 0.2: the first takes 0.8, the others 0.8 - 0.6/3 and 0.8 - 1.2/3."""
    characters = character_confidence([2, 3, 4, 5, 6], [NAN, math.log(0.8), NAN, NAN, math.log(0.2)])
    np.testing.assert_allclose(characters, [0.8, 0.8, 0.8, 0.6, 0.4, 0.2], rtol=8 * 2.0**-52)  # in float64


def test_a_character_with_an_unknown_byte_is_unknown() -> None:
    """``aé`` in the bytes 61 C3 | A9, of which the second is unknown: a is known, é is not."""
    ends, logprob = frontier_tokens("aéb", [2, 3, 4], [-0.5, NAN, -1.0])
    assert ends.tolist() == [1, 2, 3]
    assert np.isnan(logprob).tolist() == [False, True, False]


def test_letters_at_the_edges_of_utf8_lengths_get_their_own_bytes() -> None:
    """The first and last characters of 1, 2, 3 and 4 bytes, each byte a token of its own with its own probability."""
    text = "\x00\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"
    probability = np.linspace(0.05, 1.0, len(text.encode()))
    ends, logprob = frontier_tokens(text, np.arange(probability.size) + 1, np.log(probability))
    by_hand = [probability[start:end].mean() for start, end in [(0, 1), (1, 2), (2, 4), (4, 6), (6, 9), (9, 12)]]
    by_hand += [probability[12:16].mean(), probability[16:20].mean()]
    assert_within(character_confidence(ends, logprob), by_hand, stored_bound(by_hand))


def test_escaped_letter_takes_the_mean_of_the_bytes_that_spell_it() -> None:
    """``x\\u00e9y`` as ``x|\\u0|0e9y`` at 0.9, 0.6, 0.2: characters 0.9, (3 * 0.6 + 3 * 0.2) / 6 = 0.4, 0.2."""
    ends, logprob = character_tokens([1, 6, 1], [1, 4, 8], np.log([0.9, 0.6, 0.2]))
    assert ends.tolist() == [1, 2, 3]
    assert_within(character_confidence(ends, logprob), [0.9, 0.4, 0.2], stored_bound([0.9, 0.4, 0.2]))


def test_equal_letters_give_exactly_equal_tokens() -> None:
    """0.1 + 0.1 + 0.1 is not 3 * 0.1 in floats; tokens of one to nine such characters all get 0.1 nevertheless."""
    ends = np.cumsum(np.arange(1, 10))
    confidence = token_confidence([0.1] * int(ends[-1]), np.append(0, ends[:-1]), ends)
    assert set(confidence.tolist()) == {0.1}


def test_proxy_tokens_that_share_a_character_both_count_it() -> None:
    """Characters 0.2, 0.4, 1.0 where two tokens each hold part of the second: (0.2 + 0.4) / 2 and (0.4 + 1.0) / 2."""
    shared = token_confidence([0.2, 0.4, 1.0], [0, 1], [2, 3])
    np.testing.assert_allclose(shared, [0.3, 0.7], rtol=1e-15)


def test_tokens_without_letters_belong_to_the_next_token_that_has_some() -> None:
    """Leading space, zero-width token in the middle, special token at the end: next, next, and last confidence."""
    confidence = token_confidence([0.2, 0.6], [0, 0, 1, 1, 2], [0, 1, 1, 2, 2])
    np.testing.assert_allclose(confidence, [0.2, 0.2, 0.6, 0.6, 0.6], rtol=1e-15)


def test_token_overlaps_a_span_from_its_first_to_its_last_letter() -> None:
    """Span [3, 6) over tokens of two characters: touched from character 3 to 5, not by the tokens beside it."""
    assert span_overlap([0, 2, 4, 6], [2, 4, 6, 8], [(3, 6)]).tolist() == [False, True, True, False]


def test_empty_spans_mark_nothing() -> None:
    """A span without characters, or no span at all, leaves every token out."""
    assert not span_overlap([0, 2], [2, 4], [(1, 1)]).any()
    assert not span_overlap([0, 2], [2, 4], []).any()


def test_span_far_beyond_the_trace_costs_no_memory() -> None:
    """A span end that stands for "to the end", however large, marks the rest of the trace."""
    assert span_overlap([0, 2], [2, 4], [(3, 2**60)]).tolist() == [False, True]


@cases(1200)
@given(st.data(), texts())
def test_frontier_tokens_equal_the_byte_loop(data: st.DataObject, text: str) -> None:
    """Any Unicode, cut at any bytes: every character keeps the mean probability of its bytes.

    The tolerance is that of the float32 log-probabilities the function returns; no probability is lost to it.
    """
    byte_end, logprob = data.draw(byte_tokens(text))
    ends, stored = frontier_tokens(text, byte_end, logprob)
    assert ends[-1] == len(text)
    assert (np.diff(ends, prepend=0) > 0).all()
    found = character_confidence(ends, stored)
    expected = np.array(reference.letter_confidence_from_bytes(text, byte_end, logprob))
    assert_within(found, expected, stored_bound(expected))


@cases(200)
@given(st.data(), st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_letters_of_any_spelling_equal_the_byte_loop(data: st.DataObject, spelled: list[int]) -> None:
    """Characters spelled in any number of bytes, cut at any of them: each keeps the mean probability of its bytes.

    An entry ends where a token does, or around a character that a token end cuts, and nowhere else.
    """
    byte_end = data.draw(cuts(sum(spelled)))
    logprob = data.draw(st.lists(logprobs(), min_size=len(byte_end), max_size=len(byte_end)))
    ends, stored = character_tokens(spelled, byte_end, logprob)
    of_bytes = reference.character_confidence(byte_end, logprob)
    letter_end = np.cumsum(spelled).tolist()
    characters = list(zip([0, *letter_end], letter_end, strict=False))
    expected = np.array([math.fsum(of_bytes[start:end]) / (end - start) for start, end in characters])
    found = character_confidence(ends, stored)
    assert_within(found, expected, stored_bound(expected))
    cut = [any(start < end < stop for end in byte_end) for start, stop in characters]
    needed = [stop in byte_end or cut[at] or cut[at + 1] for at, (_, stop) in enumerate(characters[:-1])]
    assert ends.tolist() == [at + 1 for at, ends_here in enumerate([*needed, True]) if ends_here]


@cases(100)
@given(texts())
def test_letter_bytes_are_those_of_utf8(text: str) -> None:
    """Each character counts as many bytes as encoding it alone gives."""
    assert character_bytes(text).tolist() == [len(character.encode()) for character in text]


@cases(500)
@given(st.data(), texts())
def test_frontier_tokens_between_letters_stay_as_they_are(data: st.DataObject, text: str) -> None:
    """Tokens that do not cut a character come back one for one, with their log-probabilities untouched."""
    ends = data.draw(tilings(len(text)))
    logprob = data.draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))
    byte_end = [len(text[:end].encode()) for end in ends]
    found_ends, found = frontier_tokens(text, byte_end, logprob)
    assert found_ends.tolist() == ends
    np.testing.assert_array_equal(found, np.array(logprob, dtype=np.float32))


@cases(500)
@given(st.data(), texts())
def test_empty_frontier_tokens_change_nothing(data: st.DataObject, text: str) -> None:
    """Tokens of no bytes, also before the first character, leave ends and log-probabilities as without them."""
    ends = data.draw(tilings(len(text.encode())))
    logprob = data.draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))
    expected = frontier_tokens(text, ends, logprob)
    position = data.draw(st.integers(0, len(ends)))
    ends.insert(position, ends[position - 1] if position else 0)
    logprob.insert(position, data.draw(logprobs()))
    for found, without in zip(frontier_tokens(text, ends, logprob), expected, strict=True):
        np.testing.assert_array_equal(found, without)


@cases(700)
@given(st.data(), texts())
def test_frontier_tokens_cut_finer_change_nothing(data: st.DataObject, text: str) -> None:
    """Each byte a token of its own, with the probability of the token it came from: the same confidences."""
    byte_end, logprob = data.draw(byte_tokens(text))
    lengths = np.diff(byte_end, prepend=0)
    byte_by_byte = frontier_tokens(text, np.arange(byte_end[-1]) + 1, np.repeat(logprob, lengths))
    coarse = frontier_tokens(text, byte_end, logprob)
    assert_same(character_confidence(*byte_by_byte), character_confidence(*coarse))


@cases(500)
@given(st.data(), st.integers(1, 60))
def test_frontier_tokens_rewritten_by_character_change_nothing(data: st.DataObject, characters: int) -> None:
    """Each character a frontier token of its own, with the probability of the token it came from: the same numbers."""
    ends = data.draw(tilings(characters))
    logprob = data.draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))
    confidence = character_confidence(ends, logprob)
    assert_same(confidence, reference.character_confidence(ends, logprob))
    rewritten = character_confidence(np.arange(characters) + 1, np.repeat(logprob, np.diff(ends, prepend=0)))
    np.testing.assert_array_equal(confidence, rewritten)


@cases(1000)
@given(st.data(), st.lists(logprobs().map(math.exp), min_size=1, max_size=60))
def test_confidence_is_conserved_by_any_tiling(data: st.DataObject, characters: list[float]) -> None:
    """Over tokens that tile the trace, confidence times characters sums to the confidence of all characters."""
    starts, ends = letters_of(data.draw(tilings(len(characters))))
    confidence = token_confidence(characters, starts, ends)
    assert_same(confidence @ (np.array(ends) - starts), math.fsum(characters))


@cases(700)
@given(st.data(), st.lists(logprobs().map(math.exp), min_size=1, max_size=60))
def test_confidence_by_character_averages_to_that_of_any_tiling(data: st.DataObject, characters: list[float]) -> None:
    """Through a tokenization of single characters the confidences come back as they were, and average to any other."""
    positions = np.arange(len(characters))
    by_letter = token_confidence(characters, positions, positions + 1)
    np.testing.assert_array_equal(by_letter, characters)
    starts, ends = letters_of(data.draw(tilings(len(characters))))
    averaged = [by_letter[start:end].mean() for start, end in zip(starts, ends, strict=True)]
    assert_same(token_confidence(characters, starts, ends), averaged)


@cases(500)
@given(
    st.lists(st.floats(1e-30, 1e-20), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=200),
)
def test_confidence_of_a_token_depends_on_its_own_letters_only(rare: list[float], before: list[float]) -> None:
    """A token of confidence 1e-20 keeps its digits after hundreds of confident characters."""
    characters = [*before, *rare]
    confidence = token_confidence(characters, [0, len(before)], [len(before), len(characters)])
    assert_same(confidence[1], math.fsum(rare) / len(rare))


@cases(1000)
@given(st.data(), texts())
def test_proxy_tokens_cut_at_any_byte_equal_the_letter_loop(data: st.DataObject, text: str) -> None:
    """Tokens that share characters, cover none, or stand before the first: the mean over those each touches."""
    characters = data.draw(st.lists(logprobs().map(math.exp), min_size=len(text), max_size=len(text)))
    byte_end = data.draw(cuts(len(text.encode())))
    covered = reference.letters_of_byte_tokens(text, [0, *byte_end[:-1]], byte_end)
    leading = data.draw(st.integers(0, 3))
    starts = [0] * leading + [start for start, _ in covered]
    ends = [0] * leading + [end for _, end in covered]
    confidence = token_confidence(characters, starts, ends)
    assert_same(confidence, reference.token_confidence(characters, starts, ends))
    assert confidence.min() >= min(characters)
    assert confidence.max() <= max(characters)


@cases(700)
@given(st.data(), texts())
def test_span_overlap_equals_the_letter_loop(data: st.DataObject, text: str) -> None:
    """Nested, touching, empty and overlapping spans: a token counts if one of its characters lies in one of them."""
    byte_end = data.draw(cuts(len(text.encode())))
    covered = reference.letters_of_byte_tokens(text, [0, *byte_end[:-1]], byte_end)
    starts, ends = [start for start, _ in covered], [end for _, end in covered]
    offset = st.integers(0, len(text) + 3)
    spans = data.draw(st.lists(st.tuples(offset, offset).map(lambda pair: (min(pair), max(pair))), max_size=5))
    assert span_overlap(starts, ends, spans).tolist() == reference.span_overlap(starts, ends, spans)


NAN, INF = math.nan, math.inf
MISSING: Any = None  # what a null in JSON becomes


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: character_confidence([1, 3], [NAN, MISSING]), id="no frontier log-probability is known"),
        pytest.param(lambda: character_confidence([1, 3], [INF, -0.5]), id="frontier log-probability is infinite"),
        pytest.param(lambda: character_confidence([1, 3], [-0.5, 0.1]), id="frontier log-probability above 0"),
        pytest.param(lambda: character_confidence([2, 2], [-0.5, -0.5]), id="frontier token without characters"),
        pytest.param(lambda: character_confidence([3, 1], [-0.5, -0.5]), id="frontier tokens out of order"),
        pytest.param(lambda: character_confidence([0, 2], [-0.5, -0.5]), id="first frontier token ends at 0"),
        pytest.param(lambda: character_confidence([-1, 2], [-0.5, -0.5]), id="frontier token ends before the trace"),
        pytest.param(lambda: character_confidence([1, 2.5], [-0.5, -0.5]), id="frontier token ends inside a character"),
        pytest.param(lambda: character_confidence([1, NAN], [-0.5, -0.5]), id="frontier token end is NaN"),
        pytest.param(lambda: character_confidence([1, 2**70], [-0.5, -0.5]), id="frontier token end beyond 64 bits"),
        pytest.param(lambda: character_confidence([1, 2], [-0.5]), id="fewer log-probabilities than frontier tokens"),
        pytest.param(lambda: character_confidence([[1, 2]], [[-0.5, -0.5]]), id="frontier tokens of two traces"),
        pytest.param(lambda: character_confidence(3, -0.5), id="frontier token as a bare number"),
        pytest.param(lambda: character_confidence([], []), id="no frontier tokens"),
        pytest.param(lambda: frontier_tokens("aé", [1, 2], [-0.5, -0.5]), id="frontier bytes stop short"),
        pytest.param(lambda: frontier_tokens("aé", [1, 4], [-0.5, -0.5]), id="frontier bytes run over"),
        pytest.param(lambda: frontier_tokens("aé", [2, 1, 3], [-0.5] * 3), id="frontier bytes out of order"),
        pytest.param(lambda: frontier_tokens("aé", [-1, 3], [-0.5, -0.5]), id="frontier bytes start below 0"),
        pytest.param(lambda: frontier_tokens("aé", [1.5, 3], [-0.5, -0.5]), id="frontier byte end not whole"),
        pytest.param(lambda: frontier_tokens("aé", [3], [INF]), id="byte-level log-probability is infinite"),
        pytest.param(lambda: frontier_tokens("aé", [3], [0.1]), id="byte-level log-probability above 0"),
        pytest.param(lambda: frontier_tokens("aé", [1, 3], [-0.5]), id="fewer log-probabilities than byte ends"),
        pytest.param(lambda: frontier_tokens("aé", [], []), id="no byte-level tokens"),
        pytest.param(lambda: frontier_tokens("", [], []), id="empty trace"),
        pytest.param(lambda: frontier_tokens("", [0], [-0.5]), id="empty trace with an empty token"),
        pytest.param(lambda: frontier_tokens("a\ud800", [1, 4], [-0.5, -0.5]), id="half a surrogate pair"),
        pytest.param(lambda: character_bytes(""), id="bytes of no characters"),
        pytest.param(lambda: character_bytes("a\udc00"), id="bytes of half a surrogate pair"),
        pytest.param(lambda: character_tokens([], [], []), id="no spelled characters and no tokens"),
        pytest.param(lambda: character_tokens([], [0], [-0.5]), id="no spelled characters"),
        pytest.param(lambda: character_tokens([1, 0, 1], [2], [-0.5]), id="character spelled by no bytes"),
        pytest.param(lambda: character_tokens([3, -1], [2], [-0.5]), id="character spelled by fewer than no bytes"),
        pytest.param(lambda: character_tokens([1.5, 0.5], [2], [-0.5]), id="character spelled by half a byte"),
        pytest.param(lambda: character_tokens([[1, 1]], [2], [-0.5]), id="characters of two traces spelled"),
        pytest.param(lambda: character_tokens([6, 1], [6], [-0.5]), id="tokens stop before the last spelled character"),
        pytest.param(lambda: character_tokens([6, 1], [6, 8], [-0.5, -0.5]), id="tokens run over the characters"),
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
def test_input_that_does_not_align_is_refused_in_one_line(call: Callable[[], object]) -> None:
    """Offsets, confidences and text that do not fit end in one readable line, never in a number."""
    with pytest.raises(AlignmentError) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_refusal_names_the_first_token_that_fails() -> None:
    """The message leads to the token to look at."""
    with pytest.raises(AlignmentError, match=r"token 2 .* character 5"):
        character_confidence([2, 5, 5, 3], [-0.5] * 4)


def test_log_probability_a_rounding_error_above_0_is_certainty() -> None:
    """Servers round; 1e-7 nats too many is a confidence of exactly 1, not more."""
    assert character_confidence([2], [1e-7]).tolist() == [1.0, 1.0]
    assert frontier_tokens("é", [1, 2], [1e-7, 1e-7])[1].tolist() == [0.0]
