"""The fast scorer gives the scores of lm-eval, for every kind of model, tokenizer, prompt, batch and window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from rbridge_tasks.scoring.windows import plan_windows

from ..error_bounds import assert_within, model_bound
from ..support import (
    FAMILIES,
    PythonTwin,
    harness_model,
    mixed_pairs,
    require_attention_in,
    stock_loglikelihoods,
    tiny_model,
)
from .reading import (
    Tokenizers,
    agree,
    by_definition,
    encode,
    scores,
)


@pytest.mark.parametrize("name", ["byte_level", "byte_level_gpt4", "trimmed", "bos", "byte_fallback", "python"])
def test_sums_equal_stock_loglikelihood(tokenizers: Tokenizers, name: str) -> None:
    """For every kind of tokenizer, at every batch size, over pairs of several prompts in one call."""
    tokenizer = PythonTwin(tokenizers["bos"]) if name == "python" else tokenizers[name]
    model, pairs = tiny_model("llama", len(tokenizer)), mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizer), pairs)
    for batch_size in (1, 3, 8, "auto"):
        agree(scores(harness_model(model, tokenizer, batch_size=batch_size), pairs), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_families_agree_with_stock(tokenizers: Tokenizers, family: str) -> None:
    """Reading a prompt once, projecting only trace tokens, and padding change no score in any architecture."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_stretch_with_the_text_agree_with_stock(
    tokenizers: Tokenizers, kind: str, batch_size: int
) -> None:
    """Scores equal those of each text alone under a freshly built model, whatever longer texts are read before.

    The longest text shares a prefix that is beyond the original window, and others are within it.
    """
    scaling: dict[str, Any] = {"type": kind, "rope_type": kind, "factor": 4.0}
    if kind == "longrope":
        scaling = {"type": kind, "short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 5.0]}
        settings = {"family": "phi3", "original_max_position_embeddings": 64}
    else:
        settings = {"family": "llama", "max_position_embeddings": 64}

    def fresh(batch_size: int = 1) -> HFLM:
        model = tiny_model(**settings, vocab_size=700, rope_scaling=scaling)
        return harness_model(model, tokenizers["bos"], batch_size=batch_size)

    pairs = mixed_pairs()
    expected = [stock_loglikelihoods(fresh(), [pair])[0] for pair in pairs]
    agree(scores(fresh(batch_size=batch_size), pairs), expected)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba", "gemma2"])
def test_every_statistic_equals_its_definition(tokenizers: Tokenizers, family: str) -> None:
    """Log-probability, rank, entropy and maximum of each token, from one plain pass over each pair."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    encoded = encode(tokenizers["bos"], pairs)
    for pair, token_scores in zip(
        encoded, scores(harness_model(model, tokenizers["bos"], batch_size=8), pairs), strict=True
    ):
        expected = by_definition(model, pair.ids.tolist(), pair.first)
        bound = model_bound(expected["logprob"])
        # Logits off by d move the entropy by at most d E|ln p + H|, which is below d ln V.
        for column, factor in (("logprob", 1.0), ("entropy", np.log(700)), ("max_logprob", 1.0)):
            assert_within(getattr(token_scores, column), expected[column], factor * bound, column)
        assert (expected["lowest_rank"] <= token_scores.rank).all()
        assert (token_scores.rank <= expected["highest_rank"]).all()
        assert token_scores.token_id.tolist() == pair.ids[pair.first :].tolist()
        assert token_scores.token_start.tolist() == pair.token_start.tolist()
        assert token_scores.token_end.tolist() == pair.token_end.tolist()
        assert (token_scores.vocab_size, token_scores.windows, token_scores.context_tokens_cut) == (700, 1, 0)


def test_nothing_to_score_gives_nothing(tokenizers: Tokenizers) -> None:
    """A rank of a distributed run may have no items."""
    assert scores(harness_model(tiny_model("llama", 700), tokenizers["bos"]), []) == []


@pytest.mark.parametrize("max_length", [128, 200])
def test_contexts_too_long_are_cut_as_lm_eval_cuts(
    tokenizers: Tokenizers, max_length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Contexts that fit, nearly fit and do not fit are cut to the tokens that lm-eval reads; a warning is logged."""
    model, pairs = tiny_model("llama", 700), mixed_pairs()
    lm = harness_model(model, tokenizers["bos"], max_length=max_length, batch_size=3)
    trace_scores = scores(lm, pairs)
    agree(trace_scores, stock_loglikelihoods(lm, pairs))
    encoded = encode(tokenizers["bos"], pairs)
    cut = [max(0, pair.ids.size - 1 - max_length) for pair in encoded]
    assert [score.context_tokens_cut for score in trace_scores] == cut
    assert f"{np.count_nonzero(cut)} of {len(pairs)} contexts are longer than the model's window" in caplog.text


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral_sliding"])
@pytest.mark.parametrize("max_length", [7, 40])
def test_traces_longer_than_the_window_are_scored_in_parts(
    tokenizers: Tokenizers, family: str, max_length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each window of a long trace has the scores of a plain pass over that window alone."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    trace_scores = scores(harness_model(model, tokenizers["bos"], max_length=max_length, batch_size=3), pairs)
    for pair, score in zip(encode(tokenizers["bos"], pairs), trace_scores, strict=True):
        windows = plan_windows(0, pair.ids.size, pair.first, max_length)
        parts = [by_definition(model, pair.ids[w.start : w.stop].tolist(), w.first - w.start) for w in windows]
        expected = np.concatenate([part["logprob"] for part in parts])
        assert_within(score.logprob, expected, model_bound(expected))
        assert score.windows == len(windows)
    assert max(score.windows for score in trace_scores) > 1
    assert "traces are longer than the model's window" in caplog.text


@pytest.mark.parametrize("how", ["weights", "autocast"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_bfloat16_is_no_worse_than_a_plain_pass(tokenizers: Tokenizers, family: str, how: str) -> None:
    """The error against float32 is at most twice that of a plain bfloat16 pass with an exact softmax."""
    require_attention_in(torch.bfloat16)
    exact, pairs = tiny_model(family, 700), mixed_pairs()
    model = tiny_model(family, 700)
    options = {"mixed_precision_dtype": "bfloat16"} if how == "autocast" else {}
    if how == "weights":
        model = model.bfloat16()
    trace_scores = scores(harness_model(model, tokenizers["bos"], batch_size=3, **options), pairs)
    encoded = encode(tokenizers["bos"], pairs)
    errors, naive_errors = [], []
    for pair, score in zip(encoded, trace_scores, strict=True):
        expected = by_definition(exact, pair.ids.tolist(), pair.first)["logprob"]
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            naive = by_definition(model, pair.ids.tolist(), pair.first)["logprob"]
        errors.append(np.abs(score.logprob - expected).mean())
        naive_errors.append(np.abs(naive - expected).mean())
    assert 0.5 * np.mean(naive_errors) <= np.mean(errors) <= 2 * np.mean(naive_errors)
    assert max(errors) <= 2 * max(naive_errors)
