"""The fast scorer gives the numbers of lm-eval's own pass, for every kind of model, tokenizer, prompt and batch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from rbridge_metrics import TokenScores
from transformers import PreTrainedModel

from rbridge_tasks.backends import hf
from rbridge_tasks.backends.causal_lm import CausalScorer, ScoringError
from rbridge_tasks.backends.windows import plan_windows
from rbridge_tasks.tokenization import PairEncoder

from .support import FAMILIES, Pair, PythonTwin, harness_model, mixed_pairs, stock_loglikelihoods, tiny_model

Tokenizers = dict[str, Any]


def scores(lm: HFLM, pairs: list[Pair]) -> list[TokenScores]:
    """What the back end gives for the pairs."""
    return hf.score(lm, pairs, [f"gsm8k/{i}" for i in range(len(pairs))])


def totals(found: list[TokenScores]) -> list[float]:
    """Summed log-probability of each trace."""
    return [float(score.logprob.astype(np.float64).sum()) for score in found]


def agrees_with_stock(lm: HFLM, pairs: list[Pair], expected: list[float] | None = None) -> list[TokenScores]:
    """Check the sums against lm-eval's, pair by pair, and return the scores."""
    found = scores(lm, pairs)
    np.testing.assert_allclose(totals(found), expected or stock_loglikelihoods(lm, pairs), rtol=1e-4)
    return found


def by_definition(model: PreTrainedModel, ids: list[int], first: int) -> dict[str, np.ndarray]:
    """Score ``ids[first:]`` from one plain forward pass over all of ``ids``."""
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([ids[:-1]])).logits[0, first - 1 :].double(), dim=-1)
    chosen = logprobs.gather(-1, torch.tensor(ids[first:]).unsqueeze(-1))
    return {
        "logprob": chosen.squeeze(-1).numpy(),
        "rank": 1 + (logprobs > chosen).sum(-1).numpy(),
        "entropy": -(logprobs.exp() * logprobs).sum(-1).numpy(),
        "max_logprob": logprobs.max(-1).values.numpy(),
    }


@contextmanager
def work(model: PreTrainedModel) -> Iterator[dict[str, int]]:
    """Count the tokens that the model reads and the positions that its output projection is applied to."""
    done = {"read": 0, "projected": 0}

    def reads(_module: Any, _args: Any, named: dict[str, Any]) -> None:
        done["read"] += named["input_ids"].numel()

    def projects(_module: Any, args: tuple[torch.Tensor]) -> None:
        done["projected"] += args[0].numel() // args[0].shape[-1]

    hooks = [
        model.register_forward_pre_hook(reads, with_kwargs=True),
        model.get_output_embeddings().register_forward_pre_hook(projects),
    ]
    yield done
    for hook in hooks:
        hook.remove()


@contextmanager
def memory_for(model: PreTrainedModel, tokens: int) -> Iterator[list[tuple[int, int]]]:
    """A model that runs out of memory with more than so many tokens in a batch; yields the batches that fitted."""
    forward, fitted = model.forward, []

    @functools.wraps(forward)
    def limited(*args: Any, **named: Any) -> Any:
        if named["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        fitted.append(tuple(named["input_ids"].shape))
        return forward(*args, **named)

    model.forward = limited
    yield fitted
    del model.forward


# ---------------------------------------------------------------- the numbers of stock lm-eval


@pytest.mark.parametrize("name", ["byte_level", "byte_level_gpt4", "trimmed", "bos", "byte_fallback", "python"])
def test_sums_equal_stock_loglikelihood(tokenizers: Tokenizers, name: str) -> None:
    """For every kind of tokenizer, at every batch size, over pairs of several prompts in one call."""
    tokenizer = PythonTwin(tokenizers["bos"]) if name == "python" else tokenizers[name]
    model = tiny_model("llama", len(tokenizer))
    pairs = mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizer), pairs)
    for batch_size in (1, 3, 8, "auto"):
        agrees_with_stock(harness_model(model, tokenizer, batch_size=batch_size), pairs, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_families_agree_with_stock(tokenizers: Tokenizers, family: str) -> None:
    """Shared prompts, trimmed projections and padding change no number, whatever the architecture."""
    model = tiny_model(family, 700)
    agrees_with_stock(harness_model(model, tokenizers["bos"], batch_size=3), mixed_pairs())


@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba", "gemma2"])
def test_every_statistic_equals_its_definition(tokenizers: Tokenizers, family: str) -> None:
    """Log-probability, rank, entropy and maximum of each token, from one plain pass over each pair."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    for pair, found in zip(encoded, scores(harness_model(model, tokenizers["bos"], batch_size=8), pairs), strict=True):
        for column, expected in by_definition(model, pair.ids.tolist(), pair.first).items():
            np.testing.assert_allclose(getattr(found, column), expected, rtol=1e-4, atol=1e-4, err_msg=column)
        assert found.token_id.tolist() == pair.ids[pair.first :].tolist()
        assert found.vocab_size == 700
        assert (found.windows, found.context_tokens_cut) == (1, 0)


@pytest.mark.parametrize("shared", [True, False])
def test_short_cuts_are_taken_and_save_work(tokenizers: Tokenizers, shared: bool) -> None:
    """A prompt that items share is read once, and only positions that predict trace tokens are projected."""
    model, lm_options = tiny_model("llama", 700), {"batch_size": 1}
    prompt = mixed_pairs()[0][0]
    pairs = [(prompt if shared else f"{i}: {prompt}", f"{i} + 1 = {i + 1}") for i in range(10)]
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    scored = sum(pair.ids.size - pair.first for pair in encoded)
    inputs = sum(pair.ids.size - 1 for pair in encoded)
    with work(model) as done:
        agrees = agrees_with_stock(
            harness_model(model, tokenizers["bos"], **lm_options), pairs, stock_loglikelihoods_of(model, tokenizers, pairs)
        )
    assert len(agrees) == 10
    probing = 4 * encoded[0].ids.size
    assert done["projected"] <= scored + len(pairs) + probing
    assert done["read"] <= probing + (inputs / 4 if shared else inputs)


@functools.cache
def _reference(model_id: int) -> None: ...


def stock_loglikelihoods_of(model: PreTrainedModel, tokenizers: Tokenizers, pairs: list[Pair]) -> list[float]:
    return stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
