"""Tokens whose characters a server shows incompletely, as U+FFFD or as nothing, get their bytes of the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import (
    Completion,
    CompletionError,
    Reasoning,
    completion_of_choice,
    extract_reasoning,
)

from ..error_bounds import stored_bound
from ..metrics.strategies import cases
from .answers import (
    Answer,
    Cut,
    answers,
    assert_confidence,
    confidence_of,
    cuts_of,
    decoded_alone,
    decoded_in_context,
    known,
    text_only,
)
from .support import complaint


def of_texts(text: str, tokens: Sequence[str], probability: Sequence[float] | None = None) -> Completion:
    """The answer of a server that sends only the text of its tokens."""
    logprobs = np.log(probability) if probability else np.full(len(tokens), -0.5)
    return completion_of_choice(text_only(text, tokens, logprobs.tolist()))


def test_worked_example_of_hidden_characters() -> None:
    """``aé😀x`` in the tokens 61 C3, A9, F0 9F, 98 and 80 78, shown as ``a�``, ``�``, ``�``, ``�`` and ``�x``, by hand.

    a and x are shown. Five U+FFFD share the 2 + 4 bytes between them, 6/5 each, and end at bytes 1, 2, 3, 4 and 6 of
    the six.
    """
    answer = of_texts("aé😀x", ["a\ufffd", "\ufffd", "\ufffd", "\ufffd", "\ufffdx"], [0.9, 0.5, 0.4, 0.2, 0.1])
    assert answer.token_byte_end.tolist() == [2, 3, 4, 5, 8]


@cases(250)
@given(
    st.data(),
    answers(),
    st.sampled_from(["", " ", "\n\n"]),
    st.sampled_from([[], ["</s>"], ["<|im_end|>", "\n", ""]]),
    st.booleans(),
)
def test_characters_that_a_server_does_not_show_change_nothing_around_them(
    data: st.DataObject, answer: Answer, leading: str, trailing: list[str], with_bytes: bool
) -> None:
    """With tokens decoded one by one, the text is exact, and so is every character outside the run around a split.

    A run ends at ASCII, which cannot be split. Within a run, confidences lie between those of the overlapping tokens.
    """
    cut = data.draw(cuts_of(leading + answer.raw))
    tokens = [*decoded_alone(cut.pieces), *trailing]
    choice = text_only(answer.raw, tokens, [*cut.logprobs, *[-0.5] * len(trailing)], with_bytes=with_bytes)
    reasoning = extract_reasoning(completion_of_choice(choice))
    assert reasoning.text == answer.reasoning
    moved = moved_by(answer, len(leading.encode()))
    expected = confidence_of(moved, cut, "".join(tokens))
    hidden = [run_of(place, unclear_runs(leading + answer.raw, cut)) for place in moved.characters]
    exact = [number for number, run in enumerate(hidden) if run is None]
    assert_confidence(reasoning.token_end, reasoning.token_logprob, expected, exact)
    confidence = known_confidence(reasoning)
    for number, run in enumerate(hidden):
        if run is not None and not math.isnan(confidence[number]):
            within = [math.exp(known(logprob)) for logprob in logprobs_within(run, cut)]
            probabilities = [probability for probability in within if not math.isnan(probability)]
            low, high = min(probabilities), max(probabilities)
            assert low - stored_bound(low) <= confidence[number] <= high + stored_bound(high)


def test_a_token_that_shows_nothing_shares_the_character_it_begins() -> None:
    """vLLM shows a token that ends inside a character as nothing, and all with the next: four bytes, two each."""
    answer = of_texts("x 乎y", ["x", "", " 乎", "y"], [0.9, 0.5, 0.1, 0.8])
    assert answer.token_byte_end.tolist() == [1, 3, 5, 6]


@pytest.mark.parametrize(("text", "ends"), [("\u3000x", [1, 2, 3, 4]), ("\n\u3000x", [2, 3, 4, 5])])
def test_hidden_white_space_at_the_beginning_belongs_to_the_text(text: str, ends: list[int]) -> None:
    """U+3000 in three tokens, behind a line break that the text has or lacks; the break, if any, is in the first."""
    tokens = ["\n\ufffd", "\ufffd", "\ufffd", "x"]
    assert of_texts(text, tokens).token_byte_end.tolist() == ends


def test_a_token_that_shows_nothing_may_end_in_the_character_after_eight_others() -> None:
    """``abcdefgh``, C2 and then 80, ``é!``: vLLM shows nothing, then ``�é!``. Ten bytes for two, five each."""
    assert of_texts("abcdefgh\x80é!", ["", "\ufffdé!"]).token_byte_end.tolist() == [5, 13]


def test_tokens_shown_as_nothing_hold_the_end_of_a_text_behind_white_space() -> None:
    """``ab\\n}�``, its last tokens ``}`` with EF, BF and BD shown as nothing: the white space is part of the text.

    Three tokens share the four bytes of ``}�``: they end one, two and four bytes after the line break. For the text
    ``ab``, the same tokens are a line break and stop tokens after the text.
    """
    tokens = ["ab", "\n", "", "", ""]
    assert of_texts("ab\n}\ufffd", tokens).token_byte_end.tolist() == [2, 3, 4, 5, 7]
    assert of_texts("ab", tokens).token_byte_end.tolist() == [2]


def known_confidence(reasoning: Reasoning) -> npt.NDArray[np.float64]:
    """Confidence of each character, NaN where the log-probability of its token is unknown."""
    return np.repeat(np.exp(reasoning.token_logprob.astype(np.float64)), np.diff(reasoning.token_end, prepend=0))


def moved_by(answer: Answer, shift: int) -> Answer:
    """Return the answer with its characters shifted by a number of bytes."""
    characters = tuple((start + shift, end + shift) for start, end in answer.characters)
    return Answer(answer.raw, answer.reasoning, characters, answer.final_answer)


def unclear_runs(raw: str, cut: Cut) -> list[tuple[int, int]]:
    """Byte ranges of the non-ASCII runs in which a character is split, or looks split."""
    ends = set(np.cumsum([len(piece) for piece in cut.pieces]).tolist())
    runs: list[tuple[int, int]] = []
    start, at, unclear = 0, 0, False
    for character in f"{raw}x":
        size = len(character.encode())
        if size == 1:
            if unclear:
                runs.append((start, at))
            start, unclear = at + 1, False
        unclear = unclear or character == "\ufffd" or any(at + inside in ends for inside in range(1, size))
        at += size
    return runs


def run_of(place: tuple[int, int], runs: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the run that contains a character, or None."""
    return next((run for run in runs if run[0] <= place[0] and place[1] <= run[1]), None)


