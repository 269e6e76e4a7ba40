"""A trial of our tasks under the installed lm-eval, without a model: ``rbridge doctor`` runs it in a fresh Python.

It loads one task of each kind through lm-eval, builds its requests on the sample traces, answers them with made-up
scores, and aggregates the metrics. An error here is the error that ``lm_eval`` would end with.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from lm_eval.api.model import LM

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.harness.task_folder import TASKS_PATH

TASKS = (
    "rbridge_csqa", "rbridge_proxies_csqa", "rbridge_csqa_gold", "rbridge_csqa_scb", "rbridge_csqa_cf",
    "rbridge_csqa_gen",
)  # fmt: skip
_OPTIONS = {"rbridge_cache": "sample", "rbridge_weights": "spans"}
_VOCABULARY = 256
_ITEMS = 2


class TrialError(RBridgeError):
    """A task was scored and has no finite metric."""


class UniformModel(LM):  # type: ignore[misc]  # lm-eval is not typed
    """Gives every character the same probability and generates nothing."""

    def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
        return [(-len(request.args[1]) * math.log(_VOCABULARY), False) for request in requests]

    def loglikelihood_rolling(self, requests: Any) -> list[float]:
        return [-len(request.args[0]) * math.log(_VOCABULARY) for request in requests]

    def generate_until(self, requests: Any) -> list[str]:
        return ["" for _ in requests]

    def rbridge_token_scores(self, requests: Any) -> list[TokenScores]:
        return [_uniform_scores(request.args[1]) for request in requests]


def _uniform_scores(text: str) -> TokenScores:
    """Scores of a text with a token for each character."""
    places = np.arange(len(text), dtype=np.int32)
    uniform = np.full(len(text), -math.log(_VOCABULARY), dtype=np.float32)
    return TokenScores(
        token_id=places % _VOCABULARY,
        token_start=places,
        token_end=places + 1,
        logprob=uniform,
        rank=places % _VOCABULARY + 1,
        entropy=-uniform,
        max_logprob=uniform,
        vocab_size=_VOCABULARY,
    )


def main() -> None:
    """Print a line of JSON: whether lm-eval finds our tasks by itself, and how many of ``TASKS`` could be scored."""
    from lm_eval import evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(metadata=_OPTIONS)
    found = set(TASKS) <= set(manager.all_tasks)
    if not found:
        manager = TaskManager(metadata=_OPTIONS, include_path=str(TASKS_PATH), include_defaults=False)
    results = evaluate(UniformModel(), manager.load([*TASKS]), limit=_ITEMS)["results"]
    for task in TASKS:
        numbers = [value for key, value in results[task].items() if "," in key and isinstance(value, float)]
        if not any(map(math.isfinite, numbers)):
            raise TrialError(f"{task} has no finite metric: {results[task]}")
    print(json.dumps({"found": found, "scored": len(TASKS)}))


if __name__ == "__main__":
    main()
