"""Back end for lm-eval's ``hf`` models: whatever ``--model hf`` has loaded, read through ``CausalScorer``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rbridge_metrics import RBridgeError, TokenScores


class BackendError(RBridgeError):
    """This model class cannot give the scores of single tokens."""


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Callable[[Sequence[int], Sequence[TokenScores]], None] = lambda _pairs, _scores: None,
    known: Mapping[int, TokenScores] | None = None,
    compiled: bool = False,
) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.huggingface.HFLM``.

    Args:
        lm: the loaded model.
        pairs: (context, trace) texts.
        labels: what to call each pair in an error.
        done: called after each batch with the indices of the pairs that it completed and their scores.
        known: scores of pairs from an earlier run, by index; batches are those that they are without.
        compiled: whether to compile the model's layers.

    Raises:
        BackendError: an encoder-decoder model, or a subclass with a forward pass of its own.
        TokenizationError, ScoringError: see ``PairEncoder`` and ``CausalScorer``.
    """
    from lm_eval.models.huggingface import HFLM

    from rbridge_tasks.scoring.causal_lm import CausalScorer
    from rbridge_tasks.scoring.score_pairs import score_pairs
    from rbridge_tasks.scoring.tokenization import PairEncoder

    if lm.backend != "causal":
        raise BackendError(
            f"{type(lm.model).__name__} is an encoder-decoder model; rBridge scores need a causal (decoder-only) one"
        )
    if type(lm)._model_call is not HFLM._model_call:
        raise BackendError(f"{type(lm).__name__} runs its model in a way of its own; use --model hf")
    quiet = lm.rank != 0
    encoder = PairEncoder(lm.tokenizer, lm.add_bos_token, lm.prefix_token_id)
    scorer = CausalScorer(
        model=lm.model,
        device=lm.device,
        max_length=lm.max_length,
        batch_size="auto" if str(lm.batch_size).startswith("auto") else int(lm.batch_size),
        max_batch_size=_most_texts(lm),
        autocast_dtype=lm.mixed_precision_dtype,
        compiled=compiled,
        show_progress=not quiet,
    )
    return score_pairs(scorer, encoder, pairs, labels, done=done, known=known)


def _most_texts(lm: Any) -> int | None:
    """lm-eval's ``--max_batch_size`` where the user gave one: its default, 64, would starve a GPU of short texts."""
    default = inspect.signature(type(lm).__init__).parameters.get("max_batch_size")
    given = lm.max_batch_size
    return None if not given or (default is not None and given == default.default) else int(given)
