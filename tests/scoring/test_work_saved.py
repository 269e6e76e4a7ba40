"""Shared text is read once and only trace tokens are projected, without a change of any number."""

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
    """Ten 5-shot items cost little more than one and its trial, with recurrent state or sliding windows, too.

    The vocabulary is projected onto trace tokens, not onto the prompt.
    """
    model, pairs = tiny_model(family, 700), ten_items(shots("the sum"))
    encoded = encode(tokenizers["bos"], pairs)
    inputs, scored = (
        sum(sizes) for sizes in zip(*[(p.ids.size - 1, p.ids.size - p.first) for p in encoded], strict=True)
    )
    trying = (
        5 * inputs if family in ("bloom", "mamba", "gemma2", "mistral_sliding") else 2 * inputs
    ) // 10 + TRIED_BESIDE
    with work(model) as done:
        scores(harness_model(model, tokenizers["bos"], batch_size=2), pairs)
    assert done["projected"] <= scored + inputs * 0.35 + TRIED_BESIDE
    assert done["read"] <= trying + inputs * 0.3


@pytest.mark.parametrize(
    ("family", "way"),
    [
        *((family, "one line") for family in ("llama", "gpt2", "gpt_neox", "opt", "qwen2", "qwen3", "granite")),
        *((family, "one line") for family in ("cohere", "phi", "phi3")),
        ("bloom", "padded"),
        ("gemma2", "one line"),
        ("mistral_sliding", "one line"),
        ("lfm2", "padded"),
    ],
)
def test_way_of_reading_that_a_model_allows(tokenizers: Tokenizers, family: str, way: str) -> None:
    """Without padding or copies wherever attention is causal, with caps and windows, too."""
    encoded = encode(tokenizers["bos"], mixed_pairs())
    scorer = scorer_of(tiny_model(family, 700))
    scorer.score(encoded, [""] * len(encoded))
    assert scorer.way_of_reading.startswith(way)


def test_window_narrower_and_wider_than_the_texts(tokenizers: Tokenizers) -> None:
    """Masks cover the longest text so far; longer ones, scored later, are noticed."""
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
    """The trial costs one pass over the longest text and short ones: what it reads of the prompt is used."""
    model, pairs = tiny_model("llama", 700), ten_items(shots("the sum") * 5)
    inputs = [tuple(pair.ids[:-1].tolist()) for pair in encode(tokenizers["bos"], pairs)]
    different = len({text[:end] for text in inputs for end in range(1, len(text) + 1)})
    prompt = next(i for i, tokens in enumerate(zip(*inputs, strict=False)) if len(set(tokens)) > 1)
    with work(model) as done:
        scores(harness_model(model, tokenizers["bos"], batch_size=1), pairs)
    longest = max(map(len, inputs))
    again = len(pairs) * 31  # shared tokens that are not worth a prefix
    assert done["read"] <= different + again + longest + (longest - prompt) + TRIED_BESIDE
    assert again < prompt


def test_model_that_is_trained_between_two_calls(tokenizers: Tokenizers) -> None:
    """Nothing that the first call's trial read of the prompt is used by the second."""
    model, pairs = tiny_model("llama", 700), encode(tokenizers["bos"], ten_items(shots("the sum")))
    pairs.sort(key=lambda pair: -pair.ids.size)
    scorer = scorer_of(model, batch_size=4)
    scorer.score(pairs[:2], [""] * 2)  # one batch, behind no prefix
    with torch.no_grad():
        model.model.layers[0].self_attn.k_proj.weight.mul_(3)
    found = scorer.score(pairs, [""] * 10)
    expected = scorer_of(model, batch_size=4).score(pairs, [""] * 10)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.logprob, other.logprob)


def test_without_a_shared_prompt_each_text_is_read_once(tokenizers: Tokenizers) -> None:
    """0-shot items have nothing long enough in common."""
    model, pairs = (
        tiny_model("llama", 700),
        [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())],
    )
    lm = harness_model(model, tokenizers["bos"])
    expected = stock_loglikelihoods(lm, pairs)
    inputs = sum(pair.ids.size - 1 for pair in encode(tokenizers["bos"], pairs))
    with work(model) as done:
        agree(scores(lm, pairs), expected)
    assert done["read"] <= inputs * 1.3 + TRIED_BESIDE


@pytest.mark.parametrize("family", ["llama", "bloom", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 8, "auto"])
def test_prefixes_of_prefixes_agree_with_stock(tokenizers: Tokenizers, family: str, batch_size: int | str) -> None:
    """A preamble, under it the examples of two tasks, under them questions: each level is read once or as it may be."""
    model, pairs = tiny_model(family, 700), repeated_questions()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=batch_size), pairs), expected)


@pytest.mark.parametrize("batch_size", [1, 8, "auto"])
def test_every_token_that_texts_share_is_read_once(tokenizers: Tokenizers, batch_size: int | str) -> None:
    """The tokens read are those of the tree that the texts form, beside those of the trial before it."""
    model, pairs = tiny_model("llama", 700), repeated_questions()
    encoded = encode(tokenizers["bos"], pairs)
    inputs = [tuple(pair.ids[:-1].tolist()) for pair in encoded]
    different = len({text[:end] for text in inputs for end in range(1, len(text) + 1)})
    with work(model) as done:
        scores(harness_model(model, tokenizers["bos"], batch_size=batch_size), pairs)
    # Up to 31 shared tokens are read again with each text, and half a batch of 8 is cut from its neighbours.
    again = len(pairs) * 31 if batch_size == 1 else different * 0.2
    assert different <= done["read"] <= different + again + 2 * max(map(len, inputs)) + TRIED_BESIDE
    assert sum(map(len, inputs)) > 8 * different


def test_traces_of_one_question_share_all_of_its_context(tokenizers: Tokenizers) -> None:
    """Pairs that differ in the trace alone keep the token that predicts its first one."""
    model, (context, _) = tiny_model("llama", 700), ten_items(shots("the sum"))[0]
    lm, pairs = harness_model(model, tokenizers["bos"]), [(context, f"{i} + 1, so it is.") for i in range(10)]
    agree(scores(lm, pairs), stock_loglikelihoods(lm, pairs))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_are_as_large_as_asked_for(tokenizers: Tokenizers, batch_size: int) -> None:
    """Neither larger, which may not fit into memory, nor always smaller."""
    pairs, finished = ten_items(shots("the sum")), Finished()
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=batch_size)
    hf.score(lm, pairs, [pair[1] for pair in pairs], done=finished)
    assert max(map(len, finished.batches)) == batch_size
    assert len(finished.batches) == -(-10 // batch_size)


class HeadIsNoModule(transformers.LlamaForCausalLM):
    """A model that does not say what its output projection is."""

    def get_output_embeddings(self) -> None:
        return None


class LogitsAreRescaled(transformers.LlamaForCausalLM):
    """A model that does something of its own to its logits, such as Falcon H1's multiplier."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits = result.logits * 1.5
        return result


@pytest.mark.parametrize("model_class", [HeadIsNoModule, LogitsAreRescaled])
def test_unusual_head_is_scored_the_plain_way(tokenizers: Tokenizers, model_class: type[PreTrainedModel]) -> None:
    """Where the projection cannot be taken apart, the model's own logits are used."""
    model = model_class(tiny_model("llama", 700).config).eval()
    pairs = mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)


# peft 0.21 asks transformers 5.23 for a property by its old name.
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
