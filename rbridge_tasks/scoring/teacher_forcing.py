"""Use a local causal LM's probabilities of its tokens of a trace as the trace's confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_tasks.scoring.load import ModelLoadError, context_length, load_model, prefix_token_id
from rbridge_tasks.scoring.prompts import context_of, prompt_of
from rbridge_traces import Benchmark, Trace, examples_of, with_confidence
from rbridge_traces.benchmark import benchmark_named

if TYPE_CHECKING:
    from rbridge_tasks.scoring.causal_lm import CausalScorer


@dataclass(frozen=True)
class LoadedScorer:
    """A scorer and the tokenizer of its model."""

    scorer: CausalScorer
    tokenizer: Any


def load_scorer(
    model: str, *, revision: str | None = None, device: str | None = None, dtype: str = "auto", batch_size: str = "auto"
) -> LoadedScorer:
    """Load a causal LM with transformers.

    Args:
        model: local folder or Hub name.
        revision: on the Hub.
        device: where to put it; None takes a GPU if there is one.
        dtype: of the weights, e.g. "float32"; "auto" as saved.
        batch_size: a whole number of at least 1, or "auto".

    Raises:
        ModelLoadError: no such model, no such device or dtype, not a causal LM, or a bad batch size.
    """
    from rbridge_tasks.scoring.causal_lm import CausalScorer

    if batch_size != "auto" and not (batch_size.isdecimal() and int(batch_size) > 0):
        raise ModelLoadError(f"--batch-size {batch_size!r} is neither auto nor a whole number of at least 1")
    loaded, tokenizer = load_model(model, revision=revision, device=device, dtype=dtype)
    scorer = CausalScorer(
        model=loaded,
        device=loaded.device,
        max_length=context_length(loaded.config, tokenizer),
        batch_size="auto" if batch_size == "auto" else int(batch_size),
    )
    return LoadedScorer(scorer, tokenizer)


def add_confidence(
    traces: Sequence[Trace], loaded: LoadedScorer, *, num_fewshot: int | None, benchmark: Benchmark | None = None
) -> list[Trace]:
    """Score every trace after its question, in the prompt of the tasks, and store the probabilities as confidences.

    Args:
        traces: of one benchmark.
        loaded: the model.
        num_fewshot: worked examples before each question; None for the benchmark's default.
        benchmark: how it is defined; None for the shipped benchmark, or the defaults, of its name.

    Raises:
        ModelLoadError: fewer worked examples exist than were asked for.
        TokenizationError, ScoringError: see ``PairEncoder`` and ``CausalScorer``.
    """
    from rbridge_tasks.scoring.tokenization import PairEncoder, token_byte_ends

    benchmark = benchmark or benchmark_named(traces[0].benchmark)
    examples = examples_of(benchmark, traces)
    shots = examples.default_shots if num_fewshot is None else num_fewshot
    if shots > examples.available:
        raise ModelLoadError(f"--num-fewshot {shots}: only {examples.available} worked examples exist")
    tokenizer = loaded.tokenizer
    prompt = prompt_of(benchmark)
    pairs = [(context_of(trace, examples.before(trace, shots), prompt), trace.trace) for trace in traces]
    names = [trace.name for trace in traces]
    encoded = PairEncoder(tokenizer, prefix_token_id=prefix_token_id(tokenizer)).encode(pairs, names)
    scored = loaded.scorer.score(encoded, names)
    return [
        with_confidence(trace, token_byte_ends(tokenizer, trace.trace, pair), scores.logprob.astype(np.float64))
        for trace, pair, scores in zip(traces, encoded, scored, strict=True)
    ]
