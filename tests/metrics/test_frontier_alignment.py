"""Confidence of each character from frontier tokens, for tokens that end at any byte of the text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import AlignmentError, character_bytes, character_confidence, character_tokens, frontier_tokens

from ..error_bounds import assert_within, stored_bound
from . import reference
from .float_comparison import assert_equal_up_to_rounding
from .strategies import byte_tokens, cases, cuts, logprobs, texts, tilings

NAN, INF = math.nan, math.inf
MISSING: Any = None  # what a null in JSON becomes


def test_character_split_over_three_tokens_takes_the_mean_of_its_bytes() -> None:
    """``x∑`` as bytes ``x|E2 88|91`` at 0.8, 0.6, 0.3: the sum sign gets (0.6 + 0.6 + 0.3) / 3 = 0.5."""
    ends, logprob = frontier_tokens("x∑", [1, 3, 4], np.log([0.8, 0.6, 0.3]))
    assert_within(character_confidence(ends, logprob), [0.8, 0.5], stored_bound([0.8, 0.5]))


def test_character_split_between_two_tokens_takes_the_mean_of_both() -> None:
    """``a😀b`` (1, 4 and 1 bytes) as 3 + 3 bytes at 0.9 and 0.1: characters 0.9, (2 * 0.9 + 2 * 0.1) / 4 = 0.5, 0.1."""
    ends, logprob = frontier_tokens("a😀b", [3, 6], np.log([0.9, 0.1]))
    assert ends.tolist() == [1, 2, 3]
    assert_within(character_confidence(ends, logprob), [0.9, 0.5, 0.1], stored_bound([0.9, 0.5, 0.1]))


def test_unknown_tokens_lie_between_their_known_neighbours() -> None:
    """By hand: ``ab|c|d|e|f`` at ?, 0.8, ?, ?, 0.2: the first has 0.8, the next two 0.8 - 0.6/3 and 0.8 - 1.2/3."""
    characters = character_confidence([2, 3, 4, 5, 6], [NAN, math.log(0.8), NAN, NAN, math.log(0.2)])
    np.testing.assert_allclose(characters, [0.8, 0.8, 0.8, 0.6, 0.4, 0.2], rtol=8 * 2.0**-52)  # in float64


def test_a_character_with_an_unknown_byte_is_unknown() -> None:
    """``aé`` in the bytes 61 C3 | A9, of which the second is unknown: a is known, é is not."""
    ends, logprob = frontier_tokens("aéb", [2, 3, 4], [-0.5, NAN, -1.0])
    assert ends.tolist() == [1, 2, 3]
    assert np.isnan(logprob).tolist() == [False, True, False]


def test_first_and_last_characters_of_each_utf8_length_get_their_own_bytes() -> None:
    """Each byte is a token with a different probability; a character takes the mean over its bytes."""
    text = "\x00\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"
    probability = np.linspace(0.05, 1.0, len(text.encode()))
    ends, logprob = frontier_tokens(text, np.arange(probability.size) + 1, np.log(probability))
    by_hand = [probability[start:end].mean() for start, end in [(0, 1), (1, 2), (2, 4), (4, 6), (6, 9), (9, 12)]]
    by_hand += [probability[12:16].mean(), probability[16:20].mean()]
    assert_within(character_confidence(ends, logprob), by_hand, stored_bound(by_hand))


def test_escaped_character_takes_the_mean_of_the_bytes_that_spell_it() -> None:
    """``x\\u00e9y`` as ``x|\\u0|0e9y`` at 0.9, 0.6, 0.2: characters 0.9, (3 * 0.6 + 3 * 0.2) / 6 = 0.4, 0.2."""
    ends, logprob = character_tokens([1, 6, 1], [1, 4, 8], np.log([0.9, 0.6, 0.2]))
    assert ends.tolist() == [1, 2, 3]
    assert_within(character_confidence(ends, logprob), [0.9, 0.4, 0.2], stored_bound([0.9, 0.4, 0.2]))


@cases(1200)
@given(st.data(), texts())
def test_frontier_tokens_equal_the_byte_loop(data: st.DataObject, text: str) -> None:
    """For any Unicode text and any byte offsets, a character has the mean probability of its bytes.

    The tolerance is that of the float32 log-probabilities that the function returns.
    """
    byte_end, logprob = data.draw(byte_tokens(text))
    ends, stored = frontier_tokens(text, byte_end, logprob)
    assert ends[-1] == len(text)
    assert (np.diff(ends, prepend=0) > 0).all()
    confidence = character_confidence(ends, stored)
    expected = np.array(reference.character_confidence_from_bytes(text, byte_end, logprob))
    assert_within(confidence, expected, stored_bound(expected))


@cases(200)
@given(st.data(), st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_characters_of_any_spelling_equal_the_byte_loop(data: st.DataObject, spelled: list[int]) -> None:
    """Characters spelled in any number of bytes have the mean probability of these bytes, for any byte offsets.

    Frontier tokens end where a token ends between characters, and before and after a character that a token splits.
    """
    byte_end = data.draw(cuts(sum(spelled)))
    logprob = data.draw(st.lists(logprobs(), min_size=len(byte_end), max_size=len(byte_end)))
    ends, stored = character_tokens(spelled, byte_end, logprob)
    byte_confidence = reference.character_confidence(byte_end, logprob)
    character_end = np.cumsum(spelled).tolist()
    characters = list(zip([0, *character_end], character_end, strict=False))
    expected = np.array([math.fsum(byte_confidence[start:end]) / (end - start) for start, end in characters])
    confidence = character_confidence(ends, stored)
    assert_within(confidence, expected, stored_bound(expected))
    split = [any(start < end < stop for end in byte_end) for start, stop in characters]
    boundary = [stop in byte_end or split[at] or split[at + 1] for at, (_, stop) in enumerate(characters[:-1])]
    assert ends.tolist() == [at + 1 for at, ends_here in enumerate([*boundary, True]) if ends_here]


@cases(100)
@given(texts())
def test_character_bytes_are_those_of_utf8(text: str) -> None:
    """Each character counts as many bytes as its UTF-8 encoding has."""
    assert character_bytes(text).tolist() == [len(character.encode()) for character in text]


@cases(500)
@given(st.data(), texts())
def test_frontier_tokens_between_characters_are_unchanged(data: st.DataObject, text: str) -> None:
    """Tokens that do not split a character come back unchanged, with their log-probabilities."""
    ends = data.draw(tilings(len(text)))
    logprob = data.draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))
    byte_end = [len(text[:end].encode()) for end in ends]
    character_ends, stored = frontier_tokens(text, byte_end, logprob)
    assert character_ends.tolist() == ends
    np.testing.assert_array_equal(stored, np.array(logprob, dtype=np.float32))


@cases(500)
@given(st.data(), texts())
def test_empty_frontier_tokens_change_nothing(data: st.DataObject, text: str) -> None:
    """Tokens of no bytes, also before the first character, do not change ends and log-probabilities."""
    ends = data.draw(tilings(len(text.encode())))
    logprob = data.draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))
    expected = frontier_tokens(text, ends, logprob)
    position = data.draw(st.integers(0, len(ends)))
    ends.insert(position, ends[position - 1] if position else 0)
    logprob.insert(position, data.draw(logprobs()))
    for values, expected_values in zip(frontier_tokens(text, ends, logprob), expected, strict=True):
        np.testing.assert_array_equal(values, expected_values)


@cases(700)
@given(st.data(), texts())
def test_frontier_tokens_cut_finer_change_nothing(data: st.DataObject, text: str) -> None:
    """Splitting tokens into single bytes of the same probability gives the same confidences."""
    byte_end, logprob = data.draw(byte_tokens(text))
    lengths = np.diff(byte_end, prepend=0)
    byte_by_byte = frontier_tokens(text, np.arange(byte_end[-1]) + 1, np.repeat(logprob, lengths))
    coarse = frontier_tokens(text, byte_end, logprob)
    assert_equal_up_to_rounding(character_confidence(*byte_by_byte), character_confidence(*coarse))


@cases(500)
@given(st.data(), st.integers(1, 60))
def test_frontier_tokens_rewritten_by_character_change_nothing(data: st.DataObject, characters: int) -> None:
    """Splitting tokens into single characters of the same probability gives the same confidences."""
    ends = data.draw(tilings(characters))
    logprob = data.draw(st.lists(logprobs(), min_size=len(ends), max_size=len(ends)))
    confidence = character_confidence(ends, logprob)
    assert_equal_up_to_rounding(confidence, reference.character_confidence(ends, logprob))
    rewritten = character_confidence(np.arange(characters) + 1, np.repeat(logprob, np.diff(ends, prepend=0)))
    np.testing.assert_array_equal(confidence, rewritten)


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
    ],
)
def test_frontier_tokens_that_do_not_align_are_refused_in_one_line(call: Callable[[], object]) -> None:
    """Offsets, log-probabilities and text that do not fit give a one-line error, never a number."""
    with pytest.raises(AlignmentError) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_refusal_names_the_first_token_that_fails() -> None:
    """The message says which token and which character."""
    with pytest.raises(AlignmentError, match=r"token 2 .* character 5"):
        character_confidence([2, 5, 5, 3], [-0.5] * 4)


def test_log_probability_a_rounding_error_above_0_is_certainty() -> None:
    """Servers round: a log-probability of 1e-7 is a confidence of exactly 1."""
    assert character_confidence([2], [1e-7]).tolist() == [1.0, 1.0]
    assert frontier_tokens("é", [1, 2], [1e-7, 1e-7])[1].tolist() == [0.0]
