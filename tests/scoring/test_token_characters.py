"""Every scored token knows its characters and bytes of the trace, also if the tokenizer changes the text."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rbridge_metrics import frontier_tokens
from rbridge_tasks.scoring.tokenization import TokenizedPair, token_byte_ends

from ..metrics.strategies import cases, texts
from ..support import SPECIAL, PythonTwin, byte_level, corpus
from .tokenized_pairs import CONTEXTS, WORD_BY_WORD, Tokenizers, characters, encode

BYTE_LEVEL = ["byte_level", "byte_level_gpt4", "across_words", "bos"]
TRIMMED_AND_NOT = [("trimmed", "byte_level"), ("across_words_trimmed", "across_words")]


def byte_value(symbol: str) -> int:
    """The byte that a symbol of a byte-level token encodes: printable bytes as themselves, the others from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unprintable = [byte for byte in range(256) if byte not in printable]
    return ord(symbol) if ord(symbol) < 256 else unprintable[ord(symbol) - 256]


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """The bytes that a token of a byte-level or byte-fallback tokenizer encodes."""
    piece: str = tokenizer.convert_ids_to_tokens(int(token))
    if "<0x0A>" in tokenizer.get_vocab():
        return bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("▁", " ").encode()
    return bytes(byte_value(symbol) for symbol in piece)


def spans_by_bytes(
    tokenizer: Any, context: str, trace: str, pair: TokenizedPair
) -> tuple[list[tuple[int, int]], list[int]]:
    """Characters and end byte of each scored token, computed from the concatenated bytes of the tokens."""
    pieces = [token_bytes(tokenizer, token) for token in pair.ids[pair.first :]]
    text_bytes = (context + trace).encode()
    assert text_bytes.endswith(b"".join(pieces)) or not context  # byte fallback puts a space before the text
    character_of_byte = [i for i, character in enumerate(context + trace) for _ in character.encode()]
    position = len(text_bytes) - sum(map(len, pieces))
    spans, byte_ends = [], []
    for piece in pieces:
        covered = [character_of_byte[b] - len(context) for b in range(max(position, 0), position + len(piece))]
        covered = [character for character in covered if character >= 0]
        spans.append((covered[0], covered[-1] + 1) if covered else (0, 0))
        position += len(piece)
        byte_ends.append(max(position - len(context.encode()), 0))
    return spans, byte_ends


def assert_spans_match_bytes(tokenizer: Any, context: str, trace: str) -> None:
    """Assert that characters and byte ends of each scored token are those of its bytes."""
    pair = encode(tokenizer, context, trace)
    spans, byte_ends = spans_by_bytes(tokenizer, context, trace, pair)
    assert characters(pair) == spans
    assert token_byte_ends(tokenizer, trace, pair).tolist() == byte_ends


@pytest.mark.slow
@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_characters_are_those_whose_bytes_the_token_holds(tokenizers: Tokenizers, name: str) -> None:
    """For any Unicode text, compared with the concatenated bytes of the tokens."""
    tokenizer = tokenizers[name]

    @cases(120)
    @example("Answer: ", "\\frac{1}{2}\n    x  \n\n")
    @example("", "👩\u200d👩\u200d👧 \U0010ffff")
    @given(st.sampled_from(CONTEXTS), texts())
    def check(context: str, trace: str) -> None:
        assert_spans_match_bytes(tokenizer, context, trace)

    check()


@pytest.mark.parametrize(("trimmed", "untrimmed"), TRIMMED_AND_NOT)
def test_trimmed_offsets_lose_no_characters(tokenizers: Tokenizers, trimmed: str, untrimmed: str) -> None:
    """A tokenizer that excludes spaces from its offsets gives the characters of one that includes them."""

    @cases(200)
    @given(st.sampled_from(CONTEXTS), st.one_of(texts(), st.text(" \n\tax:", min_size=1)))
    def check(context: str, trace: str) -> None:
        pair, expected = (encode(tokenizers[name], context, trace) for name in (trimmed, untrimmed))
        assert pair.ids.tolist() == expected.ids.tolist()
        assert pair.first == expected.first
        assert characters(pair) == characters(expected)

    check()


def test_the_trimming_setting_is_restored(tokenizers: Tokenizers) -> None:
    """The user's tokenizer still trims its offsets afterwards."""
    tokenizer = tokenizers["trimmed"]
    before = tokenizer("so  x", return_offsets_mapping=True)["offset_mapping"]
    encode(tokenizer, "Answer: ", "so  x")
    assert tokenizer("so  x", return_offsets_mapping=True)["offset_mapping"] == before
    assert before[-1] == (4, 5)


