"""Scoring that takes from the store what an earlier run left there, and keeps each batch as soon as it is finished."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.resume.identity import digest_of, scope_of
from rbridge_tasks.resume.store import ScoreStore, key_of
from rbridge_tasks.resume.weights import UnidentifiedModelError
from rbridge_traces.files import write_file

logger = logging.getLogger(__name__)

#: What a model of a kind that was not thought of may raise when its weights are read; that must not cost a run.
_UNREADABLE = (
    AttributeError, ImportError, KeyError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


def score_resumably(
    lm: Any, backend: str, pairs: Sequence[tuple[str, str]], labels: Sequence[str], folder: Path, **settings: Any
) -> list[TokenScores]:
    """Score (context, trace) pairs by a back end, each only if no earlier run has.

    Args:
        lm: a model as lm-eval holds it.
        backend: module of the back end.
        pairs, labels: as the back end takes them.
        folder: where scores are kept, for any number of models.
        settings: more arguments of the back end. Scores made with others are not taken.

    Returns:
        One ``TokenScores`` per pair; equal pairs share one object.
    """
    score = functools.partial(importlib.import_module(backend).score, **settings)
    started = time.monotonic()
    try:
        scope = scope_of(lm, backend) | settings
    except (UnidentifiedModelError, *_UNREADABLE) as error:
        reason = error if isinstance(error, UnidentifiedModelError) else f"{type(error).__name__}: {error}"
        logger.warning("scores are not kept for --use_cache and none are taken: %s", reason)
        scores: list[TokenScores] = score(lm, pairs, labels)
        return scores
    logger.debug("told which model this is in %.1f s", time.monotonic() - started)
    store = ScoreStore(folder / digest_of(scope))
    keys = [key_of(context, trace) for context, trace in pairs]
    answers = store.read(keys)
    known = {i: answers[key] for i, key in enumerate(keys) if key in answers}
    logger.info(
        "%d of %d traces are taken from %s, %d are scored",
        len(known),
        len(pairs),
        store.folder,
        len(pairs) - len(known),
    )

    def done(indices: Sequence[int], finished: Sequence[TokenScores]) -> None:
        new = {keys[i]: one for i, one in zip(indices, finished, strict=True) if keys[i] not in answers}
        answers.update(new)
        store.append(new)

    if len(known) < len(pairs):
        _describe(store.folder, scope)
        try:
            _score_unknown(score, lm, pairs, labels, done, known)
        finally:
            store.close()
    return [answers[key] for key in keys]


def _score_unknown(
    score: Any,
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    done: Any,
    known: dict[int, TokenScores],
) -> None:
    """Have the back end finish what is missing, in the batches of a run that knew nothing where it can plan so."""
    if "known" in inspect.signature(score).parameters:
        score(lm, pairs, labels, done=done, known=known)
        return
    left = [i for i in range(len(pairs)) if i not in known]
    score(
        lm,
        [pairs[i] for i in left],
        [labels[i] for i in left],
        done=lambda indices, finished: done([left[i] for i in indices], finished),
    )


def _describe(folder: Path, scope: dict[str, Any]) -> None:
    """Write beside the scores what they depend on, for whoever looks into the folder."""
    file = folder / "scope.json"
    try:
        if not file.exists():
            write_file(file, (json.dumps(scope, indent=1, sort_keys=True) + "\n").encode())
    except (OSError, RBridgeError):
        return  # the store says whether scores can be kept
