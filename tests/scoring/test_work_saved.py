"""Shared text is read once and only trace tokens are projected; scores do not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedModel

from rbridge_tasks.backends import hf

from ..support import (
    harness_model,
    mixed_pairs,
    shots,
    stock_loglikelihoods,
    tiny_model,
)
from .reading import (
    TRIED_BESIDE,
    Finished,
    Tokenizers,
    agree,
    encode,
    repeated_questions,
    scorer_of,
    scores,
    ten_items,
    work,
)


@pytest.mark.parametrize(
    "family",
    [
        *("llama", "gpt2", "gpt_neox", "opt", "bloom", "qwen2", "qwen3", "granite", "cohere"),
        *("mamba", "gemma2", "mistral_sliding"),
    ],
)
def test_work_that_is_saved(tokenizers: Tokenizers, family: str) -> None:
    """Ten 5-shot items cost little more than one item and the trial, also with recurrent states or sliding windows.

    Logits are computed for trace tokens, not for the prompt.
    """
    model, pairs = tiny_model(family, 700), ten_items(shots("the sum"))
    encoded = encode(tokenizers["bos"], pairs)
    inputs, scored = (
        sum(sizes) for sizes in zip(*[(p.ids.size - 1, p.ids.size - p.first) for p in encoded], strict=True)
    )
    trial_tokens = (
        5 * inputs if family in ("bloom", "mamba", "gemma2", "mistral_sliding") else 2 * inputs
    ) // 10 + TRIED_BESIDE
    with work(model) as counts:
        scores(harness_model(model, tokenizers["bos"], batch_size=2), pairs)
    assert counts["projected"] <= scored + inputs * 0.35 + TRIED_BESIDE
    assert counts["read"] <= trial_tokens + inputs * 0.3


@pytest.mark.parametrize("prompt", ["", "the sum"], ids=["no prompt", "shared prompt"])
@pytest.mark.parametrize("count", [1, 10])
def test_the_reading_of_a_trial_is_the_score(tokenizers: Tokenizers, prompt: str, count: int) -> None:
    """A second call, which tries nothing, gives the same numbers to the last bit and reads no fewer texts.

    The first call reads the longest text twice, as the model's own forward pass and as a score, and short ones.
    """
    pairs = ten_items(shots(prompt) if prompt else "")[:count]
    encoded = encode(tokenizers["bos"], pairs)
    model = tiny_model("llama", 700)
    scorer = scorer_of(model)
    with work(model) as first:
        tried = scorer.score(encoded, [""] * count)
    with work(model) as second:
        again = scorer.score(encoded, [""] * count)
    for one, other in zip(tried, again, strict=True):
        np.testing.assert_array_equal(one.logprob, other.logprob)
    longest = max(pair.ids.size - 1 for pair in encoded)
    assert first["read"] <= second["read"] + longest + TRIED_BESIDE


@pytest.mark.parametrize(
    ("family", "way"),
    [
        *((family, "one line") for family in ("llama", "gpt2", "gpt_neox", "opt", "qwen2", "qwen3", "granite")),
        *((family, "one line") for family in ("cohere", "phi", "phi3")),
        ("bloom", "one line"),
        ("gemma2", "one line"),
        ("mistral_sliding", "one line"),
        ("lfm2", "padded"),
    ],
)
def test_way_of_reading_that_a_model_allows(tokenizers: Tokenizers, family: str, way: str) -> None:
    """Models with causal attention are read without padding, also with caps and windows."""
    encoded = encode(tokenizers["bos"], mixed_pairs())
    scorer = scorer_of(tiny_model(family, 700))
    scorer.score(encoded, [""] * len(encoded))
    assert scorer.way_of_reading.startswith(way)


def test_window_narrower_and_wider_than_the_texts(tokenizers: Tokenizers) -> None:
    """Masks cover the longest text so far and are extended for longer texts that come later."""
    model, pairs = tiny_model("mistral_sliding", 700, sliding_window=100), mixed_pairs()
    encoded = encode(tokenizers["bos"], pairs)
    scorer = scorer_of(model, batch_size=4)
    short = [pair for pair in encoded if pair.ids.size <= 100]
    before = scorer.score(short, [""] * len(short))
    assert scorer.way_of_reading == "one line"
    after = scorer.score(encoded, [""] * len(encoded))
    assert scorer.way_of_reading == "one line"
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(after, expected)
    agree(before, [total for total, pair in zip(expected, encoded, strict=True) if pair.ids.size <= 100])


def test_trial_reads_the_shared_prompt_for_all(tokenizers: Tokenizers) -> None:
    """The trial costs one pass over the longest text and short ones; its states of the prompt are reused."""
    model, pairs = tiny_model("llama", 700), ten_items(shots("the sum") * 5)
    inputs = [tuple(pair.ids[:-1].tolist()) for pair in encode(tokenizers["bos"], pairs)]
    different = len({text[:end] for text in inputs for end in range(1, len(text) + 1)})
    prompt = next(i for i, tokens in enumerate(zip(*inputs, strict=False)) if len(set(tokens)) > 1)
    with work(model) as counts:
        scores(harness_model(model, tokenizers["bos"], batch_size=1), pairs)
    longest = max(map(len, inputs))
    read_again = len(pairs) * 31  # shared prefixes below the minimum length
    assert counts["read"] <= different + read_again + longest + (longest - prompt) + TRIED_BESIDE
    assert read_again < prompt


def test_model_that_is_trained_between_two_calls(tokenizers: Tokenizers) -> None:
    """The second call does not use states of the prompt from the first call's trial."""
    model, pairs = tiny_model("llama", 700), encode(tokenizers["bos"], ten_items(shots("the sum")))
    pairs.sort(key=lambda pair: -pair.ids.size)
    scorer = scorer_of(model, batch_size=4)
    scorer.score(pairs[:2], [""] * 2)  # one batch, without a prefix
    with torch.no_grad():
        model.model.layers[0].self_attn.k_proj.weight.mul_(3)
    trace_scores = scorer.score(pairs, [""] * 10)
    expected = scorer_of(model, batch_size=4).score(pairs, [""] * 10)
    for score, reference in zip(trace_scores, expected, strict=True):
        assert np.array_equal(score.logprob, reference.logprob)


