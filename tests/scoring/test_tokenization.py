"""Pairs become the tokens that lm-eval scores, and every scored token knows its letters and bytes of the trace."""

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
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizationError, TokenizedPair, token_byte_ends

from ..metrics.strategies import cases, texts
from ..support import SPECIAL, PythonTwin, byte_level, corpus, harness_model, stock_tokens, tiny_model

Tokenizers = dict[str, Any]

BYTE_LEVEL = ["byte_level", "byte_level_gpt4", "across_words", "bos"]
TRIMMED_AND_NOT = [("trimmed", "byte_level"), ("across_words_trimmed", "across_words")]
#: With these no token of the pairs below reaches from the context into the trace.
WORD_BY_WORD = ["byte_level", "trimmed", "bos", "byte_fallback"]

CONTEXTS = ["Question: 2 + 2?\nAnswer: ", "Question: 2 + 2?\nAnswer:\n", "Question: 2?\nAnswer:  \n ", "Answer:", ""]
TRACES = [
    "42 is 6 * 7",
    "\n\n  return x",
    "\\frac{1}{2} \\times 4",
    "🦊 makes 한국어",
    "So (2)\nis\t4.  ",
    " indented",
    "x",
]


def encode(tokenizer: Any, context: str, trace: str, **options: Any) -> TokenizedPair:
    """One pair, with lm-eval's choice of prefix."""
    return PairEncoder(tokenizer, prefix_token_id=tokenizer.bos_token_id, **options).encode([(context, trace)])[0]


def letters(pair: TokenizedPair) -> list[tuple[int, int]]:
    """``[start, end)`` of each scored token."""
    return list(zip(pair.token_start.tolist(), pair.token_end.tolist(), strict=True))


def byte_of(symbol: str) -> int:
    """The byte that one symbol of a byte-level token stands for: printable ones are themselves, the others follow."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return ord(symbol) if ord(symbol) < 256 else others[ord(symbol) - 256]


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """What one token of a byte-level or byte-fallback tokenizer stands for."""
    piece: str = tokenizer.convert_ids_to_tokens(int(token))
    if "<0x0A>" in tokenizer.get_vocab():
        return bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("▁", " ").encode()
    return bytes(byte_of(symbol) for symbol in piece)


def naive(tokenizer: Any, context: str, trace: str, pair: TokenizedPair) -> tuple[list[tuple[int, int]], list[int]]:
    """Letters and end byte of each scored token, by putting the tokens' bytes one after the other."""
    pieces = [token_bytes(tokenizer, token) for token in pair.ids[pair.first :]]
    whole = (context + trace).encode()
    assert whole.endswith(b"".join(pieces)) or not context  # byte fallback puts a space before the text
    letter_of_byte = [i for i, letter in enumerate(context + trace) for _ in letter.encode()]
    at = len(whole) - sum(map(len, pieces))
    held, byte_ends = [], []
    for piece in pieces:
        inside = [letter_of_byte[b] - len(context) for b in range(max(at, 0), at + len(piece))]
        inside = [letter for letter in inside if letter >= 0]
        held.append((inside[0], inside[-1] + 1) if inside else (0, 0))
        at += len(piece)
        byte_ends.append(max(at - len(context.encode()), 0))
    return held, byte_ends


# ---------------------------------------------------------------- which tokens are scored


@pytest.mark.parametrize("name", WORD_BY_WORD)
@pytest.mark.parametrize("context", CONTEXTS)
def test_scored_tokens_are_those_of_lm_eval(tokenizers: Tokenizers, name: str, context: str) -> None:
    """Context and continuation are token for token what stock ``loglikelihood`` gives to the model."""
    tokenizer = tokenizers[name]
    lm = harness_model(tiny_model("llama", len(tokenizer)), tokenizer)
    for trace in TRACES:
        before, scored = stock_tokens(lm, (context, trace))
        pair = encode(tokenizer, context, trace)
        assert pair.ids[: pair.first].tolist() == before, (context, trace)
        assert pair.ids[pair.first :].tolist() == scored, (context, trace)


