"""Every change that this package makes to lm-eval: what, why, when, and how to undo it.

lm-eval has no entry point for task folders, request types, standard errors or caches, so that functions of it are
replaced while it runs. ``PATCHES`` lists all of them. ``apply`` replaces the functions of one stage, ``undo`` puts all
originals back. A replacement calls the original for everything that is not ours: other tasks see no difference.

Nothing is patched by importing this package or by ``rbridge_tasks.score``.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["task index", "evaluator", "task", "worker"]


@dataclass(frozen=True)
class Patch:
    """One function of lm-eval that is replaced.

    Attributes:
        stage: when it is applied. "task index" and "evaluator": when Python imports ``lm_eval.tasks`` and
            ``lm_eval.evaluator`` and the start-up hook is on. "task": when the first task of ours is built. "worker":
            in the processes of ``rbridge sweep`` only.
        module: of the function.
        name: of the function in the module, with its class.
        replacement: ``module:function``, which takes the original and returns the function to use in its place.
        why: what would fail without it.
        versions: of lm-eval that have the function; elsewhere the patch is left out.
        adds: the name is new; the replacement gets None.
    """

    stage: Stage
    module: str
    name: str
    replacement: str
    why: str
    versions: str = "all supported"
    adds: bool = False


_HARNESS = "rbridge_tasks.harness"

PATCHES = (
    Patch(
        "task index", "lm_eval.tasks", "TaskManager.__init__", f"{_HARNESS}.task_folder:with_our_folder",
        "lm-eval finds tasks only in its own folder and in --include_path",
    ),
    Patch(
        "task index", "lm_eval.tasks", "TaskManager.load", f"{_HARNESS}.task_folder:loading_each_task_once",
        "a pattern that matches a group and its members ends in a traceback",
    ),
    Patch(
        "task index", "lm_eval.tasks", "TaskManager.match_tasks", f"{_HARNESS}.task_folder:without_code_execution",
        "rbridge_* would select the task that runs code which the model writes",
    ),
    Patch(
        "evaluator", "lm_eval.evaluator", "simple_evaluate", f"{_HARNESS}.token_scores_output:writing_token_scores",
        "a wrong option in --metadata would be found only after the model is loaded, and lm-eval writes token scores "
        "only into samples files, at 21 KB per trace",
    ),
    Patch(
        "task", "lm_eval.api.model", "LM.rbridge_token_scores", f"{_HARNESS}.requests:answering_token_scores",
        "lm-eval has no request for the scores of single tokens", adds=True,
    ),
    Patch(
        "task", "lm_eval.api.model", "CachingLM.__getattr__", f"{_HARNESS}.use_cache:refusing_other_models",
        "--use_cache serves the answers of one checkpoint for another",
    ),
    Patch(
        "task", "lm_eval.evaluator_utils", "stderr_for_metric", f"{_HARNESS}.metrics:with_closed_form_stderrs",
        "lm-eval would bootstrap the standard errors that have a closed form", versions="0.4",
    ),
    Patch(
        "task", "lm_eval.api.metrics", "stderr_for_metric", f"{_HARNESS}.metrics:with_closed_form_stderrs",
        "as above, where 0.5 looks the function up",
    ),
    Patch(
        "task", "lm_eval.loggers.wandb_logger", "WandbLogger._generate_dataset",
        f"{_HARNESS}.logger_samples:with_plain_samples", "lm-eval's W&B logger fails on responses with arrays",
        versions="those with the logger, where wandb is installed",
    ),
    Patch(
        "task", "lm_eval.loggers.trackio_logger", "_sample_to_trace",
        f"{_HARNESS}.logger_samples:with_plain_sample", "lm-eval's trackio logger fails on responses with arrays",
        versions="those with the logger",
    ),
    Patch(
        "worker", "lm_eval.tasks._index", "TaskIndex.build", f"{_HARNESS}.lm_eval_command:building_index_once",
        "lm-eval reads 14,000 task files for each checkpoint",
    ),
    Patch(
        "worker", "torch.utils.collect_env", "get_pretty_env_info", "functools:cache",
        "lm-eval asks pip for all packages for each checkpoint",
    ),
)  # fmt: skip

_ABSENT = object()


@dataclass(frozen=True)
class _Applied:
    patch: Patch
    owner: Any
    original: Any  # as it stands in the owner's __dict__: a staticmethod stays one


_applied: list[_Applied] = []


def apply(stage: Stage) -> None:
    """Apply the patches of a stage that are not applied yet."""
    done = {applied.patch for applied in _applied}
    for patch in PATCHES:
        if patch.stage == stage and patch not in done:
            _apply(patch)


def undo() -> None:
    """Put every original back, the last patch first. Tasks that were built before cannot be evaluated any more."""
    while _applied:
        applied = _applied.pop()
        attribute = applied.patch.name.rpartition(".")[2]
        if applied.original is _ABSENT:
            delattr(applied.owner, attribute)
        else:
            setattr(applied.owner, attribute, applied.original)


def applied_patches() -> list[Patch]:
    """The patches in force, in the order in which they were applied."""
    return [applied.patch for applied in _applied]


def _apply(patch: Patch) -> None:
    *path, attribute = patch.name.split(".")
    try:
        module = sys.modules.get(patch.module) or importlib.import_module(patch.module)
        owner = functools.reduce(getattr, path, module)
        original = None if patch.adds else getattr(owner, attribute)
    except (ImportError, AttributeError):  # a version of lm-eval without it
        return
    home, _, name = patch.replacement.partition(":")
    replacement: Callable[..., Any] = getattr(importlib.import_module(home), name)(original)
    in_owner = vars(owner).get(attribute, _ABSENT)
    _applied.append(_Applied(patch, owner, in_owner))
    setattr(owner, attribute, staticmethod(replacement) if isinstance(in_owner, staticmethod) else replacement)
