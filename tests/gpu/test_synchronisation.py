"""The host queues all batches and does not wait for the GPU between them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from architectures import pairs
from tiny_models import VOCABULARY, tiny_model

from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.tokenization import TokenizedPair


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def scorer(request: pytest.FixtureRequest, gpu: torch.device) -> CausalScorer:
    """A scorer after its trial; it reads texts in one line."""
    model = tiny_model("llama", gain=1.0).to(gpu, request.param)
    scorer = CausalScorer(model, gpu, 2048, batch_size=2, show_progress=False)
    scorer.score(pairs(), labels(pairs()))
    assert scorer.way_of_reading == "one line"
    return scorer


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    """Operations that wait for the GPU raise an error; waiting for an event of a copy does not."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def labels(texts: list[TokenizedPair]) -> list[str]:
    return [f"trace {i}" for i in range(len(texts))]


def test_sync_debug_mode_detects_a_wait(gpu: torch.device, waiting_is_an_error: None) -> None:
    """The debug mode works on this device."""
    with pytest.raises(RuntimeError, match="synchronizing"):
        torch.ones(1, device=gpu).item()


def test_no_batch_waits_for_the_gpu(scorer: CausalScorer, waiting_is_an_error: None) -> None:
    """Eight batches with a shared prompt, from the upload of their ids to the copies of their results."""
    texts = pairs()
    scores = scorer.score(texts, labels(texts))
    assert all(np.isfinite(score.logprob).all() for score in scores)


def test_copies_use_pinned_memory(scorer: CausalScorer) -> None:
    """The driver copies nothing from or to pageable memory; the debug mode does not report such copies."""
    texts = pairs()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        scorer.score(texts, labels(texts))
    names = {event.name for event in profile.events()}
    copies = {name for name in names if name.startswith("Memcpy")}
    assert any("Pinned" in name for name in copies), names
    assert not any("Pageable" in name for name in copies), copies


def test_results_are_complete_when_they_are_read(scorer: CausalScorer) -> None:
    """Scores are the same after a queue of long products: the host waits for a copy before it reads the numbers."""
    texts = pairs()
    expected = scorer.score(texts, labels(texts))
    block = torch.randn(4096, 4096, device=scorer.device)
    for _ in range(50):
        block = block @ block / 64
    for score, reference in zip(scorer.score(texts, labels(texts)), expected, strict=True):
        np.testing.assert_array_equal(score.logprob, reference.logprob)
        assert score.vocab_size == VOCABULARY
