"""Back end for lm-eval's ``hf`` models: whatever ``--model hf`` has loaded, read through ``CausalScorer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rbridge_metrics import RBridgeError, TokenScores


class BackendError(RBridgeError):
    """This model class cannot give the scores of single tokens."""


def score(lm: Any, pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.huggingface.HFLM``.

    Raises:
        BackendError: an encoder-decoder model, or a subclass with a forward pass of its own.
        TokenizationError, ScoringError: see ``PairEncoder`` and ``CausalScorer``.
    """
    from lm_eval.models.huggingface import HFLM
    from tqdm import tqdm

    from rbridge_tasks.backends.causal_lm import CausalScorer
    from rbridge_tasks.tokenization import PairEncoder

    if lm.backend != "causal":
        raise BackendError(
            f"{type(lm.model).__name__} is an encoder-decoder model; rBridge scores need a causal (decoder-only) one"
        )
    if type(lm)._model_call is not HFLM._model_call:
        raise BackendError(f"{type(lm).__name__} runs its model in a way of its own; use --model hf")
    quiet = lm.rank != 0
    encoder = PairEncoder(lm.tokenizer, lm.add_bos_token, lm.prefix_token_id)
    with tqdm(total=len(pairs), desc="Tokenising traces", unit="trace", disable=quiet) as bar:
        encoded = encoder.encode(pairs, on_progress=bar.update)
    scorer = CausalScorer(
        model=lm.model,
        device=lm.device,
        max_length=lm.max_length,
        batch_size="auto" if str(lm.batch_size).startswith("auto") else int(lm.batch_size),
        max_batch_size=int(lm.max_batch_size or 64),
        autocast_dtype=lm.mixed_precision_dtype,
        show_progress=not quiet,
    )
    return scorer.score(encoded, labels)
