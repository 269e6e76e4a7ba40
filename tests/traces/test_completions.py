"""Tokens of a raw answer find their places in its text, in every layout, also where a server does not show them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import (
    Completion,
    CompletionError,
    NoLogprobsError,
    Reasoning,
    completion_of_choice,
    completion_of_tokens,
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
    """The answer of a server that sends the text of its tokens alone."""
    logprobs = np.log(probability) if probability else np.full(len(tokens), -0.5)
    return completion_of_choice(text_only(text, tokens, logprobs.tolist()))


def test_worked_example_of_hidden_characters() -> None:
    """``aé😀x`` in the tokens 61 C3, A9, F0 9F, 98 and 80 78, shown as ``a�``, ``�``, ``�``, ``�`` and ``�x``, by hand.

    a and x are where they are shown. The 2 + 4 bytes between them are shared by five U+FFFD, 6/5 each: they end
    at bytes 1, 2, 3, 4 and 6 of the six.
    """
    found = of_texts("aé😀x", ["a\ufffd", "\ufffd", "\ufffd", "\ufffd", "\ufffdx"], [0.9, 0.5, 0.4, 0.2, 0.1])
    assert found.token_byte_end.tolist() == [2, 3, 4, 5, 8]


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
    """Each token decoded by itself: the text is exact, and so is every character beyond the run around a split.

    A run ends where a character cannot be split: at ASCII. Within it confidences are of the tokens that reach into it.
    """
    cut = data.draw(cuts_of(leading + answer.raw))
    tokens = [*decoded_alone(cut.pieces), *trailing]
    choice = text_only(answer.raw, tokens, [*cut.logprobs, *[-0.5] * len(trailing)], with_bytes=with_bytes)
    found = extract_reasoning(completion_of_choice(choice))
    assert found.text == answer.reasoning
    moved = moved_by(answer, len(leading.encode()))
    expected = confidence_of(moved, cut, "".join(tokens))
    hidden = [run_of(place, unclear_runs(leading + answer.raw, cut)) for place in moved.characters]
    exact = [number for number, run in enumerate(hidden) if run is None]
    assert_confidence(found.token_end, found.token_logprob, expected, exact)
    confidence = known_confidence(found)
    for number, run in enumerate(hidden):
        if run is not None and not math.isnan(confidence[number]):
            within = [math.exp(known(logprob)) for logprob in logprobs_within(run, cut)]
            probabilities = [probability for probability in within if not math.isnan(probability)]
            low, high = min(probabilities), max(probabilities)
            assert low - stored_bound(low) <= confidence[number] <= high + stored_bound(high)


def test_a_token_that_shows_nothing_shares_the_character_it_begins() -> None:
    """vLLM shows a token that ends within a character as nothing, and all of it with the next: four bytes, two each."""
    found = of_texts("x 乎y", ["x", "", " 乎", "y"], [0.9, 0.5, 0.1, 0.8])
    assert found.token_byte_end.tolist() == [1, 3, 5, 6]


def test_tokens_shown_as_nothing_hold_the_end_of_a_text_behind_white_space() -> None:
    """``ab\\n}�``, its last tokens ``}`` with EF, BF and BD shown as nothing: white space before them belongs to it.

    The four bytes of ``}�`` are shared by three tokens: they end one, two and four bytes behind the line break. The
    same tokens without the ``}�`` are those of a text that ends at ``ab``, with a line break and stop tokens behind it.
    """
    tokens = ["ab", "\n", "", "", ""]
    assert of_texts("ab\n}\ufffd", tokens).token_byte_end.tolist() == [2, 3, 4, 5, 7]
    assert of_texts("ab", tokens).token_byte_end.tolist() == [2]


def known_confidence(found: Reasoning) -> npt.NDArray[np.float64]:
    """Confidence of each character, NaN where the log-probability of its token is unknown."""
    return np.repeat(np.exp(found.token_logprob.astype(np.float64)), np.diff(found.token_end, prepend=0))


def moved_by(answer: Answer, shift: int) -> Answer:
    """The same answer with its characters so many bytes further on."""
    characters = tuple((start + shift, end + shift) for start, end in answer.characters)
    return Answer(answer.raw, answer.reasoning, characters, answer.final_answer)


def unclear_runs(raw: str, cut: Cut) -> list[tuple[int, int]]:
    """Byte ranges of the runs of characters beyond ASCII in which a character is split or looks as if it were."""
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
    """The run that a character lies in."""
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
    """Where a server shows nothing of a token, or half of what it holds, as vLLM does: the text is exact all the same.

    Confidences are probabilities; where every character is shown by its tokens alone, they are exact.
    """
    cut = data.draw(cuts_of(answer.raw, shortest=1))
    tokens = decoded_in_context(cut.pieces)
    found = extract_reasoning(completion_of_choice(text_only(answer.raw, tokens, cut.logprobs, with_bytes=True)))
    assert found.text == answer.reasoning
    confidence = known_confidence(found)
    assert (np.isnan(confidence) | ((confidence >= 0) & (confidence <= 1))).all()
    if tokens == decoded_alone(cut.pieces) and "\ufffd" not in answer.raw:
        assert_confidence(found.token_end, found.token_logprob, confidence_of(answer, cut))


def long_answer() -> tuple[str, list[str]]:
    """20,000 characters with 2,000 emoji, each spread over four tokens that show one U+FFFD each."""
    parts = "a b c d e", "\ufffd", "\ufffd", "\ufffd", "\ufffd"
    return "a b c d e😀" * 2000, [*parts] * 2000


def test_thousands_of_hidden_characters_are_put_in_their_places() -> None:
    """A long answer full of emoji is no harder than a short one, and each of its tokens gets its one byte."""
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
    """However many places the tokens could have, it is found out that they have none, and said in one line."""
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
    """An empty token fills a gap only where the next one shows the rest of a character."""
    assert "character 1 " in complaint(of_texts, text, tokens, error=CompletionError)


def test_one_emoji_over_and_over_with_and_without_splits_is_placed() -> None:
    """Nothing but the same character, some shown and some not: many places are possible, and one is found."""
    tokens = ["\ufffd", "\ufffd", "\ufffd", "😀", "\ufffd", "\ufffd"] * 300
    assert of_texts("😀" * 900, tokens).token_byte_end[-1] == 3600


def test_the_bytes_of_a_token_count_not_its_text() -> None:
    """Servers show part of a character in ways of their own; the bytes beside it are exact."""
    first = {"token": r"\xe2\x88", "bytes": [0xE2, 0x88], "logprob": -0.5}
    second = {"token": "?", "bytes": [0x91], "logprob": -1}
    choice = {"message": {"content": "∑"}, "logprobs": {"content": [first, second]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2, 3]


@pytest.mark.parametrize("sent", [None, [], "e9", {}])
def test_a_token_whose_bytes_are_not_given_is_its_text(sent: object) -> None:
    """No bytes, or none although there is text: the text is taken."""
    choice = {"message": {"content": "é"}, "logprobs": {"content": [{"token": "é", "bytes": sent, "logprob": -0.5}]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2]


@pytest.mark.parametrize("sent", [np.array([195, 169]), (195, 169), b"\xc3\xa9"], ids=["array", "tuple", "bytes"])
def test_bytes_may_come_in_any_sequence(sent: object) -> None:
    """Rows of a Parquet file bring arrays, not lists."""
    choice = {"message": {"content": "é"}, "logprobs": {"content": [{"token": "?", "bytes": sent, "logprob": -0.5}]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "tokens", "lengths"),
    [
        ("’s", [r"bytes:\xe2\x80", r"bytes:\x99", "s"], [2, 1, 1]),
        ("a “b", ["a", r"bytes: \xe2\x80", r"bytes:\x9c", "b"], [1, 3, 1, 1]),
        ("x\\é\n", ["x", r"bytes:\\\xc3", r"bytes:\xa9\n"], [1, 2, 2]),
        ("bytes:é", ["bytes:", r"bytes:\xc3\xa9"], [6, 2]),
        ("bytes:12", ["bytes:12"], [8]),
    ],
)
def test_legacy_notation_of_bytes_is_read(text: str, tokens: list[str], lengths: list[int]) -> None:
    """Tokens that are not UTF-8 as the legacy layout writes them, with a space or an escape among their bytes too."""
    choice = {"text": text, "logprobs": {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens)}}
    assert np.diff(completion_of_choice(choice).token_byte_end, prepend=0).tolist() == lengths


def test_halves_of_a_surrogate_pair_in_two_tokens_are_one_character() -> None:
    """Servers that count UTF-16 units show the halves of 😀 in two tokens: two bytes each."""
    assert of_texts("a😀", ["a", "\ud83d", "\ude00"]).token_byte_end.tolist() == [1, 3, 5]


def test_the_legacy_keys_hold_in_new_servers_too() -> None:
    """llama.cpp answers legacy requests with tokens in the Chat layout."""
    choice = {"text": "é", "logprobs": {"content": [{"token": "é", "bytes": [195, 169], "logprob": -0.5}]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2]


def test_tokens_around_the_text_are_left_out() -> None:
    """White space that the server cut off and end-of-text tokens are not of the answer; what reaches in is clipped."""
    for before in ["\n", " a"], ["\n ", "a"]:
        tokens = [*before, " b", "\n", "<|end|>", "[EOS]"]
        found = completion_of_choice(text_only("a b", tokens, [None, -1, -2, None, -3, None]))
        assert found.token_byte_end.tolist() == [1, 3]
        assert found.token_logprob.tolist() == [-1, -2]


def test_a_missing_log_probability_is_nan_not_certainty() -> None:
    """None stays unknown: 0 would mean probability 1."""
    assert np.isnan(completion_of_tokens([b"a", b"b"], [None, -0.5]).token_logprob).tolist() == [True, False]


def choice_with(**changes: Any) -> dict[str, Any]:
    """A valid choice of two tokens but for the given fields of its second token."""
    entries = [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -0.5, "bytes": [98]} | changes]
    return {"message": {"content": "ab"}, "logprobs": {"content": entries}}


def old(tokens: object, logprobs: object, text: str = "ab") -> dict[str, Any]:
    return {"text": text, "logprobs": {"tokens": tokens, "token_logprobs": logprobs}}


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        pytest.param({}, CompletionError, "no text .*no fields", id="no fields"),
        pytest.param({"finish_reason": "stop"}, CompletionError, "no text .*finish_reason", id="no message"),
        pytest.param({"message": {"content": None}}, CompletionError, "no text", id="a refusal"),
        pytest.param({"message": {"content": ""}}, CompletionError, "no text", id="empty"),
        pytest.param({"message": "ab"}, CompletionError, "no text", id="message is text"),
        pytest.param({"message": {"content": "ab"}}, NoLogprobsError, "no log-probabilities", id="no logprobs"),
        pytest.param({"text": "ab", "logprobs": None}, NoLogprobsError, "no log-probabilities", id="null logprobs"),
        pytest.param({"text": "ab", "logprobs": {}}, NoLogprobsError, "no log-probabilities", id="empty logprobs"),
        pytest.param(
            {"message": {"content": "ab"}, "logprobs": {"content": []}}, NoLogprobsError, "no log-prob", id="no tokens"
        ),
        pytest.param(
            {"text": "ab", "logprobs": {"content": ["a", "b"]}}, CompletionError, "objects", id="tokens are text"
        ),
        pytest.param(old(["a", "b"], [-0.5]), CompletionError, "2 tokens but 1 log-prob", id="fewer log-probabilities"),
        pytest.param(old(["a", "b"], None), CompletionError, "2 tokens but 0 log-prob", id="no log-probabilities"),
        pytest.param(old(["a", None], [-0.5, -0.5]), CompletionError, "NoneType, not text", id="token is null"),
        pytest.param(choice_with(bytes=[300]), CompletionError, "not numbers from 0 to 255", id="byte above 255"),
        pytest.param(choice_with(bytes=["b"]), CompletionError, "not numbers from 0 to 255", id="bytes are characters"),
        pytest.param(choice_with(bytes=[1.5]), CompletionError, "not numbers from 0 to 255", id="bytes are fractions"),
        pytest.param(choice_with(bytes=98), CompletionError, "not numbers from 0 to 255", id="bytes are a number"),
        pytest.param(choice_with(token=98, bytes=None), CompletionError, "int, not text", id="token is a number"),
        pytest.param(choice_with(logprob="low"), CompletionError, "not a number", id="log-probability is a word"),
        pytest.param(choice_with(logprob=10**400), CompletionError, "not a number", id="log-probability is huge"),
        pytest.param(choice_with(logprob={"b": -1}), CompletionError, "not a number", id="log-probability by token"),
        pytest.param(old(["a", "b"], [[-1], [-1]]), CompletionError, "not a number", id="log-probabilities in lists"),
        pytest.param(old(["a", "b"], [[-1], [-1, 2]]), CompletionError, "not a number", id="lists of any length"),
        pytest.param(old(["a", "c"], [-1, -1]), CompletionError, "character 1 .*'c', the text 'b'", id="other text"),
        pytest.param(old(["a"], [-1]), CompletionError, "character 1 .* '', the text 'b'", id="a token is missing"),
        pytest.param(old(["a", "b", "c"], [-1] * 3), CompletionError, "behind it they go on 'c'", id="one too many"),
        pytest.param(old(["a"], [-1], "a\ud800"), CompletionError, "half a surrogate pair", id="half a pair"),
    ],
)
def test_an_answer_without_usable_tokens_is_refused_in_one_line(
    choice: dict[str, Any], error: type[CompletionError], message: str
) -> None:
    """Every way in which a response can lack its tokens says what was found."""
    with pytest.raises(error, match=message) as refusal:
        completion_of_choice(choice)
    assert type(refusal.value) is error
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "tokens", "parting"),
    [
        ("é = 2 + 2 = 4", [b"\xc3", b"\xa9 = 2", b" + 3 = 5"], "character 8 they go on '3 = 5', the text '2 = 4'"),
        ("é = 2 + 2", ["\ufffd".encode(), "\ufffd = 2".encode(), b" + 3"], "character 8 they go on '3', the text '2'"),
        ("2 + 2 = 4", [b"\n2 + 2", b" = 5"], "character 9 they go on '5', the text '4'"),
        ("2 + 2 = é", [b"2 + 2 = ", b"\xc3", b"\xa8"], "character 8 they go on 'è', the text 'é'"),
        ("\ufffd = é", ["\ufffd = ".encode(), b"\xc3", b"\xa8"], "character 4 they go on 'è', the text 'é'"),
        ("x = é", [b"x = ", b"\xc3"], r"character 4 they go on '\\xc3', the text 'é'"),
        ("2\n+ 2 = 4", [b"2\r", b"+ 2 = 4"], r"character 1 they go on '\r+ 2 = 4', the text '\n+ 2 = 4'"),
    ],
)
def test_the_message_shows_where_tokens_and_text_part(text: str, tokens: list[bytes], parting: str) -> None:
    """The first character that differs, with what follows on either side, hidden or cut-off space or not."""
    assert parting in complaint(completion_of_tokens, tokens, [-1] * len(tokens), text=text, error=CompletionError)


def test_tokens_alone_give_the_text() -> None:
    """Without a text to compare them with, tokens have to be UTF-8 all together."""
    assert completion_of_tokens([b"x\xc3", b"\xa9"], [-1, -1]).text == "xé"
    assert "byte 1" in complaint(completion_of_tokens, [b"x\xc3", b"x"], [-1, -1], error=CompletionError)
    assert "0 tokens" in complaint(completion_of_tokens, [], [], error=CompletionError)


@cases(150)
@given(st.data(), answers())
def test_tokens_tile_the_text_whether_it_is_given_or_not(data: st.DataObject, answer: Answer) -> None:
    """Ends never fall and the last is the number of bytes; a response that went through JSON reads the same."""
    cut = data.draw(cuts_of(answer.raw))
    alone = completion_of_tokens(cut.pieces, cut.logprobs)
    given_text = completion_of_tokens(cut.pieces, cut.logprobs, text=answer.raw)
    assert alone.text == given_text.text == answer.raw
    for completion in alone, given_text:
        assert completion.token_byte_end[-1] == len(answer.raw.encode())
        assert (np.diff(completion.token_byte_end, prepend=0) >= 0).all()
    through_json = json.loads(json.dumps(text_only(answer.raw, decoded_alone(cut.pieces), cut.logprobs)))
    completion_of_choice(through_json)
