"""Score with a store: take scores that an earlier run left, and keep each batch as soon as it is finished."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.resume.identity import digest_of, scope_of
from rbridge_tasks.resume.store import ScoreStore, key_of
from rbridge_tasks.resume.weights import UnidentifiedModelError
from rbridge_traces.files import write_file

if TYPE_CHECKING:
    from rbridge_tasks.backends.base import Backend

logger = logging.getLogger(__name__)

#: Errors from models we did not anticipate, while their weights are read; logged, never fatal.
_UNREADABLE = (
    AttributeError, ImportError, KeyError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


def score_resumably(
    lm: Any,
    backend: Backend,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    folder: Path,
    settings: Mapping[str, Any],
) -> list[TokenScores]:
    """Score (context, trace) pairs by a back end, each only if no earlier run has.

    Args:
        lm: a model as lm-eval holds it.
        backend: scores it.
        pairs, labels: as the back end takes them.
        folder: where scores are kept, for any number of models.
        settings: more arguments of the back end. Scores made with other settings are not taken.

    Returns:
        One ``TokenScores`` per pair; equal pairs share one object.
    """
    started = time.monotonic()
    try:
        scope = scope_of(lm, backend) | dict(settings)
    except (UnidentifiedModelError, *_UNREADABLE) as error:
        reason = error if isinstance(error, UnidentifiedModelError) else f"{type(error).__name__}: {error}"
        logger.warning("scores are not kept for --use_cache and none are taken: %s", reason)
        return backend.score(lm, pairs, labels, **settings)
    logger.debug("identified the model in %.1f s", time.monotonic() - started)
    store = ScoreStore(folder / digest_of(scope))
    keys = [key_of(context, trace) for context, trace in pairs]
    answers = store.read(keys)
    known = {i: answers[key] for i, key in enumerate(keys) if key in answers}
    logger.info(
        "%d of %d traces are taken from %s, %d are scored",
        len(known), len(pairs), store.folder, len(pairs) - len(known),
    )  # fmt: skip
    if len(known) == len(pairs):
        return [answers[key] for key in keys]
    # A back end that cannot plan around known pairs is given the others alone.
    asked = list(range(len(pairs))) if backend.resumes else [i for i in range(len(pairs)) if i not in known]

    def done(indices: Sequence[int], finished: Sequence[TokenScores]) -> None:
        of_batch = {keys[asked[i]]: scores for i, scores in zip(indices, finished, strict=True)}
        new = {key: scores for key, scores in of_batch.items() if key not in answers}
        answers.update(new)
        store.append(new)

    _describe(store.folder, scope)
    resuming = {"known": known} if backend.resumes else {}
    try:
        backend.score(lm, [pairs[i] for i in asked], [labels[i] for i in asked], done=done, **resuming, **settings)
    finally:
        store.close()
    return [answers[key] for key in keys]


def _describe(folder: Path, scope: dict[str, Any]) -> None:
    """Write what the scores depend on beside them, for people who inspect the folder."""
    file = folder / "scope.json"
    try:
        if not file.exists():
            write_file(file, (json.dumps(scope, indent=1, sort_keys=True) + "\n").encode())
    except (OSError, RBridgeError):
        return  # the store reports whether scores can be kept
