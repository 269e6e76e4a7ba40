"""Extraction of the reasoning from a completion, with the confidence of each character."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import character_confidence
from rbridge_traces import (
    Completion,
    MalformedCompletionError,
    completion_of_choice,
    completion_of_tokens,
    extract_reasoning,
    parse_completion,
)
from rbridge_traces.extraction import tokens_between

from ..error_bounds import assert_within, stored_bound
from ..metrics import reference
from ..metrics.strategies import byte_tokens, cases, texts
from .answers import Answer, answers, assert_confidence, chat, confidence_of, cuts_of, known, legacy
from .support import complaint, make_trace


def answer_in_one_token(raw: str, logprob: float = -0.5) -> Completion:
    """A completion of a single token."""
    return completion_of_tokens([raw.encode()], [logprob])


def of_bytes(raw: str, probability: list[float]) -> Completion:
    """A completion with one token per byte."""
    return completion_of_tokens([bytes([byte]) for byte in raw.encode()], np.log(probability))


def test_worked_example() -> None:
    r"""``{"reasoning": "é\n2"}`` in five tokens, by hand.

    ======================  =====  =============================================================
    token                   prob.  bytes of the reasoning
    ======================  =====  =============================================================
    ``{"reasoning": "`` C3  0.9    first byte of ``é``
    A9 ``\``                0.5    second byte of ``é``; first byte of ``\n``
    ``n``                   0.1    second byte of ``\n``
    ``2"``                  0.8    ``2``; the quote is outside the reasoning
    ``}``                   0.2    none
    ======================  =====  =============================================================

    Characters: é (0.9 + 0.5) / 2 = 0.7, newline (0.5 + 0.1) / 2 = 0.3, 2 0.8.
    """
    pieces = [b'{"reasoning": "\xc3', b"\xa9\\", b"n", b'2"', b"}"]
    reasoning = extract_reasoning(completion_of_tokens(pieces, np.log([0.9, 0.5, 0.1, 0.8, 0.2])))
    assert reasoning.text == "é\n2"
    expected = [0.7, 0.3, 0.8]
    assert_within(character_confidence(reasoning.token_end, reasoning.token_logprob), expected, stored_bound(expected))


def test_surrogate_pair_is_one_character_of_twelve_bytes() -> None:
    """``\\uD83D\\ude00`` in tokens of 3 and 9 bytes at 0.6 and 0.2 has confidence (3 * 0.6 + 9 * 0.2) / 12 = 0.3."""
    pieces = [b'{"reasoning":"', b"\\uD", b"83D\\ude00", b'"}']
    reasoning = extract_reasoning(completion_of_tokens(pieces, np.log([1.0, 0.6, 0.2, 1.0])))
    assert reasoning.text == "😀"
    assert_within(character_confidence(reasoning.token_end, reasoning.token_logprob), [0.3], stored_bound([0.3]))


@pytest.mark.parametrize(
    ("written", "character"),
    [
        *[(rf"\{name}", character) for name, character in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)],
        *[("\\u00e9", "é"), ("\\u00E9", "é"), ("\\u0000", "\x00"), ("\\u2028", "\u2028")],
        *[("\\ud83d\\uDE00", "😀"), ("\\udbff\\udfff", "\U0010ffff"), ("é", "é"), ("😀", "😀"), ("\n", "\n")],
    ],
)
def test_every_escape_is_one_character_with_the_mean_of_its_bytes(written: str, character: str) -> None:
    """With one token per byte, a character has the mean over its spelling, and its neighbours are not affected."""
    size = len(written.encode())
    probability = list(np.linspace(0.1, 0.9, size))
    before = '{"reasoning": "u\\\\'
    completion = of_bytes(f'{before}{written}u00e9"}}', [1.0] * len(before) + probability + [1.0] * 7)
    reasoning = extract_reasoning(completion)
    assert reasoning.text == f"u\\{character}u00e9"
    expected = [1.0, 1.0, math.fsum(probability) / size] + [1.0] * 5
    assert_confidence(reasoning.token_end, reasoning.token_logprob, expected)


@cases(300)
@given(st.data(), answers())
def test_any_text_in_any_encoding_and_any_tokens_keeps_its_confidence(data: st.DataObject, answer: Answer) -> None:
    """Escapes, layout, members, fences, prose and tokens do not change the characters and the mean over their bytes.

    The result can be stored as a trace without changes.
    """
    cut = data.draw(cuts_of(answer.raw))
    reasoning = extract_reasoning(completion_of_choice(chat(answer.raw, cut)))
    assert (reasoning.text, reasoning.final_answer) == (answer.reasoning, answer.final_answer)
    assert parse_completion(answer.raw) == (answer.reasoning, answer.final_answer)
    assert_confidence(reasoning.token_end, reasoning.token_logprob, confidence_of(answer, cut))
    tokens = {"token_end": reasoning.token_end, "token_logprob": reasoning.token_logprob}
    trace = make_trace(trace=reasoning.text, final_answer=reasoning.final_answer, **tokens)
    assert trace.token_end is not None
    assert trace.token_end.tolist() == reasoning.token_end.tolist()


@cases(200)
@given(
    st.data(),
    answers(),
    st.sampled_from(["", " ", "\n\n", "\u3000"]),
    st.sampled_from(["", "</s>", "<|end|>\n", "\n"]),
)
def test_both_layouts_and_what_surrounds_the_text_change_nothing(
    data: st.DataObject, answer: Answer, leading: str, trailing: str
) -> None:
    """Chat and legacy layout, stripped white space and end-of-text tokens give the same numbers.

    A token that crosses an end of the text counts for the part inside.
    """
    cut = data.draw(cuts_of(leading + answer.raw + trailing))
    shift = len(leading.encode())
    shifted = Answer(answer.raw, answer.reasoning, tuple((s + shift, e + shift) for s, e in answer.characters), None)
    for layout in chat, legacy:
        reasoning = extract_reasoning(completion_of_choice(layout(answer.raw, cut)))
        assert reasoning.text == answer.reasoning
        assert_confidence(reasoning.token_end, reasoning.token_logprob, confidence_of(shifted, cut))


#: Braces that begin no object, or an object without the key.
BRACES = ["{", "{{", "{}", '{"a', '{"a": 1} ', '{"a": {"b": "}"}}', "{1, 2}", '{"a": "{', "{'reasoning': 1}", '{"a":']


@cases(150)
@given(st.data(), answers(st.lists(st.sampled_from([*BRACES, "x", " ", "\n", "}"]), max_size=5).map("".join)))
def test_braces_in_the_prose_do_not_hide_the_object(data: st.DataObject, answer: Answer) -> None:
    """The object is found after or inside sets, empty objects, broken objects and objects without the key."""
    cut = data.draw(cuts_of(answer.raw))
    reasoning = extract_reasoning(completion_of_choice(chat(answer.raw, cut)))
    assert reasoning.text == answer.reasoning
    assert_confidence(reasoning.token_end, reasoning.token_logprob, confidence_of(answer, cut))


def first_object(raw: str) -> Any:
    """Return the first object with the key, by ``json.loads`` of every substring that begins with a brace."""
    for start in range(len(raw)):
        for end in range(start + 1, len(raw) + 1) if raw[start] == "{" else ():
            try:
                value = json.loads(raw[start:end], strict=False)
            except ValueError:
                continue
            if "reasoning" in value:
                return value
    return None


FRAGMENTS = ['"reasoning"', '"reasoning":"a"', ":", ",", '"', "\\\\", "[", "]", " ", '"b"', "1", "null", "\n", '{"a":']
FRAGMENTS += ["{", "}", "{", "}", '{"reasoning":', '"reasoning":"\\u00e9"', '"final_answer":', '{"reasoning":" "}']


@cases(700)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_the_object_found_is_that_of_the_standard_parser(raw: str) -> None:
    """The result is the first object with the key that Python's parser reads, and the last value of that key."""
    expected = first_object(raw)
    usable = expected and isinstance(expected["reasoning"], str) and expected["reasoning"].strip()
    if not usable:
        complaint(parse_completion, raw, error=MalformedCompletionError)
        return
    text, final_answer = parse_completion(raw)
    assert text == expected["reasoning"]
    given_answer = expected.get("final_answer")
    if given_answer is None or isinstance(given_answer, str):
        assert final_answer == given_answer
    else:
        assert final_answer is not None
        assert json.loads(final_answer, strict=False) == given_answer