def test_byte_fallback_tokens_share_their_character(tokenizers: Tokenizers) -> None:
    """Each of the four bytes of an emoji covers the emoji, and its neighbours do not."""
    tokenizer = tokenizers["byte_fallback"]
    pair = encode(tokenizer, "Answer: ", "so🦊\nx")
    assert characters(pair)[-6:] == [(2, 3)] * 4 + [(3, 4), (4, 5)]
    assert token_byte_ends(tokenizer, "so🦊\nx", pair)[-6:].tolist() == [3, 4, 5, 6, 7, 8]


def test_characters_and_bytes_under_byte_fallback(tokenizers: Tokenizers) -> None:
    """For any Unicode text, compared with the concatenated bytes of the tokens."""
    tokenizer = tokenizers["byte_fallback"]

    @cases(200)
    @example("Answer: ", "wonderful\nx🦊")  # <0x0A> is spelled with six characters, as many as "wonder"
    @given(st.sampled_from([context for context in CONTEXTS if context]), texts().filter(lambda t: "▁" not in t))
    def check(context: str, trace: str) -> None:
        assert_spans_match_bytes(tokenizer, context, trace)

    check()


@pytest.mark.parametrize("name", ["byte_level_gpt4", "across_words", "bos", "bos_eos", "byte_fallback"])
def test_tokenizer_without_offsets_gives_the_characters_of_its_fast_twin(tokenizers: Tokenizers, name: str) -> None:
    """Characters found in the decoded text equal those of the offsets, also for characters of several tokens."""
    fast, python = tokenizers[name], PythonTwin(tokenizers[name])
    assert not python.is_fast
    # At the start of a text the fast tokenizer assigns the first character to the space that it adds.
    contexts = [context for context in CONTEXTS if context or name != "byte_fallback"]

    @cases(60)
    @example("Answer: ", "😀 한국어 \U0010ffff")
    @example("Answer: ", "🦊🦊 \u0e01\u0e33")
    @given(st.sampled_from(contexts), texts().filter(lambda text: not {"\ufffd", "▁"} & set(text)))
    def check(context: str, trace: str) -> None:
        pair, expected = encode(python, context, trace), encode(fast, context, trace)
        assert pair.ids.tolist() == expected.ids.tolist()
        assert pair.first == expected.first
        assert characters(pair) == characters(expected)

    check()


def test_tokenizer_without_offsets_reads_special_tokens_in_a_prompt(tokenizers: Tokenizers) -> None:
    """Special tokens in the text of a chat prompt become special token ids."""
    prompt = "<s><|user|>2 + 2?<|user|>"
    expected, pair = (encode(kind, prompt, "It is 4.") for kind in (tokenizers["bos"], PythonTwin(tokenizers["bos"])))
    assert pair.ids.tolist() == expected.ids.tolist()
    assert characters(pair) == characters(expected)


@pytest.mark.parametrize("name", [*WORD_BY_WORD, "byte_level_gpt4", "across_words", "bos_eos"])
def test_bytes_of_scored_tokens_tile_the_trace(tokenizers: Tokenizers, name: str) -> None:
    """Byte ends never decrease, and the last is the length of the trace."""
    tokenizer = tokenizers[name]

    @cases(60)
    @given(st.sampled_from(CONTEXTS), texts())
    def check(context: str, trace: str) -> None:
        ends = token_byte_ends(tokenizer, trace, encode(tokenizer, context, trace)).tolist()
        assert all(0 <= end <= following for end, following in pairwise(ends))
        assert ends[-1] == len(trace.encode())

    check()


