"""Back end for lm-eval's ``hf`` models: any model that ``--model hf`` loads, scored by ``CausalScorer``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.base import Backend, BackendError
from rbridge_tasks.scoring.collector import Done, ignore_finished


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = ignore_finished,
    known: Mapping[int, TokenScores] | None = None,
    compiled: bool = False,
) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.huggingface.HFLM``; arguments as of ``Backend``.

    Raises:
        BackendError: an encoder-decoder model, or a subclass that overrides the forward pass.
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
        raise BackendError(f"{type(lm).__name__} overrides the forward pass (_model_call); use --model hf")
    encoder = PairEncoder(lm.tokenizer, lm.add_bos_token, lm.prefix_token_id)
    scorer = CausalScorer(
        model=lm.model,
        device=lm.device,
        max_length=lm.max_length,
        batch_size="auto" if str(lm.batch_size).startswith("auto") else int(lm.batch_size),
        max_batch_size=_most_texts(lm),
        autocast_dtype=lm.mixed_precision_dtype,
        compiled=compiled,
        show_progress=lm.rank == 0,
    )
    return score_pairs(scorer, encoder, pairs, labels, done=done, known=known)


def identity(lm: Any) -> dict[str, Any]:
    """Weights, settings and code of the model in memory."""
    from rbridge_tasks.resume.weights import loaded_model

    return loaded_model(lm.model)


BACKEND = Backend(__name__, score, identity, resumes=True, compiles=True)


def _most_texts(lm: Any) -> int | None:
    """lm-eval's ``--max_batch_size`` where the user set one: its default, 64, would leave a GPU idle on short texts."""
    default = inspect.signature(type(lm).__init__).parameters.get("max_batch_size")
    given = lm.max_batch_size
    return None if not given or (default is not None and given == default.default) else int(given)