@pytest.mark.parametrize("name", ["byte_level_gpt4", "bos", "byte_fallback"])
def test_scored_tokens_are_those_of_lm_eval_for_any_text(tokenizers: Tokenizers, name: str) -> None:
    """The same for any Unicode, wherever the context alone has the tokens that it has in front of the trace."""
    tokenizer = tokenizers[name]
    lm = harness_model(tiny_model("llama", len(tokenizer)), tokenizer)

    @cases(150)
    @given(texts(6), st.sampled_from(["", " ", "\n", " \n\n"]), texts(6))
    def check(context: str, space: str, trace: str) -> None:
        before, scored = stock_tokens(lm, (context + space, trace))
        whole = tokenizer.encode(context + space + trace)
        if not before or before != whole[: len(before)]:
            return
        pair = encode(tokenizer, context + space, trace)
        assert (pair.ids[: pair.first].tolist(), pair.ids[pair.first :].tolist()) == (before, scored)

    check()


@pytest.mark.parametrize("add_bos_token", [None, True, False])
@pytest.mark.parametrize("context", ["<s>Answer: ", "Answer: ", ""])
def test_lm_evals_choices_about_the_first_token_are_kept(
    tokenizers: Tokenizers, add_bos_token: bool | None, context: str
) -> None:
    """With ``add_bos_token``, and where the text spells the first token out, there is as much of it as in lm-eval."""
    tokenizer = tokenizers["bos"]
    lm = harness_model(tiny_model("llama", len(tokenizer)), tokenizer, add_bos_token=add_bos_token)
    before, scored = stock_tokens(lm, (context, "It is 4."))
    pair = PairEncoder(tokenizer, lm.add_bos_token, lm.prefix_token_id).encode([(context, "It is 4.")])[0]
    assert (pair.ids[: pair.first].tolist(), pair.ids[pair.first :].tolist()) == (before, scored)


def test_line_end_that_joins_the_contexts_last_token_is_not_scored(tokenizers: Tokenizers) -> None:
    """GPT-4's ``:\\n`` at the end of a context belongs to the context, for lm-eval and here."""
    tokenizer = tokenizers["byte_level_gpt4"]
    assert tokenizer.tokenize("Answer:\n4")[-2:] == [":Ċ", "4"]
    lm = harness_model(tiny_model("llama", len(tokenizer)), tokenizer)
    pair = encode(tokenizer, "Answer:\n", "4")
    assert pair.ids[pair.first :].tolist() == stock_tokens(lm, ("Answer:\n", "4"))[1] == [tokenizer.get_vocab()["4"]]


def test_token_across_a_context_without_white_space_is_scored(tokenizers: Tokenizers) -> None:
    """Where the trace's first letters merge with the context's last, their token is scored: no letter is lost."""
    tokenizer = tokenizers["byte_level"]
    assert tokenizer.tokenize("A statement") == ["A", "Ġstatement"]
    pair = encode(tokenizer, "A state", "ment")
    assert tokenizer.convert_ids_to_tokens(pair.ids[pair.first :].tolist()) == ["Ġstatement"]
    assert letters(pair) == [(0, 4)]


@pytest.mark.parametrize("name", ["bos", "byte_fallback"])
@pytest.mark.parametrize("context", [*CONTEXTS, " ", "\n"])
def test_first_token_of_the_template_is_never_scored(tokenizers: Tokenizers, name: str, context: str) -> None:
    """``<s>`` stands once at the start and conditions the first scored token."""
    for tokenizer in (tokenizers[name], PythonTwin(tokenizers[name])):
        for trace in TRACES:
            pair = encode(tokenizer, context, trace)
            assert pair.ids.tolist().count(tokenizer.bos_token_id) == 1
            assert pair.ids[0] == tokenizer.bos_token_id
            assert pair.first >= 1


@pytest.mark.parametrize("context", CONTEXTS)
def test_appended_end_token_changes_nothing(tokenizers: Tokenizers, context: str) -> None:
    """A tokenizer that appends ``</s>`` gives the pairs of one that does not."""
    for trace in TRACES:
        expected = encode(tokenizers["bos"], context, trace)
        for tokenizer in (tokenizers["bos_eos"], PythonTwin(tokenizers["bos_eos"])):
            pair = encode(tokenizer, context, trace)
            assert pair.ids.tolist() == expected.ids.tolist()
            assert pair.first == expected.first
            assert letters(pair) == letters(expected)