def test_without_a_shared_prompt_each_text_is_read_once(tokenizers: Tokenizers) -> None:
    """0-shot items have no common prefix of the minimum length."""
    model, pairs = (
        tiny_model("llama", 700),
        [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())],
    )
    lm = harness_model(model, tokenizers["bos"])
    expected = stock_loglikelihoods(lm, pairs)
    inputs = sum(pair.ids.size - 1 for pair in encode(tokenizers["bos"], pairs))
    with work(model) as counts:
        agree(scores(lm, pairs), expected)
    assert counts["read"] <= inputs * 1.3 + TRIED_BESIDE


@pytest.mark.parametrize("family", ["llama", "bloom", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 8, "auto"])
def test_prefixes_of_prefixes_agree_with_stock(tokenizers: Tokenizers, family: str, batch_size: int | str) -> None:
    """Nested prefixes: a preamble, the examples of two tasks, and questions."""
    model, pairs = tiny_model(family, 700), repeated_questions()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=batch_size), pairs), expected)


@pytest.mark.parametrize("batch_size", [1, 8, "auto"])
def test_every_token_that_texts_share_is_read_once(tokenizers: Tokenizers, batch_size: int | str) -> None:
    """The tokens read are those of the texts' prefix tree plus those of the trial."""
    model, pairs = tiny_model("llama", 700), repeated_questions()
    encoded = encode(tokenizers["bos"], pairs)
    inputs = [tuple(pair.ids[:-1].tolist()) for pair in encoded]
    different = len({text[:end] for text in inputs for end in range(1, len(text) + 1)})
    with work(model) as counts:
        scores(harness_model(model, tokenizers["bos"], batch_size=batch_size), pairs)
    # Up to 31 shared tokens are read again with each text; batches of 8 separate texts that share tokens.
    read_again = len(pairs) * 31 if batch_size == 1 else different * 0.2
    assert different <= counts["read"] <= different + read_again + 2 * max(map(len, inputs)) + TRIED_BESIDE
    assert sum(map(len, inputs)) > 8 * different


def test_traces_of_one_question_share_all_of_its_context(tokenizers: Tokenizers) -> None:
    """Pairs that differ only in the trace still read the token that predicts the trace's first token."""
    model, (context, _) = tiny_model("llama", 700), ten_items(shots("the sum"))[0]
    lm, pairs = harness_model(model, tokenizers["bos"]), [(context, f"{i} + 1, so it is.") for i in range(10)]
    agree(scores(lm, pairs), stock_loglikelihoods(lm, pairs))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_are_as_large_as_asked_for(tokenizers: Tokenizers, batch_size: int) -> None:
    """Batches are not larger, which may not fit into memory, and only the last is smaller."""
    pairs, finished = ten_items(shots("the sum")), Finished()
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=batch_size)
    hf.score(lm, pairs, [pair[1] for pair in pairs], done=finished)
    assert max(map(len, finished.batches)) == batch_size
    assert len(finished.batches) == -(-10 // batch_size)


class HeadIsNoModule(transformers.LlamaForCausalLM):
    """A model that does not return its output projection."""

    def get_output_embeddings(self) -> None:
        return None


class LogitsAreRescaled(transformers.LlamaForCausalLM):
    """A model that changes its logits after the projection, as Falcon H1 does with a multiplier."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits = result.logits * 1.5
        return result


@pytest.mark.parametrize("model_class", [HeadIsNoModule, LogitsAreRescaled])
def test_unusual_heads_are_scored_by_the_models_own_logits(
    tokenizers: Tokenizers, model_class: type[PreTrainedModel]
) -> None:
    """If the projection cannot be separated, the model's own logits are used."""
    model = model_class(tiny_model("llama", 700).config).eval()
    pairs = mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)


# peft 0.21 reads a property of transformers 5.23 under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_are_scored(tokenizers: Tokenizers) -> None:
    """A PEFT LoRA model, with an adapter on the output projection too, agrees with stock and differs from its base."""
    peft = pytest.importorskip("peft")
    base, pairs = tiny_model("llama", 700), mixed_pairs()
    before = stock_loglikelihoods(harness_model(base, tokenizers["bos"]), pairs)
    lora = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    model = peft.get_peft_model(base, lora).eval()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)
    assert not np.allclose(before, expected, rtol=1e-2)