def logprobs_within(run: tuple[int, int], cut: Cut) -> list[float]:
    """Log-probabilities of the tokens that share a byte with a run."""
    ends = np.cumsum([len(piece) for piece in cut.pieces]).tolist()
    return [
        logprob
        for start, end, logprob in zip([0, *ends], ends, cut.logprobs, strict=False)
        if max(start, run[0]) < min(end, run[1])
    ]


@cases(200)
@given(st.data(), answers())
def test_tokens_decoded_in_context_are_put_in_their_places(data: st.DataObject, answer: Answer) -> None:
    """If a server shows nothing or half of a token, as vLLM does, the text is still exact.

    Confidences are probabilities. They are exact if the tokens, decoded one by one, show every character.
    """
    cut = data.draw(cuts_of(answer.raw, shortest=1))
    tokens = decoded_in_context(cut.pieces)
    reasoning = extract_reasoning(completion_of_choice(text_only(answer.raw, tokens, cut.logprobs, with_bytes=True)))
    assert reasoning.text == answer.reasoning
    confidence = known_confidence(reasoning)
    assert (np.isnan(confidence) | ((confidence >= 0) & (confidence <= 1))).all()
    if tokens == decoded_alone(cut.pieces) and "\ufffd" not in answer.raw:
        assert_confidence(reasoning.token_end, reasoning.token_logprob, confidence_of(answer, cut))


def long_answer() -> tuple[str, list[str]]:
    """20,000 characters with 2,000 emoji; each emoji is split over four tokens that show one U+FFFD each."""
    parts = "a b c d e", "\ufffd", "\ufffd", "\ufffd", "\ufffd"
    return "a b c d e😀" * 2000, [*parts] * 2000


def test_thousands_of_hidden_characters_are_put_in_their_places() -> None:
    """A long answer full of emoji is read, and each hidden token gets its one byte."""
    text, tokens = long_answer()
    lengths = np.diff(of_texts(text, tokens).token_byte_end, prepend=0)
    assert lengths.tolist() == [9, 1, 1, 1, 1] * 2000


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text, tokens: (f"{text}x", tokens), id="more text"),
        pytest.param(lambda text, tokens: (text, [*tokens, "x"]), id="more tokens"),
        pytest.param(lambda text, tokens: (text, [*tokens[:-5], "a b c d f", *tokens[-4:]]), id="other characters"),
        pytest.param(lambda text, tokens: (text, tokens[:-3]), id="hidden tokens are missing"),
        pytest.param(lambda text, tokens: ("😀" * len(text), tokens), id="emoji alone"),
        pytest.param(lambda text, tokens: (text, ["\ufffd"] * len(tokens)), id="hidden tokens alone"),
    ],
)
def test_thousands_of_hidden_characters_that_do_not_fit_are_refused(
    change: Callable[[str, list[str]], tuple[str, list[str]]],
) -> None:
    """Tokens that fit no position are refused in one line, although many positions must be tried."""
    message = complaint(of_texts, *change(*long_answer()), error=CompletionError)
    assert "do not spell the text" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        pytest.param("aé", ["a", "", "\ufffd\ufffd\ufffd"], id="more parts than bytes"),
        pytest.param("aéb∑", ["a", "", "b", "\ufffd", "\ufffd"], id="a character that nothing shows a part of"),
        pytest.param("aab", ["a", "", "\ufffdb"], id="a part of an ASCII character"),
    ],
)
def test_tokens_shown_as_nothing_do_not_stand_for_anything(text: str, tokens: list[str]) -> None:
    """An empty token fills a gap only if the next token shows the rest of a character."""
    assert "character 1 " in complaint(of_texts, text, tokens, error=CompletionError)


def test_one_emoji_over_and_over_with_and_without_splits_is_placed() -> None:
    """Repeated emoji, some shown and some hidden, have many possible positions; one of them is found."""
    tokens = ["\ufffd", "\ufffd", "\ufffd", "😀", "\ufffd", "\ufffd"] * 300
    assert of_texts("😀" * 900, tokens).token_byte_end[-1] == 3600


def test_halves_of_a_surrogate_pair_in_two_tokens_are_one_character() -> None:
    """Servers that count UTF-16 units split 😀 into two tokens, which get two bytes each."""
    assert of_texts("a😀", ["a", "\ud83d", "\ude00"]).token_byte_end.tolist() == [1, 3, 5]
