"""The comparator tasks by name, and the items of the sample that they read."""

from __future__ import annotations

import functools
from typing import Any

from lm_eval.tasks import TaskManager

from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_traces import BENCHMARKS, SampleCache, Trace

CHOICE = ("mmlu_pro_stem", "arc_challenge", "csqa")
TASKS = {kind: [f"rbridge_{benchmark}_{kind}" for benchmark in BENCHMARKS] for kind in ("gold", "scb", "gen")}
TASKS["cf"] = [f"rbridge_{benchmark}_cf" for benchmark in CHOICE]
UNSAFE = "rbridge_humaneval_gen"
#: The name of the accuracy of a ``_gen`` task, where it is not ``exact_match``.
ACCURACY = {"math500": "math_verify", "humaneval": "pass@1"}


@functools.cache
def manager() -> TaskManager:
    """Return a TaskManager of our tasks only: lm-eval's own tasks are thousands of files."""
    return TaskManager(metadata={"rbridge_cache": "sample"}, include_path=str(TASKS_PATH), include_defaults=False)


def load(name: str) -> Any:
    """Load a task over the sample."""
    return manager().load([name])["tasks"][name]


def traces_of(benchmark: str) -> list[Trace]:
    """Return the sample's items of a benchmark."""
    return SampleCache().load(benchmark).traces
