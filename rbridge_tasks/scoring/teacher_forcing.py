"""Use a local causal LM's probabilities of its tokens of a trace as the trace's confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_metrics import RBridgeError
from rbridge_tasks.scoring.prompts import context_of
from rbridge_traces import Trace, few_shot_examples, with_confidence

if TYPE_CHECKING:
    from rbridge_tasks.scoring.causal_lm import CausalScorer


class ModelLoadError(RBridgeError):
    """The model cannot be loaded as a causal LM."""


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
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rbridge_tasks.scoring.causal_lm import CausalScorer

    if batch_size != "auto" and not (batch_size.isdecimal() and int(batch_size) > 0):
        raise ModelLoadError(f"--batch-size {batch_size!r} is neither auto nor a whole number of at least 1")
    if dtype != "auto" and not getattr(getattr(torch, dtype, None), "is_floating_point", False):
        raise ModelLoadError(
            f"--dtype {dtype!r} is not a floating-point dtype of torch; use float32, bfloat16 or float16"
        )
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        loaded = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype).to(place).eval()
    except (OSError, ValueError, RuntimeError, AssertionError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelLoadError(
            f"cannot load {model} as a causal LM on {place} ({reason}); give a folder with config.json, weights and "
            "tokenizer, or a Hub name, and a --device that exists"
        ) from error
    config = loaded.config.get_text_config()
    named = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "n_ctx"))
    window = next((length for length in named if isinstance(length, int)), 2048)
    scorer = CausalScorer(
        model=loaded,
        device=loaded.device,
        max_length=window,
        batch_size="auto" if batch_size == "auto" else int(batch_size),
    )
    return LoadedScorer(scorer, tokenizer)


def add_confidence(traces: Sequence[Trace], loaded: LoadedScorer, *, num_fewshot: int) -> list[Trace]:
    """Score every trace after its question, in the prompt of the tasks, and store the probabilities as confidences.

    Args:
        traces: of one benchmark.
        loaded: the model.
        num_fewshot: worked examples before each question.

    Raises:
        ModelLoadError: fewer worked examples exist than were asked for.
        TokenizationError, ScoringError: see ``PairEncoder`` and ``CausalScorer``.
    """
    from rbridge_tasks.scoring.tokenization import PairEncoder, token_byte_ends

    examples = few_shot_examples(traces[0].benchmark)
    if num_fewshot > len(examples):
        raise ModelLoadError(f"--num-fewshot {num_fewshot}: only {len(examples)} worked examples exist")
    tokenizer = loaded.tokenizer
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    pairs = [(context_of(trace, examples[:num_fewshot]), trace.trace) for trace in traces]
    names = [trace.name for trace in traces]
    encoded = PairEncoder(tokenizer, prefix_token_id=prefix).encode(pairs, names)
    scored = loaded.scorer.score(encoded, names)
    return [
        with_confidence(trace, token_byte_ends(tokenizer, trace.trace, pair), scores.logprob.astype(np.float64))
        for trace, pair, scores in zip(traces, encoded, scored, strict=True)
    ]