def test_end_token_spelled_out_in_the_trace_is_scored(tokenizers: Tokenizers) -> None:
    """Only what the tokenizer adds is left out, not what the trace says."""
    pair = encode(tokenizers["bos_eos"], "Answer: ", "4</s>")
    assert tokenizers["bos_eos"].convert_ids_to_tokens(pair.ids[pair.first :].tolist()) == ["Ġ4", "</s>"]


def test_order_of_pairs_is_kept(tokenizers: Tokenizers) -> None:
    """Pairs that need different treatment, one after the other and more than one batch of them, come back in order."""
    pairs = [(CONTEXTS[i % len(CONTEXTS)], f"{TRACES[i % len(TRACES)]} {i}") for i in range(300)]
    done: list[int] = []
    encoder = PairEncoder(tokenizers["bos"], prefix_token_id=1)
    together = encoder.encode(pairs, on_progress=done.append)
    assert sum(done) == len(pairs)
    for pair, alone in zip(together[::7], (encoder.encode([pair])[0] for pair in pairs[::7]), strict=True):
        assert pair.ids.tolist() == alone.ids.tolist()


# ---------------------------------------------------------------- letters


def assert_letters_are_held(tokenizer: Any, context: str, trace: str) -> None:
    """Letters and byte ends of each scored token are those of the bytes it holds."""
    pair = encode(tokenizer, context, trace)
    held, byte_ends = naive(tokenizer, context, trace, pair)
    assert letters(pair) == held
    assert token_byte_ends(tokenizer, trace, pair).tolist() == byte_ends


@pytest.mark.slow
@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_letters_are_those_whose_bytes_the_token_holds(tokenizers: Tokenizers, name: str) -> None:
    """For any Unicode, by comparison with the tokens' bytes laid end to end."""
    tokenizer = tokenizers[name]

    @cases(120)
    @example("Answer: ", "\\frac{1}{2}\n    x  \n\n")
    @example("", "👩\u200d👩\u200d👧 \U0010ffff")
    @given(st.sampled_from(CONTEXTS), texts())
    def check(context: str, trace: str) -> None:
        assert_letters_are_held(tokenizer, context, trace)

    check()


@pytest.mark.parametrize(("trimmed", "untrimmed"), TRIMMED_AND_NOT)
def test_trimmed_offsets_lose_no_characters(tokenizers: Tokenizers, trimmed: str, untrimmed: str) -> None:
    """A tokenizer that leaves spaces out of its offsets gives the letters of the same one that does not."""

    @cases(200)
    @given(st.sampled_from(CONTEXTS), st.one_of(texts(), st.text(" \n\tax:", min_size=1)))
    def check(context: str, trace: str) -> None:
        found, expected = (encode(tokenizers[name], context, trace) for name in (trimmed, untrimmed))
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.first == expected.first
        assert letters(found) == letters(expected)

    check()


def test_trimming_is_left_as_it_was(tokenizers: Tokenizers) -> None:
    """The user's tokenizer trims its offsets afterwards as before."""
    tokenizer = tokenizers["trimmed"]
    before = tokenizer("so  x", return_offsets_mapping=True)["offset_mapping"]
    encode(tokenizer, "Answer: ", "so  x")
    assert tokenizer("so  x", return_offsets_mapping=True)["offset_mapping"] == before
    assert before[-1] == (4, 5)


def test_byte_fallback_tokens_share_their_letter(tokenizers: Tokenizers) -> None:
    """Each of the four bytes of an emoji covers the emoji, and its neighbours do not."""
    tokenizer = tokenizers["byte_fallback"]
    pair = encode(tokenizer, "Answer: ", "so🦊\nx")
    assert letters(pair)[-6:] == [(2, 3)] * 4 + [(3, 4), (4, 5)]
    assert token_byte_ends(tokenizer, "so🦊\nx", pair)[-6:].tolist() == [3, 4, 5, 6, 7, 8]


def test_letters_and_bytes_under_byte_fallback(tokenizers: Tokenizers) -> None:
    """For any Unicode, by comparison with the tokens' bytes laid end to end."""
    tokenizer = tokenizers["byte_fallback"]

    @cases(200)
    @example("Answer: ", "wonderful\nx🦊")  # <0x0A> is spelled with six characters, as many as "wonder"
    @given(st.sampled_from([context for context in CONTEXTS if context]), texts().filter(lambda t: "▁" not in t))
    def check(context: str, trace: str) -> None:
        assert_letters_are_held(tokenizer, context, trace)

    check()


