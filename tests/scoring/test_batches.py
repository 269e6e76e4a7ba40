"""Batches: their size, finished pairs, pairs with known scores, and running out of memory."""

from __future__ import annotations

import pytest

from rbridge_tasks.backends import hf
from rbridge_tasks.scoring import score_pairs
from rbridge_tasks.scoring.collector import ScoringError

from ..support import (
    harness_model,
    mixed_pairs,
    stock_loglikelihoods,
    tiny_model,
)
from .reading import (
    Finished,
    Tokenizers,
    agree,
    memory_for,
    refused,
    repeated_questions,
    scores,
    ten_items,
    totals,
)


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("max_length", [40, 2048])
def test_each_pair_is_reported_as_finished_once(tokenizers: Tokenizers, batch_size: int | str, max_length: int) -> None:
    """The reported scores are the returned ones, also for a trace whose windows are in several batches."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=batch_size, max_length=max_length)
    pairs, finished = mixed_pairs(), Finished()
    trace_scores = hf.score(lm, pairs, [""] * len(pairs), done=finished)
    assert all(finished.scores[i] is score for i, score in enumerate(trace_scores))
    assert len(finished.scores) == len(pairs)


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_known_pairs_are_not_read_again_and_change_no_score(tokenizers: Tokenizers, family: str) -> None:
    """Only batches with an unknown pair are read, with the same pairs as before: scores are equal to the last bit."""
    model, pairs, first = tiny_model(family, 700), repeated_questions(), Finished()
    lm = harness_model(model, tokenizers["bos"], batch_size=4)
    trace_scores = hf.score(lm, pairs, [""] * len(pairs), done=first)
    finished_batches, remaining_batches = first.batches[:6], first.batches[6:]
    known = {i: first.scores[i] for batch in finished_batches for i in batch}
    again = Finished()
    repeated = hf.score(lm, pairs, [""] * len(pairs), done=again, known=known)
    assert again.batches == remaining_batches
    for score, reference in zip(trace_scores, repeated, strict=True):
        assert score.to_json() == reference.to_json()


def test_pairs_tokenised_later_get_the_same_scores(tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are tokenised in parts, the next part while one is scored; indices count all pairs."""
    lm, pairs = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2), mixed_pairs()
    expected = stock_loglikelihoods(lm, pairs)
    monkeypatch.setattr(score_pairs, "PAIRS_AT_ONCE", 3)
    finished = Finished()
    trace_scores = hf.score(lm, pairs, [""] * len(pairs), done=finished, known=None)
    agree(trace_scores, expected)
    assert sorted(finished.scores) == list(range(len(pairs)))
    known = {i: trace_scores[i] for i in (3, 4, 5)}
    assert hf.score(lm, pairs, [""] * len(pairs), known=known)[4] is trace_scores[4]


def test_running_out_of_memory_halves_the_batch(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """The scores are those of a run with enough memory, and a warning is logged."""
    model = tiny_model("llama", 700)
    lm = harness_model(model, tokenizers["bos"], batch_size=8)
    pairs = [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())]
    expected = totals(scores(lm, pairs))
    assert "out of memory" not in caplog.text
    with memory_for(model, 200):
        agree(scores(lm, pairs), expected)
    assert "out of memory with a batch of 8; going on with 4" in caplog.text


def test_auto_fits_its_batches_into_memory(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """It starts with more tokens than memory allows, and reduces the batch until it fits."""
    model = tiny_model("llama", 700)
    lm = harness_model(model, tokenizers["bos"], batch_size="auto")
    pairs = [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())]
    with memory_for(model, 100):
        trace_scores = scores(lm, pairs)
    agree(trace_scores, totals(scores(lm, pairs)))
    assert "tokens" in caplog.text.split("out of memory with a batch of ")[1]


@pytest.mark.parametrize(("max_batch_size", "largest"), [(64, 9), (3, 3)])
def test_auto_reads_no_more_texts_than_the_user_allows(
    tokenizers: Tokenizers, max_batch_size: int, largest: int
) -> None:
    """``--max_batch_size`` limits the texts in a batch; lm-eval's default of 64 sets no limit.

    The longest of the ten texts is read by itself.
    """
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size="auto", max_batch_size=max_batch_size)
    finished, pairs = Finished(), ten_items()
    hf.score(lm, pairs, [""] * len(pairs), done=finished)
    assert max(map(len, finished.batches)) == largest


@pytest.mark.parametrize("tokens", [5, 150])
def test_a_trace_that_does_not_fit_into_memory_is_an_error(tokenizers: Tokenizers, tokens: int) -> None:
    """A text that does not fit on its own ends the run; the message says what to do."""
    model = tiny_model("mamba", 700)
    with memory_for(model, tokens):
        message = refused(harness_model(model, tokenizers["bos"], batch_size=8), mixed_pairs(), ScoringError)
    assert "does not fit into memory on cpu; use a device with more memory" in message


def test_other_errors_of_the_model_are_not_mistaken_for_memory(tokenizers: Tokenizers) -> None:
    """A failing layer is the model's own error, not a reason to halve the batch."""
    model = tiny_model("llama", 700)
    model.model.layers[0].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scores(harness_model(model, tokenizers["bos"]), mixed_pairs())


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ...",
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate ...",
        "MPS backend out of memory (MPS allocated: 17.92 GB, other allocations: 96.00 KB, max allowed: 18.13 GB).",
        "HIP error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_every_device_says_in_its_way_that_memory_ran_out(
    tokenizers: Tokenizers, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a batch, the batch is halved; in the trial, no slower way of reading is tried."""
    model, pairs = tiny_model("llama", 700), ten_items()
    with memory_for(model, 100, RuntimeError(message)):
        scores(harness_model(model, tokenizers["bos"], batch_size=8), pairs)
    assert "out of memory with a batch of 8; going on with 4" in caplog.text
    lm = harness_model(model, tokenizers["bos"])
    caplog.clear()
    with memory_for(model, 5, RuntimeError(message)):
        assert "does not fit into memory on cpu" in refused(lm, pairs, ScoringError)
    assert not caplog.text
