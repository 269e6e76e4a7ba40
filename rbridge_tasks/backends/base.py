"""What a back end is: a function that scores traces, an identity of the model, and capabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rbridge_metrics import RBridgeError, TokenScores


class BackendError(RBridgeError):
    """The model cannot give the scores of single tokens."""


@dataclass(frozen=True)
class Backend:
    """A back end.

    Attributes:
        name: module of the back end. Scores that are kept for a later run are kept under it.
        score: ``score(lm, pairs, labels, *, done=...)`` scores (context, trace) texts under a model of lm-eval and
            returns one ``TokenScores`` per pair, in their order. ``labels`` name the pairs in errors. ``done`` is
            called with the indices and scores of each batch of completed pairs.
        identity: ``identity(lm)`` returns what distinguishes the model from all others, for JSON. Raises
            ``UnidentifiedModelError`` where nothing does.
        resumes: whether ``score`` takes ``known``, scores by index of the pair, and plans batches as if nothing were
            known, so that a resumed run gives the same bits.
        compiles: whether ``score`` takes ``compiled=True``, which compiles the model's layers.
    """

    name: str
    score: Callable[..., list[TokenScores]]
    identity: Callable[[Any], dict[str, Any]]
    resumes: bool = False
    compiles: bool = False
