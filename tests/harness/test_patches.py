"""Patches of lm-eval and of the process: they are listed, they can be undone, and importing applies none."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from rbridge_tasks.harness import patches
from rbridge_tasks.harness.task_folder import TASKS_PATH

PACKAGES = ("rbridge_tasks", "rbridge_traces", "rbridge_metrics")

_STATE = """
import logging, os, sys
def state():
    import lm_eval.api.metrics, lm_eval.api.model, lm_eval.evaluator, lm_eval.evaluator_utils, lm_eval.tasks
    import torch.utils.collect_env
    from lm_eval.tasks._index import TaskIndex
    owners = [lm_eval.api.model.LM, lm_eval.api.model.CachingLM, lm_eval.api.metrics, lm_eval.evaluator,
              lm_eval.evaluator_utils, lm_eval.tasks.TaskManager, TaskIndex, torch.utils.collect_env]
    return {
        "lm_eval": [{k: id(v) for k, v in vars(owner).items() if callable(v) or isinstance(v, staticmethod)}
                    for owner in owners],
        "excepthook": id(sys.excepthook),
        "environment": dict(os.environ),
        "logging": [(name, id(log.parent), log.level, log.propagate, [*map(id, log.handlers)])
                    for name in ("", "lm_eval", "rbridge_tasks") for log in [logging.getLogger(name)]],
    }
"""


def _attribute(patch: patches.Patch) -> Any:
    """Return the object a patch replaces, or None if this version of lm-eval does not have it."""
    try:
        owner = importlib.import_module(patch.module)
    except ModuleNotFoundError:
        return None
    for name in patch.name.split("."):
        owner = getattr(owner, name, None)
    return owner


def test_each_patch_names_a_function_and_its_reason() -> None:
    """Every entry of the table can be applied to the installed lm-eval, or is limited to other versions."""
    for patch in patches.PATCHES:
        home, _, name = patch.replacement.partition(":")
        assert callable(getattr(importlib.import_module(home), name))
        assert patch.why
        exists = patch.adds or patch.versions != "all supported"
        assert exists or _attribute(patch) is not None, patch


def test_undoing_restores_every_original() -> None:
    """After undo, each function is the original object; then the patches can be applied again."""
    in_force = patches.applied_patches()
    patches.undo()
    try:
        originals = {patch: _attribute(patch) for patch in patches.PATCHES}
        for patch in patches.PATCHES:
            patches.apply(patch.stage)
        applied = patches.applied_patches()
        assert len(applied) == len(set(applied))
        for patch in applied:
            assert _attribute(patch) is not originals[patch]
        patches.undo()
        assert {patch: _attribute(patch) for patch in patches.PATCHES} == originals
        assert not patches.applied_patches()
    finally:
        for patch in in_force:
            patches.apply(patch.stage)


def test_applying_twice_changes_nothing() -> None:
    """A second task uses the patches of the first."""
    patches.apply("task")
    before = {patch: _attribute(patch) for patch in patches.PATCHES}
    patches.apply("task")
    assert {patch: _attribute(patch) for patch in patches.PATCHES} == before


def test_building_a_task_does_not_change_the_process() -> None:
    """Outside the lm_eval command the exception hook and the loggers are unchanged."""
    import logging

    before = sys.excepthook, logging.getLogger("rbridge_tasks").parent
    manager = TaskManager(include_path=str(TASKS_PATH), include_defaults=False, metadata={"rbridge_cache": "sample"})
    manager.load(["rbridge_csqa_gold"])
    assert (sys.excepthook, logging.getLogger("rbridge_tasks").parent) == before


@pytest.mark.slow
def test_importing_everything_and_scoring_changes_nothing(checkpoint: Path) -> None:
    """With the hook turned off, lm-eval, exception hook, loggers and environment are unchanged."""
    program = f"""{_STATE}
import importlib, pkgutil
import numpy, pandas, scipy, sklearn, torch, transformers, matplotlib, typer
before = state()
for package in {PACKAGES!r}:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:
                pass  # an optional dashboard
import rbridge_tasks as rb
scores = rb.score({str(checkpoint)!r}, None, "gsm8k", num_fewshot=1, cache="sample", weights="none", limit=2)
assert scores.metrics["trace_nll"] > 0
after = state()
for key in before:
    if key == "environment":
        for name in ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"):  # set by libraries below
            before[key].pop(name, None), after[key].pop(name, None)
    assert before[key] == after[key], (key, [(a, b) for a, b in zip(before[key], after[key]) if a != b])
"""
    import os

    environment = {name: value for name, value in os.environ.items() if not name.startswith("RBRIDGE")}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment | {"RBRIDGE_AUTOLOAD": "0"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
