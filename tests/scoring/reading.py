"""Helpers of the scoring tests: scores by the back end and by definition, and counters of the model's work."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from rbridge_metrics import TokenScores
from rbridge_tasks.backends import hf
from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizedPair

from ..error_bounds import assert_within, model_bound, model_sum_bound
from ..support import Pair, shots

#: Tokens of the short texts that the trial of a reader reads once, in addition to the longest text.
TRIED_BESIDE = 600
Tokenizers = dict[str, Any]
Column = dict[str, np.ndarray]


def scores(lm: HFLM, pairs: list[Pair]) -> list[TokenScores]:
    """Score the pairs with the Hugging Face back end."""
    return hf.score(lm, pairs, [f"gsm8k/{i}" for i in range(len(pairs))])


def totals(trace_scores: list[TokenScores]) -> list[float]:
    """Summed log-probability of each trace."""
    return [float(score.logprob.astype(np.float64).sum()) for score in trace_scores]


def agree(trace_scores: list[TokenScores], expected: list[float]) -> None:
    """Assert that the summed log-probabilities equal the expected ones, pair by pair."""
    assert_within(totals(trace_scores), expected, [model_sum_bound(score.logprob) for score in trace_scores])


def by_definition(model: PreTrainedModel, ids: list[int], first: int) -> Column:
    """Score ``ids[first:]`` by one plain forward pass over ``ids``; ranks as bounds, since rounding may swap tokens."""
    with torch.no_grad():
        logprob = torch.log_softmax(model(torch.tensor([ids[:-1]])).logits[0, first - 1 :].double(), dim=-1)
    chosen = logprob.gather(-1, torch.tensor(ids[first:]).unsqueeze(-1))
    margin = 2 * model_bound(chosen)  # rounding may swap tokens that are closer than this
    return {
        "logprob": chosen.squeeze(-1).numpy(),
        "lowest_rank": 1 + (logprob > chosen + margin).sum(-1).numpy(),
        "highest_rank": (logprob > chosen - margin).sum(-1).numpy(),
        "entropy": -(logprob.exp() * logprob).sum(-1).numpy(),
        "max_logprob": logprob.max(-1).values.numpy(),
    }


@contextmanager
def work(model: PreTrainedModel) -> Iterator[dict[str, int]]:
    """Count the model's forward passes, the tokens that it reads, and the positions that it projects itself."""
    counts = {"read": 0, "projected": 0, "passes": 0}

    def reads(_module: Any, _args: Any, named: dict[str, Any]) -> None:
        counts["read"] += named["input_ids"].numel()
        counts["passes"] += 1

    def projects(_module: Any, args: Any, _result: Any) -> None:
        counts["projected"] += args[0].numel() // args[0].shape[-1]

    head = model.get_output_embeddings()
    hooks = [model.register_forward_pre_hook(reads, with_kwargs=True), head.register_forward_hook(projects)]
    yield counts
    for hook in hooks:
        hook.remove()


@contextmanager
def memory_for(model: PreTrainedModel, tokens: int, error: RuntimeError | None = None) -> Iterator[None]:
    """Raise an out-of-memory error for batches of more than ``tokens`` tokens."""
    forward = model.forward
    error = error or torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    @functools.wraps(forward)
    def limited(*args: Any, **named: Any) -> Any:
        if named["input_ids"].numel() > tokens:
            raise error
        return forward(*args, **named)

    model.forward = limited
    yield
    del model.forward


class Finished:
    """Records the batches that a back end reports as finished."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.scores: dict[int, TokenScores] = {}

    def __call__(self, indices: Sequence[int], finished: Sequence[TokenScores]) -> None:
        assert not self.scores.keys() & set(indices)
        self.batches.append(list(indices))
        self.scores |= dict(zip(indices, finished, strict=True))


def refused(lm: HFLM, pairs: list[Pair], error: type[Exception]) -> str:
    """Return the one-line message of the error that scoring raises."""
    with pytest.raises(error) as caught:
        scores(lm, pairs)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def encode(tokenizer: Any, pairs: list[Pair]) -> list[TokenizedPair]:
    """Tokenise the pairs as the back end does."""
    return PairEncoder(tokenizer, prefix_token_id=1).encode(pairs)


def scorer_of(model: Any, **options: Any) -> CausalScorer:
    """A quiet scorer on the CPU."""
    return CausalScorer(model, torch.device("cpu"), **{"max_length": 2048, "show_progress": False} | options)


def ten_items(prompt: str = "") -> list[Pair]:
    """Ten items of one task."""
    return [(f"{prompt}Question: what is {i} + 1?\nAnswer: ", f"{i} + 1 = {i + 1}, so it is.") for i in range(10)]


def repeated_questions() -> list[Pair]:
    """Two tasks whose prompts share a preamble, four questions each, five traces per question, in mixed order."""
    preamble, pairs = shots("the preamble"), []
    for task in ("the sum", "all together"):
        for i in range(4):
            question = f"Question: here are {i} apples, then {i} pears, and a basket of {i} plums; how many?\nAnswer: "
            pairs += [(preamble + shots(task) + question, f"{k} times {i} is {k * i}, so it is.") for k in range(5)]
    return pairs[::3] + pairs[1::3] + pairs[2::3]