@pytest.mark.parametrize("name", ["byte_level_gpt4", "across_words", "bos", "bos_eos", "byte_fallback"])
def test_tokenizer_without_offsets_gives_the_letters_of_its_fast_twin(tokenizers: Tokenizers, name: str) -> None:
    """Reading letters off the decoded text finds what offsets say, for letters of several tokens too."""
    fast, python = tokenizers[name], PythonTwin(tokenizers[name])
    assert not python.is_fast
    # At the start of a text the fast one says that the space which it puts there holds the first letter.
    contexts = [context for context in CONTEXTS if context or name != "byte_fallback"]

    @cases(60)
    @example("Answer: ", "😀 한국어 \U0010ffff")
    @example("Answer: ", "🦊🦊 \u0e01\u0e33")
    @given(st.sampled_from(contexts), texts().filter(lambda text: not {"\ufffd", "▁"} & set(text)))
    def check(context: str, trace: str) -> None:
        found, expected = encode(python, context, trace), encode(fast, context, trace)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.first == expected.first
        assert letters(found) == letters(expected)

    check()


def test_tokenizer_without_offsets_reads_special_tokens_in_a_prompt(tokenizers: Tokenizers) -> None:
    """A chat prompt spells special tokens out; they are part of the text."""
    prompt = "<s><|user|>2 + 2?<|user|>"
    expected, found = (encode(kind, prompt, "It is 4.") for kind in (tokenizers["bos"], PythonTwin(tokenizers["bos"])))
    assert found.ids.tolist() == expected.ids.tolist()
    assert letters(found) == letters(expected)


@pytest.mark.parametrize("name", [*WORD_BY_WORD, "byte_level_gpt4", "across_words", "bos_eos"])
def test_bytes_of_scored_tokens_tile_the_trace(tokenizers: Tokenizers, name: str) -> None:
    """Ends in bytes never fall, and the last is the trace's length."""
    tokenizer = tokenizers[name]

    @cases(60)
    @given(st.sampled_from(CONTEXTS), texts())
    def check(context: str, trace: str) -> None:
        ends = token_byte_ends(tokenizer, trace, encode(tokenizer, context, trace)).tolist()
        assert all(0 <= end <= following for end, following in pairwise(ends))
        assert ends[-1] == len(trace.encode())

    check()


# ---------------------------------------------------------------- characters that tokenizers change or leave out


def composing(name: str = "NFC") -> Any:
    """A byte-level tokenizer that brings a text into a normal form first, as GPT-NeoX's does."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = getattr(normalizers, name)()
    return tokenizer


def word_piece() -> Any:
    """A tokenizer as BERT's: no capitals, no accents, and no token holds white space."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def strips_spaces() -> Any:
    """A tokenizer that takes white space off both ends of a text."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    return tokenizer


def held_by(tokenizer: Any, trace: str) -> dict[str, list[int]]:
    """Tokens that hold each character of a trace, by place and character."""
    pair = encode(tokenizer, "Answer: ", trace)
    return {
        f"{at}{character}": [i for i, (start, end) in enumerate(letters(pair)) if start <= at < end]
        for at, character in enumerate(trace)
    }


def assert_tiles(tokenizer: Any, context: str, trace: str) -> None:
    """Every character and every byte of the trace is in a token, in order."""
    pair = encode(tokenizer, context, trace)
    covered = {at for start, end in letters(pair) for at in range(start, end)}
    assert covered == set(range(len(trace)))
    byte_ends = token_byte_ends(tokenizer, trace, pair)
    assert (np.diff(byte_ends, prepend=0) >= 0).all()
    assert byte_ends[-1] == len(trace.encode())
    frontier_tokens(trace, byte_ends, np.full(byte_ends.size, -1.0))


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_a_composed_accent_is_in_the_token_of_its_letter(form: str) -> None:
    """An accent, a Hangul vowel and a mark that is put in another order; in the middle of a trace and at its end."""
    tokenizer = composing(form)
    for trace, parts in [
        ("cafe\u0301 x", [(3, 5)]),
        ("caf e\u0301", [(4, 6)]),
        ("e\u0301\u0323 x", [(0, 3)]),
        ("x\u1112\u1161\u11ab, y", [(1, 4)]),
        ("\u0995\u09c7\u09be x", [(1, 3)]),
    ]:
        assert_tiles(tokenizer, "Answer: ", trace)
        held = list(held_by(tokenizer, trace).values())
        for start, end in parts:
            assert all(held[at] == held[start] for at in range(start, end)), (ascii(trace), held)
            assert all(not set(held[at]) & set(held[start]) for at in range(end + 1, len(trace)))


def test_an_accent_that_is_taken_off_belongs_to_its_letter() -> None:
    """BERT drops accents; the confidence of one goes to the token of the letter that it stands on."""
    held = held_by(word_piece(), "cafe\u0301 42  ")
    assert held["4\u0301"] == held["3e"]
    assert held["5 "] == held["64"]
    assert held["9 "] == held["8 "] == held["72"]


@pytest.mark.parametrize("name", ["word_piece", "strips_spaces", "nfc", "nfkc"])
def test_tokens_tile_the_trace_whatever_the_tokenizer_changes(name: str) -> None:
    """Characters that a tokenizer joins, takes off or leaves out, white space at both ends among them."""
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
    """A tokenizer without offsets whose decoder takes white space off both ends, as transformers' for SentencePiece."""

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return super().convert_tokens_to_string(tokens).strip()


