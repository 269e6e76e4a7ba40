"""A causal function from ids to logits gets the scores of its model, with one call per batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rbridge_tasks.scoring.callable_lm import CallableScorer
from rbridge_tasks.scoring.collector import ScoringError

from ..error_bounds import assert_within, model_bound
from ..support import mixed_pairs, tiny_model
from .reading import Finished, Tokenizers, encode, scorer_of


def logits_of(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The model as a plain function."""
    return lambda ids: model(input_ids=ids).logits


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mamba", "bloom"])
@pytest.mark.parametrize(("batch_size", "max_length"), [(1, 2048), (3, 2048), ("auto", 2048), (3, 40)])
def test_scores_equal_those_of_the_model(
    tokenizers: Tokenizers, family: str, batch_size: int | str, max_length: int
) -> None:
    """All columns agree, for every batch size and window."""
    model, pairs = tiny_model(family, 700), encode(tokenizers["bos"], mixed_pairs())
    labels, finished = [""] * len(pairs), Finished()
    expected = scorer_of(model, max_length=max_length).score(pairs, labels)
    scorer = CallableScorer(logits_of(model), max_length, batch_size=batch_size, show_progress=False)
    scores = scorer.score(pairs, labels, done=finished)
    for score, reference in zip(scores, expected, strict=True):
        bound = model_bound(reference.logprob)
        assert_within(score.logprob, reference.logprob, bound)
        assert_within(score.max_logprob, reference.max_logprob, bound)
        assert_within(score.entropy, reference.entropy, bound * np.log(700))
        np.testing.assert_allclose(score.rank, reference.rank, atol=1)
        assert (score.vocab_size, score.windows) == (700, reference.windows)
    assert len(finished.scores) == len(pairs)


def test_one_call_per_batch(tokenizers: Tokenizers) -> None:
    """One more call checks the function; known pairs are not read again."""
    model, pairs = tiny_model("llama", 700), encode(tokenizers["bos"], mixed_pairs())
    shapes: list[tuple[int, ...]] = []

    def forward(ids: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(ids.shape))
        return model(input_ids=ids).logits

    scorer, labels = CallableScorer(forward, 2048, batch_size=4, show_progress=False), [""] * len(pairs)
    scores = scorer.score(pairs, labels)
    assert len(shapes) == 1 + len(pairs) // 4
    shapes.clear()
    assert scorer.score(pairs, labels, known=dict(enumerate(scores))) == scores
    assert not shapes


def test_training_goes_on_after_scoring(tokenizers: Tokenizers) -> None:
    """A tensor that the function keeps between calls can still be used in a backward pass."""
    weight, cached = torch.nn.Parameter(torch.randn(700, 8)), []

    def forward(ids: torch.Tensor) -> torch.Tensor:
        if not cached:
            cached.append(torch.eye(8))
        return torch.nn.functional.embedding(ids, weight) @ cached[0] @ weight.T

    pairs = encode(tokenizers["bos"], mixed_pairs())
    CallableScorer(forward, 2048, show_progress=False).score(pairs, [""] * len(pairs))
    forward(torch.arange(9)[None]).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda ids: torch.randn(*ids.shape, 700).cumsum(1).flip(1) + ids.sum(1)[:, None, None], "causal"),
        (lambda ids: torch.zeros(ids.shape[0], 700), r"shape \(2, 700\)"),
        (lambda _: "logits", "str"),
        (lambda ids: torch.full((*ids.shape, 700), torch.nan), "NaN"),
        (lambda ids: torch.zeros(*ids.shape, 300), "the model knows 300 tokens"),
    ],
)
def test_functions_that_are_no_causal_model_are_refused(
    tokenizers: Tokenizers, forward: Callable[[torch.Tensor], Any], message: str
) -> None:
    """The one-line error says what the function returned and what is expected."""
    pairs = encode(tokenizers["bos"], mixed_pairs())
    with pytest.raises(ScoringError, match=message) as caught:
        CallableScorer(forward, 2048, show_progress=False).score(pairs, ["gsm8k/1"] * len(pairs))
    assert "\n" not in str(caught.value)


def test_memory_that_runs_out_halves_the_batch(tokenizers: Tokenizers) -> None:
    """The scores are those of single texts."""
    model, pairs = tiny_model("llama", 700), encode(tokenizers["bos"], mixed_pairs())
    expected = CallableScorer(logits_of(model), 2048, batch_size=1, show_progress=False).score(pairs, [""] * len(pairs))

    def forward(ids: torch.Tensor) -> torch.Tensor:
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return model(input_ids=ids).logits

    scores = CallableScorer(forward, 2048, batch_size=8, show_progress=False).score(pairs, [""] * len(pairs))
    for score, reference in zip(scores, expected, strict=True):
        assert_within(score.logprob, reference.logprob, model_bound(reference.logprob))
