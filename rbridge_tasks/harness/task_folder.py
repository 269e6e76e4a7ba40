"""Where our tasks are, and how ``lm_eval --tasks`` comes to find them there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rbridge_tasks.harness.one_line_errors import show_errors_in_one_line
from rbridge_tasks.harness.task_options import TaskOptionError, task_options
from rbridge_tasks.harness.task_selection import checked_selection, matching_names, without_group_members
from rbridge_tasks.harness.trace_docs import TraceDocsTask

TASKS_PATH = Path(__file__).parent.parent / "tasks"


def add_tasks_to(tasks_module: ModuleType) -> None:
    """Make ``lm_eval.tasks.TaskManager`` index our folder after the built-in tasks and before ``--include_path``."""
    manager = tasks_module.TaskManager
    if hasattr(manager, "rbridge_tasks_path"):
        return
    original_init, original_load, original_match = manager.__init__, manager.load, manager.match_tasks

    @functools.wraps(original_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        call = inspect.signature(original_init).bind(self, *args, **kwargs)
        call.apply_defaults()
        check_options(call.arguments["metadata"])
        given = call.arguments["include_path"]
        if call.arguments["include_defaults"]:
            folders = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
            others = [folder for folder in folders if Path(folder).resolve() != TASKS_PATH.resolve()]
            call.arguments["include_path"] = [TASKS_PATH, *others]
        original_init(*call.args, **call.kwargs)
        self.include_path = given

    @functools.wraps(original_load)
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(original_load).bind(self, *args, **kwargs)
        tasks = [*call.arguments][1]  # "task_list" in lm-eval 0.4, "specs" in 0.5
        call.arguments[tasks] = without_group_members(call.arguments[tasks], self._index)
        with checked_selection() as check:
            loaded = original_load(*call.args, **call.kwargs)
            check(loaded)
        for group in loaded.get("groups", {}).values():
            if any(isinstance(task, TraceDocsTask) and task.is_sample for task in group.get_all_tasks()):
                group.alias = f"{group.alias or group.name} (sample)"
        return loaded

    @functools.wraps(original_match)
    def match_tasks(self: Any, task_list: list[str]) -> list[str]:
        return matching_names(task_list, original_match(self, task_list))

    manager.__init__, manager.load, manager.match_tasks = init, load, match_tasks
    manager.rbridge_tasks_path = TASKS_PATH


def check_options_in(evaluator_module: ModuleType) -> None:
    """Make ``lm_eval.simple_evaluate`` check our options before it loads a model."""
    original: Callable[..., Any] = evaluator_module.simple_evaluate

    @functools.wraps(original)
    def simple_evaluate(*args: Any, **kwargs: Any) -> Any:
        check_options(inspect.signature(original).bind(*args, **kwargs).arguments.get("metadata"))
        return original(*args, **kwargs)

    evaluator_module.simple_evaluate = simple_evaluate  # type: ignore[attr-defined]  # lm-eval is not typed


def check_options(metadata: object) -> None:
    """Check the ``rbridge_*`` keys of ``--metadata``; a wrong one ends the program with one line.

    Raises:
        TaskOptionError: a key or value is none that our tasks know.
    """
    try:
        task_options(metadata)
    except TaskOptionError:
        show_errors_in_one_line()
        raise