@cases(200)
@given(st.data(), texts())
def test_a_stretch_of_plain_text_keeps_its_confidence(data: st.DataObject, text: str) -> None:
    """The tokens of a substring give its characters the same confidence as the tokens of the whole text."""
    ends, logprob = data.draw(byte_tokens(text))
    spelled = text.encode()
    pieces = [spelled[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    shown = [number for number, piece in enumerate(pieces) if piece]
    completion = completion_of_tokens([pieces[number] for number in shown], np.asarray(logprob)[shown])
    tokens = tokens_between(completion, start, end)
    expected = reference.character_confidence_from_bytes(text, ends, list(map(known, logprob)))
    assert_confidence(*tokens, expected[start:end])


def nested(depth: int) -> str:
    """Return an object whose reasoning follows a deeply nested list."""
    return '{"a": ' + "[" * depth + "]" * depth + ', "reasoning": "2 + 2"}'


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param("I cannot answer that.", "no JSON object .*I cannot", id="no object"),
        pytest.param(" \n", "no JSON object", id="white space"),
        pytest.param('["reasoning", "2 + 2"]', "no JSON object", id="a list"),
        pytest.param('{"steps": "2 + 2"}', "no JSON object with the key 'reasoning'", id="no key"),
        pytest.param('{"reasoning": "2 +', "broken JSON, Unterminated string", id="cut in the text"),
        pytest.param('{"reasoning": "2 + 2", "final', "broken JSON", id="cut behind the text"),
        pytest.param('{"reasoning": "2 + 2"', "broken JSON", id="cut before the last brace"),
        pytest.param(
            '{"reasoning": "a" {b: 1}}', "Expecting ',' delimiter", id="the first mistake is named, not the last"
        ),
        pytest.param('{"reasoning": "say "4""}', "broken JSON", id="quotes not escaped"),
        pytest.param("{'reasoning': '2 + 2'}", "broken JSON", id="single quotes"),
        pytest.param('{"reasoning": ["2 + 2"]}', "reasoning is a list, not text", id="reasoning is a list"),
        pytest.param('{"reasoning": {"1": "x"}}', "reasoning is an object, not text", id="reasoning is an object"),
        pytest.param('{"reasoning": null}', "reasoning is null, not text", id="reasoning is null"),
        pytest.param('{"reasoning": 4}', "reasoning is a number, not text", id="reasoning is a number"),
        pytest.param('{"reasoning": true}', "reasoning is true or false, not text", id="reasoning is true"),
        pytest.param('{"reasoning": ""}', "reasoning is empty", id="reasoning is empty"),
        pytest.param('{"reasoning": " \\n"}', "reasoning is empty", id="reasoning is white space"),
        pytest.param('{"reasoning": "a\\ud83d"}', "reasoning holds half a surrogate pair", id="first half of a pair"),
        pytest.param('{"reasoning": "\\ude00a"}', "reasoning holds half a surrogate pair", id="second half of a pair"),
        pytest.param(
            '{"reasoning": "a", "final_answer": "\\ud83d"}', "final_answer holds half", id="half a pair in the answer"
        ),
        pytest.param(nested(100_000), "nested too deeply", id="deep lists"),
        pytest.param('{"a":' * 100_000 + '{"reasoning": "x"}', "nested too deeply", id="deep objects"),
        pytest.param('{"reasoning": ' + "[" * 100_000, "nested too deeply", id="deep reasoning"),
    ],
)
def test_an_answer_without_usable_reasoning_is_refused_in_one_line(raw: str, message: str) -> None:
    """The message names how the answer differs from the format."""
    with pytest.raises(MalformedCompletionError, match=message) as refusal:
        extract_reasoning(answer_in_one_token(raw))
    assert len(str(refusal.value).splitlines()) == 1
    assert len(str(refusal.value)) < 200
    with pytest.raises(MalformedCompletionError, match=message):
        parse_completion(raw)