def composing(name: str = "NFC") -> Any:
    """A byte-level tokenizer that normalises the text first, as that of GPT-NeoX does."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = getattr(normalizers, name)()
    return tokenizer


def word_piece() -> Any:
    """A tokenizer like BERT's: it lower-cases and removes accents, and no token holds white space."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def strips_spaces() -> Any:
    """A tokenizer that strips white space from both ends of a text."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    return tokenizer


def tokens_by_character(tokenizer: Any, trace: str) -> dict[str, list[int]]:
    """Tokens that hold each character of a trace, by position and character."""
    pair = encode(tokenizer, "Answer: ", trace)
    return {
        f"{position}{character}": [i for i, (start, end) in enumerate(characters(pair)) if start <= position < end]
        for position, character in enumerate(trace)
    }


def assert_tiles(tokenizer: Any, context: str, trace: str) -> None:
    """Assert that every character and every byte of the trace is in a token, in order."""
    pair = encode(tokenizer, context, trace)
    covered = {position for start, end in characters(pair) for position in range(start, end)}
    assert covered == set(range(len(trace)))
    byte_ends = token_byte_ends(tokenizer, trace, pair)
    assert (np.diff(byte_ends, prepend=0) >= 0).all()
    assert byte_ends[-1] == len(trace.encode())
    frontier_tokens(trace, byte_ends, np.full(byte_ends.size, -1.0))


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_a_composed_accent_is_in_the_token_of_its_base_character(form: str) -> None:
    """For an accent, a Hangul vowel and a reordered mark, inside a trace and at its end."""
    tokenizer = composing(form)
    for trace, composed_spans in [
        ("cafe\u0301 x", [(3, 5)]),
        ("caf e\u0301", [(4, 6)]),
        ("e\u0301\u0323 x", [(0, 3)]),
        ("x\u1112\u1161\u11ab, y", [(1, 4)]),
        ("\u0995\u09c7\u09be x", [(1, 3)]),
    ]:
        assert_tiles(tokenizer, "Answer: ", trace)
        tokens = list(tokens_by_character(tokenizer, trace).values())
        for start, end in composed_spans:
            assert all(tokens[position] == tokens[start] for position in range(start, end)), (ascii(trace), tokens)
            assert all(not set(tokens[position]) & set(tokens[start]) for position in range(end + 1, len(trace)))


def test_a_removed_accent_belongs_to_its_base_character() -> None:
    """BERT removes accents; the accent's confidence goes to the token of its base character."""
    tokens = tokens_by_character(word_piece(), "cafe\u0301 42  ")
    assert tokens["4\u0301"] == tokens["3e"]
    assert tokens["5 "] == tokens["64"]
    assert tokens["9 "] == tokens["8 "] == tokens["72"]


@pytest.mark.parametrize("name", ["word_piece", "strips_spaces", "nfc", "nfkc"])
def test_tokens_tile_the_trace_if_the_tokenizer_changes_the_text(name: str) -> None:
    """Also if it composes or removes characters, or strips white space from both ends."""
    tokenizer = {
        "word_piece": word_piece, "strips_spaces": strips_spaces, "nfc": composing,
        "nfkc": functools.partial(composing, "NFKC"),
    }[name]()  # fmt: skip
    space, accents = (
        st.text(" \n\t\u00a0", max_size=3),
        st.text("eao\u0301\u0323\u0308\u1112\u1161\u11ab½ﬁ x", max_size=12),
    )

    @cases(150)
    @given(st.sampled_from(CONTEXTS), space, st.one_of(texts(), accents), space)
    def check(context: str, before: str, text: str, after: str) -> None:
        trace = before + text + after
        if tokenizer.tokenize(trace):
            assert_tiles(tokenizer, context or "Q: ", trace)

    check()


class StrippingTwin(PythonTwin):
    """A tokenizer without offsets whose decoder strips both ends, as transformers' SentencePiece tokenizers do."""

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return super().convert_tokens_to_string(tokens).strip()


@pytest.mark.parametrize("name", ["byte_level", "across_words", "bos_eos"])
def test_a_white_space_token_holds_its_characters_if_the_decoder_strips_them(tokenizers: Tokenizers, name: str) -> None:
    """For tokens of spaces and line ends, inside a text and at both ends."""
    fast, stripping = tokenizers[name], StrippingTwin(tokenizers[name])

    @cases(60)
    @example("Answer: ", "a  1 \n\n 2 ")
    @given(st.sampled_from(CONTEXTS), st.text("a1. \n\t", min_size=1))
    def check(context: str, trace: str) -> None:
        pair, expected = encode(stripping, context, trace), encode(fast, context, trace)
        assert pair.ids.tolist() == expected.ids.tolist()
        assert characters(pair) == characters(expected)

    check()


def test_a_decoder_that_composes_accents_is_read(tokenizers: Tokenizers) -> None:
    """A tokenizer without offsets that normalises texts to NFC has the spans of its twin with offsets."""
    fast = composing()
    for trace in ("cafe\u0301 x", "e\u0301\u0323 1", "x \u1112\u1161\u11ab"):
        pair, expected = encode(PythonTwin(fast), "Answer: ", trace), encode(fast, "Answer: ", trace)
        assert pair.ids.tolist() == expected.ids.tolist()
        assert characters(pair) == characters(expected)
