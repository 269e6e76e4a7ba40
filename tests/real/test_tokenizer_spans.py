"""With real tokenizers, tokens tile a trace, and each character is in the tokens that hold its bytes."""

from __future__ import annotations

import base64
import gzip
import itertools
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rbridge_metrics import character_confidence, frontier_tokens, token_confidence
from rbridge_tasks.backends.prompts.tokenizers import readable_tokenizer
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizedPair, token_byte_ends

from ..metrics.strategies import cases
from .conftest import load_tokenizer

CONTEXT = "Question: what is it?\nAnswer: "
SPACE = st.text(" \n\t\u00a0\u3000", max_size=3)
#: Letters, combining marks in any number and order, Hangul parts, CJK, emoji with joiners, compatibility characters.
PARTS = st.one_of(
    st.sampled_from(
        ["cafe\u0301", "e\u0301\u0323", "\u1112\u1161\u11ab", "\u0995\u09c7\u09be", "\u212b", "½ﬁ²", "x = 42"]
    ),
    st.text("aeo\u0301\u0308\u0323\u0327\u20d7", min_size=1, max_size=5),
    st.text("漢字かな한글\u30ab\u3099\uff76\uff9e", min_size=1, max_size=4),
    st.sampled_from(["👩\u200d👩\u200d👧", "🇰🇷", "☝🏽", "✌\ufe0f", "\U0010ffff", "\u200b"]),
    st.text(max_size=4).filter(lambda text: text.isprintable()),
)
TRACES = (
    st.tuples(SPACE, st.lists(st.tuples(PARTS, SPACE), min_size=1, max_size=5))
    .map(lambda drawn: drawn[0] + "".join(part + space for part, space in drawn[1]))
    .filter(lambda text: text and "\u2581" not in text)  # how SentencePiece writes a space
)
NAMES = ("gpt-neox", "olmo1", "olmo", "gpt2", "sentencepiece", "o200k")


@pytest.fixture(scope="module", params=NAMES)
def tokenizer(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """GPT-NeoX-20B, OLMo 1 and 2, GPT-2, Mistral 7B, and GPT-4o's encoding, which gives no offsets."""
    if request.param == "o200k":
        return o200k(data)
    return load_tokenizer(request.param, data, tmp_path_factory.mktemp(request.param))


def o200k(data: Path) -> Any:
    """Return GPT-4o's tokens with a simplified word pattern."""
    tiktoken = pytest.importorskip("tiktoken")
    lines = gzip.decompress((data / "tokenizers" / "o200k_base.tiktoken.gz").read_bytes()).split(b"\n")
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    encoding = tiktoken.Encoding(
        "o200k", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 199_999}
    )
    return readable_tokenizer(encoding, "")


def bytes_of_tokens(tokenizer: Any, ids: list[int]) -> list[bytes]:
    """Return the bytes of each token."""
    if hasattr(tokenizer, "encoding"):
        return [tokenizer.encoding.decode_single_token_bytes(token) for token in ids]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    if "<0x0A>" in tokenizer.get_vocab():
        return [
            bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("\u2581", " ").encode()
            for piece in pieces
        ]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unprintable = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(unprintable)}
    added = set(tokenizer.get_added_vocab())  # not encoded: GPT-NeoX's runs of spaces
    return [piece.encode() if piece in added else bytes(symbols[symbol] for symbol in piece) for piece in pieces]


def normaliser_of(tokenizer: Any) -> Any:
    return getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)


def inseparable(text: str, *, composes: bool) -> list[tuple[int, int]]:
    """Return the smallest parts of a text, ``[start, end)``, whose joined normal forms are the text's normal form."""
    if not composes:
        return [(at, at + 1) for at in range(len(text))]
    whole = normalize("NFC", text)
    edges = [at for at in range(len(text) + 1) if normalize("NFC", text[:at]) + normalize("NFC", text[at:]) == whole]
    return list(itertools.pairwise(edges))


