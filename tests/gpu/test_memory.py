"""Memory on the GPU: large vocabularies, batches that do not fit, and the compiled reduction."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.token_statistics import token_statistics
from rbridge_tasks.scoring.tokenization import TokenizedPair

from ..error_bounds import assert_within, model_sum_bound
from ..tensor_bounds import softmax_bounds

GIB = 2**30


def llama(vocabulary: int, *, tied: bool = True, width: int = 1024, dtype: torch.dtype = torch.bfloat16) -> LlamaConfig:
    """Two layers, so that the output projection needs the most memory."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        tie_word_embeddings=tied,
        max_position_embeddings=4096,
        dtype=dtype,
    )


def random_pairs(count: int, context: int, scored: int) -> list[TokenizedPair]:
    """Pairs of random tokens that share the first 200."""
    random = np.random.default_rng(0)
    ids = random.integers(5, 30_000, (count, context + scored))
    ids[:, : min(200, context - 1)] = ids[0, : min(200, context - 1)]
    places = np.arange(scored)
    return [TokenizedPair(row, context, places, places + 1) for row in ids]


def score(model: LlamaForCausalLM, pairs: list[TokenizedPair], batch_size: int) -> list[np.ndarray]:
    """Log-probabilities of each pair."""
    scorer = CausalScorer(model, model.device, 4096, batch_size=batch_size, show_progress=False)
    scores = scorer.score(pairs, [str(i) for i in range(len(pairs))])
    assert scorer.way_of_reading == "one line"
    return [score.logprob.astype(np.float64) for score in scores]


@pytest.fixture
def clean(gpu: torch.device) -> torch.device:
    """The device with an empty cache."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(gpu)
    return gpu


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("vocabulary", [150_000, 262_144])
def test_large_vocabularies_take_a_gibibyte(
    vocabulary: int, tied: bool, dtype: torch.dtype, clean: torch.device
) -> None:
    """In addition to the weights, for the trial and 8 batches of 8 texts with 200 scored tokens each."""
    torch.manual_seed(0)
    with clean:
        model = LlamaForCausalLM(llama(vocabulary, tied=tied)).to(dtype).eval()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(clean)
    before = torch.cuda.memory_allocated(clean)
    score(model, random_pairs(64, 220, 200), 8)
    assert torch.cuda.max_memory_allocated(clean) - before <= GIB


def test_batch_that_does_not_fit_is_halved(clean: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    """A real out-of-memory error: memory is limited to little more than two texts need, and the batch has 64.

    Scores equal those of batches of two, to rounding.
    """
    torch.manual_seed(0)
    with clean:
        model = LlamaForCausalLM(llama(32_000)).float().eval()
    pairs = random_pairs(64, 250, 750)
    expected = score(model, pairs, 2)
    gc.collect()
    peak_of_two_texts = torch.cuda.max_memory_allocated(clean)
    torch.cuda.empty_cache()
    device_bytes = torch.cuda.get_device_properties(clean).total_memory
    torch.cuda.set_per_process_memory_fraction(1.2 * peak_of_two_texts / device_bytes, clean)
    try:
        with caplog.at_level(logging.WARNING, logger="rbridge_tasks"):
            scores = score(model, pairs, 64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, clean)
    assert "out of memory with a batch of 64" in caplog.text
    for logprob, reference in zip(scores, expected, strict=True):
        bound = model_sum_bound(reference, layers=2, width=1024, inner=2048, positions=1000, vocabulary=32_000)
        assert_within(logprob.sum(), reference.sum(), bound)


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("vocabulary", [511, 150_000])
def test_reduction_is_that_of_float64(vocabulary: int, compiled: bool, device: torch.device) -> None:
    """All four statistics, with several chunks, ties, logits of -inf, and a last chunk of one row."""
    generator = torch.Generator().manual_seed(0)
    rows = 1 + 16 + 2 * (256 << 20) // (4 * vocabulary) if vocabulary > 1000 else 100
    logits = torch.randint(-40, 40, (rows, vocabulary), generator=generator).div(4).to(device)
    logits[::7, ::3] = -torch.inf
    targets = torch.randint(0, vocabulary // 3, (rows,), generator=generator) * 3 + 1
    columns = token_statistics(logits, targets.to(device), lambda part: part, compiled=compiled).cpu()
    sample = torch.arange(0, rows, max(1, rows // 50))
    sample_logits, sample_targets = logits[sample.to(device)].cpu(), targets[sample]
    reference = sample_logits.double().log_softmax(-1)
    target = reference.gather(-1, sample_targets[:, None])
    lower = torch.arange(vocabulary) < sample_targets[:, None]
    rank = 1 + ((reference > target) | ((reference == target) & lower)).sum(-1)
    entropy = torch.special.entr(reference.exp()).sum(-1)
    bounds = softmax_bounds(sample_logits, sample_targets)
    assert torch.equal(columns[sample, 1], rank.double())
    for column, values, bound in zip((0, 2, 3), (target[:, 0], entropy, reference.amax(-1)), bounds, strict=True):
        assert_within(columns[sample, column].numpy(), values.numpy(), bound)