@pytest.mark.parametrize("name", ["byte_level", "across_words", "bos_eos"])
def test_a_token_of_white_space_holds_it_whatever_the_decoder_strips(tokenizers: Tokenizers, name: str) -> None:
    """Spaces and line ends in tokens of their own, in the middle and at both ends of a text."""
    fast, stripping = tokenizers[name], StrippingTwin(tokenizers[name])

    @cases(60)
    @example("Answer: ", "a  1 \n\n 2 ")
    @given(st.sampled_from(CONTEXTS), st.text("a1. \n\t", min_size=1))
    def check(context: str, trace: str) -> None:
        found, expected = encode(stripping, context, trace), encode(fast, context, trace)
        assert found.ids.tolist() == expected.ids.tolist()
        assert letters(found) == letters(expected)

    check()


def test_a_decoder_that_composes_accents_is_read(tokenizers: Tokenizers) -> None:
    """A tokenizer without offsets that brings texts into NFC has the spans of its twin with offsets."""
    fast = composing()
    for trace in ("cafe\u0301 x", "e\u0301\u0323 1", "x \u1112\u1161\u11ab"):
        found, expected = encode(PythonTwin(fast), "Answer: ", trace), encode(fast, "Answer: ", trace)
        assert found.ids.tolist() == expected.ids.tolist()
        assert letters(found) == letters(expected)


# ---------------------------------------------------------------- errors


def test_decoding_that_changes_the_text_is_refused(tokenizers: Tokenizers) -> None:
    """One line names the trace and shows where the decoding parts from the text, behind a prompt of any length."""
    encoder, context = PairEncoder(PythonTwin(tokenizers["lower_case"])), "one and one is two. " * 20
    pairs = [(context, "it is 4"), (context, "it is\n4, he said, and He was right"), (context, "It is 5")]
    with pytest.raises(TokenizationError) as caught:
        encoder.encode(pairs, ["gsm8k/7", "gsm8k/8", "gsm8k/9"])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("trace gsm8k/8: PythonTwin gives no offsets")
    assert (
        "parts from the text at character 422: ', he said, and He was right' becomes ', he said, and he was" in message
    )


def test_forgotten_capitals_do_not_matter_with_offsets(tokenizers: Tokenizers) -> None:
    """A fast tokenizer points into the original text, whatever it makes of it."""
    pair = encode(tokenizers["lower_case"], "Answer: ", "SO it IS")
    assert pair.token_start[0] == 0
    assert pair.token_end[-1] == 8
    np.testing.assert_array_equal(pair.token_start[1:], pair.token_end[:-1])


@pytest.mark.parametrize("context", ["Answer:", ""])
def test_trace_without_tokens_is_refused(tokenizers: Tokenizers, context: str) -> None:
    """An empty trace has no score; the error says so in one line."""
    for tokenizer in (tokenizers["bos"], tokenizers["bos_eos"], PythonTwin(tokenizers["bos"])):
        with pytest.raises(TokenizationError, match="becomes no tokens") as caught:
            encode(tokenizer, context, "")
        assert "\n" not in str(caught.value)
