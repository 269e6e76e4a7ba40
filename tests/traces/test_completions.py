"""Log-probabilities of a response are assigned to the bytes of its text, in every layout, or refused in one line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import (
    CompletionError,
    NoLogprobsError,
    completion_of_choice,
    completion_of_tokens,
)

from ..metrics.strategies import cases
from .answers import (
    Answer,
    answers,
    cuts_of,
    decoded_alone,
    text_only,
)
from .support import complaint


def test_the_bytes_of_a_token_count_not_its_text() -> None:
    """Servers show part of a character in different ways; the bytes are exact and take precedence."""
    first = {"token": r"\xe2\x88", "bytes": [0xE2, 0x88], "logprob": -0.5}
    second = {"token": "?", "bytes": [0x91], "logprob": -1}
    choice = {"message": {"content": "∑"}, "logprobs": {"content": [first, second]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2, 3]


@pytest.mark.parametrize("sent", [None, [], "e9", {}])
def test_a_token_whose_bytes_are_not_given_is_its_text(sent: object) -> None:
    """Without bytes, or with empty bytes beside text, the text is used."""
    choice = {"message": {"content": "é"}, "logprobs": {"content": [{"token": "é", "bytes": sent, "logprob": -0.5}]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2]


@pytest.mark.parametrize("sent", [np.array([195, 169]), (195, 169), b"\xc3\xa9"], ids=["array", "tuple", "bytes"])
def test_bytes_may_come_in_any_sequence(sent: object) -> None:
    """Rows of a Parquet file give arrays instead of lists."""
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
    """Tokens that are not UTF-8 are read in the legacy notation, also with a space or an escape among their bytes."""
    choice = {"text": text, "logprobs": {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens)}}
    assert np.diff(completion_of_choice(choice).token_byte_end, prepend=0).tolist() == lengths


def test_the_legacy_keys_hold_in_new_servers_too() -> None:
    """llama.cpp answers legacy requests with tokens in the Chat layout."""
    choice = {"text": "é", "logprobs": {"content": [{"token": "é", "bytes": [195, 169], "logprob": -0.5}]}}
    assert completion_of_choice(choice).token_byte_end.tolist() == [2]


def test_tokens_around_the_text_are_left_out() -> None:
    """Stripped white space and end-of-text tokens are left out; a token that overlaps the text is clipped."""
    for before in ["\n", " a"], ["\n ", "a"]:
        tokens = [*before, " b", "\n", "<|end|>", "[EOS]"]
        answer = completion_of_choice(text_only("a b", tokens, [None, -1, -2, None, -3, None]))
        assert answer.token_byte_end.tolist() == [1, 3]
        assert answer.token_logprob.tolist() == [-1, -2]


def test_a_missing_log_probability_is_nan_not_certainty() -> None:
    """None stays unknown, because 0 would mean probability 1."""
    assert np.isnan(completion_of_tokens([b"a", b"b"], [None, -0.5]).token_logprob).tolist() == [True, False]


def choice_with(**changes: Any) -> dict[str, Any]:
    """A choice of two tokens that is valid except for the given fields of its second token."""
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
    """The message names what the response lacks."""
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
    """The message has the first different character and the text after it on both sides."""
    assert parting in complaint(completion_of_tokens, tokens, [-1] * len(tokens), text=text, error=CompletionError)


def test_tokens_alone_give_the_text() -> None:
    """Without a text to compare with, the joined tokens must be UTF-8."""
    assert completion_of_tokens([b"x\xc3", b"\xa9"], [-1, -1]).text == "xé"
    assert "byte 1" in complaint(completion_of_tokens, [b"x\xc3", b"x"], [-1, -1], error=CompletionError)
    assert "0 tokens" in complaint(completion_of_tokens, [], [], error=CompletionError)


@cases(150)
@given(st.data(), answers())
def test_tokens_tile_the_text_whether_it_is_given_or_not(data: st.DataObject, answer: Answer) -> None:
    """Token ends never decrease, and the last is the number of bytes; JSON does not change the result."""
    cut = data.draw(cuts_of(answer.raw))
    alone = completion_of_tokens(cut.pieces, cut.logprobs)
    given_text = completion_of_tokens(cut.pieces, cut.logprobs, text=answer.raw)
    assert alone.text == given_text.text == answer.raw
    for completion in alone, given_text:
        assert completion.token_byte_end[-1] == len(answer.raw.encode())
        assert (np.diff(completion.token_byte_end, prepend=0) >= 0).all()
    through_json = json.loads(json.dumps(text_only(answer.raw, decoded_alone(cut.pieces), cut.logprobs)))
    completion_of_choice(through_json)
