"""``lm_eval --use_cache``: scores of our request type are kept in a folder, and lm-eval's own cache is guarded."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rbridge_metrics import RBridgeError

logger = logging.getLogger(__name__)


def score_folder(lm: Any) -> Path | None:
    """Folder for the scores of any model and rank, ``PATH_rbridge`` for ``--use_cache PATH``; None without the option.

    lm-eval wraps the model in a ``CachingLM``, which passes our request type through and leaves on the model a hook
    with its open database: ``PATH_rank0.db`` on the first rank.
    """
    database = getattr(getattr(lm, "cache_hook", None), "dbdict", None)
    if database is None:
        return None
    stem = re.sub(r"(_rank\d+)?\.db$", "", str(database.filename))
    return Path(f"{stem}_rbridge")


class StaleCacheError(RBridgeError):
    """lm-eval's own cache holds the answers of another checkpoint."""


def refusing_other_models(original: Callable[..., Any]) -> Callable[..., Any]:
    """``CachingLM.__getattr__`` that refuses to serve our tasks with the answers of another checkpoint.

    lm-eval keys answers to ``loglikelihood`` and ``generate_until`` by their texts alone. The first time that one of
    our tasks asks through a cache, the model is noted in the cache; from then on another model is refused there.
    """

    @functools.wraps(original)
    def guarded(self: Any, name: str) -> Any:
        answer = original(self, name)
        if name not in _STOCK_REQUESTS:
            return answer

        def answer_own_model(requests: Any) -> Any:
            if any(str(getattr(request, "task_name", "")).startswith("rbridge_") for request in requests):
                _note_or_refuse(self)
            return answer(requests)

        return answer_own_model

    return guarded


_STOCK_REQUESTS = ("loglikelihood", "loglikelihood_rolling", "generate_until")
_NOTE = "rbridge: answers are of this model"


def _note_or_refuse(cached: Any) -> None:
    from rbridge_tasks.backends import hf, stock
    from rbridge_tasks.resume.identity import digest_of, model_scope
    from rbridge_tasks.resume.weights import UnidentifiedModelError

    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(cached.lm).__mro__}
    backend = hf.BACKEND if "lm_eval.models.huggingface.HFLM" in classes else stock.BACKEND
    try:
        model = digest_of(model_scope(cached.lm, backend))
    except UnidentifiedModelError as error:
        logger.warning(
            "--use_cache keys answers by their texts alone, and which model this is cannot be told (%s): use another "
            "path for each checkpoint", error,
        )  # fmt: skip
        return
    noted = cached.dbdict.setdefault(_NOTE, model)
    if noted != model:
        raise StaleCacheError(
            f"{cached.cache_db} holds answers of another checkpoint, and lm-eval would serve them for this one; give "
            "each checkpoint a --use_cache path of its own"
        )
