"""Pairs become the tokens that lm-eval scores; texts that cannot be tokenised are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizationError

from ..metrics.strategies import cases, texts
from ..support import PythonTwin, harness_model, stock_tokens, tiny_model
from .tokenized_pairs import CONTEXTS, TRACES, WORD_BY_WORD, Tokenizers, characters, encode


@pytest.mark.parametrize("name", WORD_BY_WORD)
@pytest.mark.parametrize("context", CONTEXTS)
def test_scored_tokens_are_those_of_lm_eval(tokenizers: Tokenizers, name: str, context: str) -> None:
    """Tokens of context and continuation equal those that stock ``loglikelihood`` passes to the model."""
    tokenizer = tokenizers[name]
    lm = harness_model(tiny_model("llama", len(tokenizer)), tokenizer)
    for trace in TRACES:
        before, scored = stock_tokens(lm, (context, trace))
        pair = encode(tokenizer, context, trace)
        assert pair.ids[: pair.first].tolist() == before, (context, trace)
        assert pair.ids[pair.first :].tolist() == scored, (context, trace)


@pytest.mark.parametrize("name", ["byte_level_gpt4", "bos", "byte_fallback"])
def test_scored_tokens_are_those_of_lm_eval_for_any_text(tokenizers: Tokenizers, name: str) -> None:
    """The same for any Unicode text whose context has the same tokens with and without the trace."""
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
    """BOS tokens are those of lm-eval, for any ``add_bos_token`` and for texts that contain ``<s>``."""
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
    """A token that merges the end of the context with the start of the trace is scored: no character is lost."""
    tokenizer = tokenizers["byte_level"]
    assert tokenizer.tokenize("A statement") == ["A", "Ġstatement"]
    pair = encode(tokenizer, "A state", "ment")
    assert tokenizer.convert_ids_to_tokens(pair.ids[pair.first :].tolist()) == ["Ġstatement"]
    assert characters(pair) == [(0, 4)]


@pytest.mark.parametrize("name", ["bos", "byte_fallback"])
@pytest.mark.parametrize("context", [*CONTEXTS, " ", "\n"])
def test_first_token_of_the_template_is_never_scored(tokenizers: Tokenizers, name: str, context: str) -> None:
    """``<s>`` occurs once, at the start, and conditions the first scored token."""
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
            assert characters(pair) == characters(expected)


def test_end_token_spelled_out_in_the_trace_is_scored(tokenizers: Tokenizers) -> None:
    """Only the end token that the tokenizer adds is removed, not one in the trace."""
    pair = encode(tokenizers["bos_eos"], "Answer: ", "4</s>")
    assert tokenizers["bos_eos"].convert_ids_to_tokens(pair.ids[pair.first :].tolist()) == ["Ġ4", "</s>"]


def test_order_of_pairs_is_kept(tokenizers: Tokenizers) -> None:
    """Pairs of different kinds in more than one batch are returned in order."""
    pairs = [(CONTEXTS[i % len(CONTEXTS)], f"{TRACES[i % len(TRACES)]} {i}") for i in range(300)]
    done: list[int] = []
    encoder = PairEncoder(tokenizers["bos"], prefix_token_id=1)
    together = encoder.encode(pairs, on_progress=done.append)
    assert sum(done) == len(pairs)
    for pair, alone in zip(together[::7], (encoder.encode([pair])[0] for pair in pairs[::7]), strict=True):
        assert pair.ids.tolist() == alone.ids.tolist()


def test_decoding_that_changes_the_text_is_refused(tokenizers: Tokenizers) -> None:
    """The one-line error names the trace and shows where the decoded text differs, after a long prompt."""
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


def test_lower_casing_tokenizers_with_offsets_are_supported(tokenizers: Tokenizers) -> None:
    """The offsets of a fast tokenizer refer to the original text."""
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