def test_nesting_is_refused_or_read_at_every_depth() -> None:
    """At every depth, around the interpreter's limit too, an answer is read or refused."""
    outcomes = set()
    for depth in [*range(0, 1100, 3), *range(960, 1000)]:
        try:
            assert parse_completion(nested(depth))[0] == "2 + 2"
            outcomes.add("read")
        except MalformedCompletionError:
            outcomes.add("refused")
    assert "read" in outcomes


def test_numbers_of_any_length_do_not_matter() -> None:
    """An answer with an integer of more than 4300 digits, which Python refuses, is read."""
    digits = "9" * 10_000
    raw = f'{{"big": {digits}, "final_answer": {digits}, "reasoning": "x"}}'
    assert parse_completion(raw) == ("x", digits)


@pytest.mark.parametrize(
    ("written", "answer"),
    [('"4"', "4"), ("4", "4"), ("4.50", "4.50"), ("true", "true"), ("null", None), ('["A", "B"]', '["A", "B"]')],
)
def test_a_final_answer_that_is_not_text_stays_as_it_was_written(written: str, answer: str | None) -> None:
    """The final answer 4.50 stays 4.50 for the grader."""
    assert parse_completion(f'{{"final_answer": {written}, "reasoning": "x"}}') == ("x", answer)