def assert_held(tokenizer: Any, trace: str, pair: TokenizedPair) -> None:
    """Assert that a token's span overlaps a part if and only if the token holds bytes of the part's normal form."""
    composes = "NFC" in str(normaliser_of(tokenizer))
    text = CONTEXT + trace
    parts = inseparable(text, composes=composes)
    shaped = [normalize("NFC", text[start:end]) if composes else text[start:end] for start, end in parts]
    part_of_byte = [number for number, part in enumerate(shaped) for _ in part.encode()]
    pieces = bytes_of_tokens(tokenizer, pair.ids[pair.first :].tolist())
    at = len(part_of_byte) - sum(map(len, pieces))
    for piece, start, end in zip(pieces, pair.token_start, pair.token_end, strict=True):
        held = {part_of_byte[byte] for byte in range(at, at + len(piece))}
        at += len(piece)
        held = {number for number in held if parts[number][1] > len(CONTEXT)}
        touched = {
            number
            for number, (first, last) in enumerate(parts)
            if max(first, len(CONTEXT) + start) < min(last, len(CONTEXT) + end)
        }
        assert touched == held, (ascii(trace), piece, start, end)


def test_each_character_is_in_the_tokens_that_hold_it(tokenizer: Any) -> None:
    """Texts have marks, CJK, emoji and white space at both ends; equal confidences stay equal."""
    encoder = PairEncoder(tokenizer, prefix_token_id=0)

    @cases(100)
    @example("cafe\u0301")
    @example("e\u0301\u0323 x  ")
    @example(" \u1112\u1161\u11ab\n")
    @example("a 1  ")
    @given(TRACES)
    def check(trace: str) -> None:
        (pair,) = encoder.encode([(CONTEXT, trace)])
        assert_held(tokenizer, trace, pair)
        covered = np.zeros(len(trace), dtype=bool)
        for start, end in zip(pair.token_start, pair.token_end, strict=True):
            covered[start:end] = True
        assert covered.all(), ascii(trace)
        if not hasattr(tokenizer, "convert_ids_to_tokens"):
            return  # no model with such a tokenizer gives confidences
        byte_ends = token_byte_ends(tokenizer, trace, pair)
        assert (np.diff(byte_ends, prepend=0) >= 0).all()
        characters = character_confidence(*frontier_tokens(trace, byte_ends, np.full(byte_ends.size, np.log(0.5))))
        assert characters.size == len(trace)
        np.testing.assert_allclose(token_confidence(characters, pair.token_start, pair.token_end), 0.5, rtol=1e-7)

    check()


def test_slow_sentencepiece_has_the_spans_of_the_fast_one(data: Path, tmp_path: Path) -> None:
    """A single ``▁`` covers its space, although the decoder strips it, also at both ends of a text."""
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

    class Slow(SentencePieceBackend):
        vocab_files_names = {"vocab_file": "tokenizer.model"}  # noqa: RUF012  # transformers' way

    fast = load_tokenizer("sentencepiece", data, tmp_path)
    slow = Slow(vocab_file=str(tmp_path / "tokenizer.model"), unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    known = st.text("abc 1.,=é", min_size=1, max_size=20).filter(str.strip)

    @cases(150)
    @example("a 1  b 2 ")
    @example("  x")
    @given(known)
    def check(trace: str) -> None:
        (slow_pair,) = PairEncoder(slow, add_special_tokens=False).encode([("Answer: ", trace)])
        (fast_pair,) = PairEncoder(fast, add_special_tokens=False).encode([("Answer: ", trace)])
        if slow_pair.ids.tolist() != fast_pair.ids.tolist():  # they split some runs of spaces differently
            pieces = [slow.convert_ids_to_tokens(int(token)).replace("\u2581", " ") for token in slow_pair.ids]
            ends = np.cumsum([len(piece) for piece in pieces]) - 1 - len("Answer: ")  # a space is prepended
            assert slow_pair.token_end.tolist() == ends[slow_pair.first :].clip(0).tolist(), ascii(trace)
            return
        assert slow_pair.token_start.tolist() == fast_pair.token_start.tolist(), ascii(trace)
        assert slow_pair.token_end.tolist() == fast_pair.token_end.tolist(), ascii(trace)

    check()
