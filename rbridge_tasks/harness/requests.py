"""Our request type, per-token scores of a trace, as a method of every lm-eval model."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lm_eval.api.instance import Instance

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.backends.base import Backend
from rbridge_tasks.frequencies.frequency_file import TokenizerIdentity
from rbridge_tasks.harness.use_cache import score_folder

REQUEST_TYPE = "rbridge_token_scores"
#: The output type in the configuration of our tasks, which must be one that lm-eval knows.
OUTPUT_TYPE = "loglikelihood"

#: Back end module by the lm-eval model class it serves; subclasses are served too.
BACKENDS = {
    "lm_eval.models.huggingface.HFLM": "rbridge_tasks.backends.hf",
    "lm_eval.models.vllm_causallms.VLLM": "rbridge_tasks.backends.vllm",
    "lm_eval.models.openai_completions.LocalCompletionsAPI": "rbridge_tasks.backends.completions",
}
#: Serves every other class, on request.
SLOW_BACKEND = "rbridge_tasks.backends.stock"


class UnservedModelError(RBridgeError):
    """A model class that no back end serves."""


@dataclass
class TraceRequest(Instance):  # type: ignore[misc]  # lm-eval is not typed
    """A request, with what its answer must fulfil.

    Attributes:
        tokenizer: the answer must hold token ids of this tokenizer; None accepts any.
        slow: score through lm-eval's own ``loglikelihood``.
        compiled: compile the model's layers.
    """

    tokenizer: TokenizerIdentity | None = field(default=None, kw_only=True)
    slow: bool = field(default=False, kw_only=True)
    compiled: bool = field(default=False, kw_only=True)


def token_scores(lm: Any, requests: Sequence[Instance]) -> list[TokenScores]:
    """Answer our request type: score the tokens of each (context, trace) under the model that lm-eval has loaded.

    Tasks over the same traces request the same pairs. Each pair is scored once; each request gets a copy.

    Raises:
        UnservedModelError: no back end serves the model, or it has no tokenizer to compare with the requested one.
        FrequencyFileError: a request needs a tokenizer that is not the model's.
    """
    backend = _backend(lm, slow=any(getattr(request, "slow", False) for request in requests))
    asked = {request.tokenizer for request in requests if isinstance(request, TraceRequest)}
    for expected in filter(None, asked):
        if not hasattr(tokenizer := getattr(lm, "tokenizer", None), "get_vocab"):
            raise UnservedModelError(
                f"{type(lm).__name__} has no transformers tokenizer to compare with the one of rbridge_frequencies; "
                "leave that option out"
            )
        expected.check(tokenizer, str(getattr(tokenizer, "name_or_path", "") or "the model's tokenizer"))
    first: dict[tuple[str, str], Instance] = {}
    for request in requests:
        first.setdefault(request.args, request)
    pairs = [*first, *[*first][-1:] * _lacking(lm, len(first))]
    labels = [f"{request.doc['benchmark']}/{request.doc['item_id']}" for request in map(first.__getitem__, pairs)]
    compiled = any(getattr(request, "compiled", False) for request in requests)
    scores = _score(lm, backend, pairs, labels, **{"compiled": True} if compiled else {})
    answers = dict(zip(pairs, scores, strict=True))
    return [replace(answers[request.args]) for request in requests]


def answering_token_scores(_original: None) -> Any:
    """The method of ``LM`` that answers our request type."""
    return token_scores


def _backend(lm: Any, *, slow: bool) -> Backend:
    """The back end that serves a model."""
    classes = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(lm).__mro__]
    module = SLOW_BACKEND if slow else next((BACKENDS[name] for name in classes if name in BACKENDS), None)
    if module is None:
        raise UnservedModelError(
            f"rBridge tasks cannot read token scores from {type(lm).__name__}; use --model hf, vllm, local-completions "
            "or openai-completions, or score it one token at a time, which is exact and very slow, with --metadata "
            """'{"rbridge_slow": true}'"""
        )
    backend: Backend = importlib.import_module(module).BACKEND
    return backend


def _score(
    lm: Any, backend: Backend, pairs: Sequence[tuple[str, str]], labels: Sequence[str], **settings: Any
) -> list[TokenScores]:
    """Scores from a back end; with ``--use_cache``, scores of an earlier, killed run are reused."""
    if settings.get("compiled") and not backend.compiles:
        raise UnservedModelError(
            f"{type(lm).__name__} cannot be scored compiled; leave rbridge_compile out, or use --model hf"
        )
    if (folder := score_folder(lm)) is not None:
        from rbridge_tasks.resume.scoring import score_resumably

        return score_resumably(lm, backend, pairs, labels, folder, settings)
    return backend.score(lm, pairs, labels, **settings)


def _lacking(lm: Any, pairs: int) -> int:
    """By how many pairs this rank falls short of the rank with the most; copies keep the ranks in step."""
    if lm.world_size == 1 or not pairs:
        return 0
    import torch

    return max(lm.all_gather(torch.tensor(pairs, device=lm.device)).cpu().tolist()) - pairs
