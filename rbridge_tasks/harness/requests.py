"""Our request type, per-token scores of a trace, as a method of every lm-eval model."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from rbridge_metrics import RBridgeError, TokenScores

REQUEST_TYPE = "rbridge_token_scores"

#: Back end module by the lm-eval model class it serves; subclasses are served too.
BACKENDS = {"lm_eval.models.huggingface.HFLM": "rbridge_tasks.backends.hf"}


class UnservedModelError(RBridgeError):
    """A model class that no back end serves."""


def token_scores(lm: Any, requests: Sequence[Instance]) -> list[TokenScores]:
    """Answer our request type: per-token scores of each (context, trace), under whatever model lm-eval has loaded.

    Raises:
        UnservedModelError: no back end serves the model.
    """
    classes = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(lm).__mro__]
    backend = next((BACKENDS[name] for name in classes if name in BACKENDS), None)
    if backend is None:
        raise UnservedModelError(
            f"rBridge tasks cannot read token scores from {type(lm).__name__}; use --model hf with a causal LM"
        )
    pairs = [request.args for request in requests]
    labels = [f"{request.doc['benchmark']}/{request.doc['item_id']}" for request in requests]
    scores: list[TokenScores] = importlib.import_module(backend).score(lm, pairs, labels)
    return scores


@functools.cache
def attach() -> None:
    """Teach lm-eval our request type, and its command our one-line errors. Once, and only when a task is used."""
    setattr(LM, REQUEST_TYPE, token_scores)
    logging.getLogger("rbridge_tasks").parent = logging.getLogger("lm_eval")  # its level, format and handlers
    _show_errors_in_one_line()


def _show_errors_in_one_line() -> None:
    """Print our own errors without a traceback when they end a program; RBRIDGE_TRACEBACK=1 shows it."""
    previous = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RBridgeError) and not os.environ.get("RBRIDGE_TRACEBACK"):
            print(f"rbridge: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = excepthook