def test_of_several_objects_the_first_with_the_key_counts() -> None:
    """A later second object, and an earlier object without the key, are ignored."""
    raw = '{"plan": 1} {"reasoning": "first"} {"reasoning": "second"}'
    assert parse_completion(raw) == ("first", None)


PIECES = [b'{"reasoning": "', b"2 ", b"", b"+ 2", b'", "final_answer": "4"}']


@pytest.mark.parametrize("missing", [None, math.nan, 0.5, math.inf, -math.inf, -9999.0, -99999.0, -1000.0])
@pytest.mark.parametrize("token", range(5))
def test_what_is_no_log_probability_is_unknown(missing: float | None, token: int) -> None:
    """A missing value or a server's placeholder inside the reasoning is unknown, never 0."""
    logprobs: list[Any] = [-0.5] * 5
    logprobs[token] = missing
    reasoning = extract_reasoning(completion_of_tokens(PIECES, logprobs))
    assert reasoning.token_end.tolist() == [2, 5]
    assert np.isnan(reasoning.token_logprob).tolist() == [token == 1, token == 3]
    np.testing.assert_allclose(
        character_confidence(reasoning.token_end, reasoning.token_logprob), math.exp(-0.5), rtol=1e-7
    )


def test_a_long_answer_of_one_byte_tokens_is_exact() -> None:
    """10,000 characters of every spelling with one token per byte keep their precision."""
    text = "é\n😀x\\" * 2000
    raw = json.dumps({"final_answer": "4", "reasoning": text})
    probability = np.random.default_rng(0).uniform(0.01, 1.0, len(raw)).tolist()
    reasoning = extract_reasoning(of_bytes(raw, probability))
    assert reasoning.text == text
    at, expected = raw.index("\\u00e9"), []
    for size in [6, 2, 12, 1, 2] * 2000:
        expected.append(math.fsum(probability[at : at + size]) / size)
        at += size
    assert_confidence(reasoning.token_end, reasoning.token_logprob, expected)


def test_tokens_of_an_empty_stretch_are_refused() -> None:
    """An empty substring raises the documented error with a one-line message."""
    assert "empty" in complaint(tokens_between, answer_in_one_token("abc"), 1, 1)


@cases(100)
@given(answers())
def test_the_answers_of_the_tests_are_what_they_seem(answer: Answer) -> None:
    """Check of the helpers: each character's bytes, in quotes, are that character in JSON."""
    spelled = answer.raw.encode()
    characters = [json.loads(f'"{spelled[start:end].decode()}"', strict=False) for start, end in answer.characters]
    assert characters == list(answer.reasoning)
