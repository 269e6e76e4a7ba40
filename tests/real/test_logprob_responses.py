"""Real responses with log-probabilities, and tokens of real tokenizers, are read and extracted from JSON exactly."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from rbridge_traces import MalformedCompletionError, completion_of_choice, completion_of_tokens, extract_reasoning

from ..metrics.strategies import AWKWARD
from ..traces.answers import (
    Cut,
    answer_of,
    assert_confidence,
    chat,
    confidence_of,
    decoded_in_context,
    legacy,
    text_only,
    write_characters,
)
from .conftest import load_tokenizer

RESPONSES = ("model_gpt4o", "domain_reasoning", "domain_code")


def response(data: Path, name: str) -> dict[str, Any]:
    """Return the choice of a response as GPT-4o's server sent it."""
    file = data / "traces_logprobs" / "openai_chat_format" / f"{name}.json.gz"
    choice: dict[str, Any] = json.loads(gzip.decompress(file.read_bytes()))["choices"][0]
    return choice


def short_answers(data: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return 25 short answers and their tokens."""
    file = data / "traces_logprobs" / "openai_chat_format" / "gsm8k5_short_answers_uqlm.json"
    answers = json.loads(file.read_text(encoding="utf-8"))["data"]
    pairs = zip(answers["sampled_responses"], answers["multiple_logprobs"], strict=True)
    return [pair for texts, tokens in pairs for pair in zip(texts, tokens, strict=True)]


def everything(data: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return text and tokens of all 28 answers."""
    long = [response(data, name) for name in RESPONSES]
    return [(choice["message"]["content"], choice["logprobs"]["content"]) for choice in long] + short_answers(data)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_real_response_is_read_token_for_token(data: Path, name: str) -> None:
    """Every token of a response has its place and its log-probability, in each layout."""
    choice = response(data, name)
    entries = choice["logprobs"]["content"]
    pieces = [bytes(entry["bytes"]) for entry in entries]
    cut = Cut(pieces, [entry["logprob"] for entry in entries])
    text = choice["message"]["content"]
    tokens = [entry["token"] for entry in entries]
    for sent in choice, legacy(text, cut), text_only(text, tokens, cut.logprobs):
        completion = completion_of_choice(sent)
        assert completion.text == text == b"".join(pieces).decode()
        assert completion.token_byte_end.tolist() == np.cumsum([len(piece) for piece in pieces]).tolist()
        assert completion.token_logprob.tolist() == cut.logprobs


@pytest.mark.parametrize("ascii_only", [False, True])
def test_real_answers_in_json_keep_the_confidence_of_their_tokens(data: Path, ascii_only: bool) -> None:
    """28 real answers, escaped for JSON between the tokens of an object, are extracted with their confidences only."""
    texts = everything(data)
    assert len(texts) == 28
    for text, entries in texts:
        written = [json.dumps(entry["token"], ensure_ascii=ascii_only)[1:-1] for entry in entries]
        tokens = ["```json\n{", '"reasoning', '": "', *written, '", "', "final_answer", '": "4"}\n', "```"]
        logprobs = [-3.0] * 3 + [entry["logprob"] for entry in entries] + [-3.0] * 4
        extracted = extract_reasoning(completion_of_tokens([token.encode() for token in tokens], logprobs))
        assert (extracted.text, extracted.final_answer) == (text, "4")
        expected = [math.exp(entry["logprob"]) for entry in entries for _character in entry["token"]]
        assert_confidence(extracted.token_end, extracted.token_logprob, expected)


def test_real_answers_that_are_not_json_are_read_but_hold_no_reasoning(data: Path) -> None:
    """The tokens of plain-text answers spell the text, and the error says that there is no JSON object."""
    for text, entries in everything(data):
        completion = completion_of_choice({"message": {"content": text}, "logprobs": {"content": entries}})
        assert completion.token_logprob.tolist() == [entry["logprob"] for entry in entries]
        with pytest.raises(MalformedCompletionError, match="no JSON object"):
            extract_reasoning(completion)


@pytest.mark.parametrize("name", ["gpt-neox", "olmo", "gpt2"])
def test_characters_that_real_tokenizers_split(data: Path, tmp_path: Path, name: str) -> None:
    """Emoji, scripts and signs in byte-level tokens are exact from bytes; text alone leaves some of them uncertain.

    If a server decodes each token by itself, only the characters around a split character are uncertain. If it decodes
    in context as vLLM does, a space before a split character is uncertain, too: both are often one token without text.
    """
    tokenizer = load_tokenizer(name, data, tmp_path)
    texts = [*AWKWARD, "2 × 3 ÷ π ≈ 1.9", "naïve “quotes”", "日本語の文章", "\\frac{1}{2}"]
    reasoning = normalize("NFC", " then ".join(texts))  # as GPT-NeoX's tokenizer does
    written_characters = write_characters(reasoning, bytes(len(reasoning)))
    answer = answer_of('{"reasoning": "', written_characters, '", "final_answer": "4"}', reasoning, "4")
    ids = tokenizer.encode(answer.raw, add_special_tokens=False)
    pieces = bytes_of(tokenizer.convert_ids_to_tokens(ids))
    assert b"".join(pieces) == answer.raw.encode()
    cut = Cut(pieces, np.random.default_rng(0).uniform(-3, 0, len(pieces)).tolist())
    expected = confidence_of(answer, cut)
    extracted = extract_reasoning(completion_of_choice(chat(answer.raw, cut)))
    assert extracted.text == reasoning
    assert_confidence(extracted.token_end, extracted.token_logprob, expected)
    alone = [tokenizer.decode([token]) for token in ids]
    assert any("\ufffd" in token for token in alone)
    ascii_positions = [number for number, character in enumerate(reasoning) if character.isascii()]
    words = [number for number in ascii_positions if reasoning[number].isalnum()]
    for tokens, exact in (alone, ascii_positions), (decoded_in_context(pieces), words):
        extracted = extract_reasoning(completion_of_choice(text_only(answer.raw, tokens, cut.logprobs)))
        assert extracted.text == reasoning
        assert_confidence(extracted.token_end, extracted.token_logprob, expected, exact)


def bytes_of(tokens: Sequence[str]) -> list[bytes]:
    """Return the bytes of a byte-level tokenizer's tokens, which write each byte as a printable character (GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of[" "] = ord(" ")  # added tokens hold spaces as they are
    byte_of |= {chr(256 + number): byte for number, byte in enumerate(sorted({*range(256)} - {*printable}))}
    return [bytes(byte_of[character] for character in token) for token in tokens]
