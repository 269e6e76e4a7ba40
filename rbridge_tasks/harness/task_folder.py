"""Where our tasks are, and how ``lm_eval --tasks`` comes to find them there.

The functions below take a function of lm-eval and return its replacement; ``patches`` says when they are applied.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbridge_tasks.harness.cached_tasks import TASKS_PATH as TASKS_PATH
from rbridge_tasks.harness.cached_tasks import cached_entries, with_groups
from rbridge_tasks.harness.command_process import prepare_lm_eval_command
from rbridge_tasks.harness.task_options import task_options
from rbridge_tasks.harness.task_selection import (
    checked_selection,
    matching_names,
    refuse_unknown,
    without_group_members,
)
from rbridge_tasks.harness.trace_docs import TraceDocsTask


def with_our_folder(original: Callable[..., None]) -> Callable[..., None]:
    """``TaskManager.__init__`` that indexes our folder after the built-in tasks and before ``--include_path``."""

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        call = inspect.signature(original).bind(self, *args, **kwargs)
        call.apply_defaults()
        prepare_lm_eval_command()
        options = task_options(call.arguments["metadata"])
        given = call.arguments["include_path"]
        if call.arguments["include_defaults"]:
            folders = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
            others = [folder for folder in folders if Path(folder).resolve() != TASKS_PATH.resolve()]
            call.arguments["include_path"] = [TASKS_PATH, *others]
        original(*call.args, **call.kwargs)
        self.include_path = given
        if "rbridge" in self._index:
            _add_entries(self, cached_entries(options["rbridge_cache"]), options["rbridge_group"])

    return init


def _add_entries(manager: Any, entries: Mapping[str, Any], group: Sequence[str] | None) -> None:
    """Add entries to the index of a ``TaskManager``; a task of that name in a folder stays."""
    added = {name: entry for name, entry in entries.items() if name not in manager._index}
    manager._index = with_groups(manager._index | added, group)
    manager._all_tasks = sorted(manager._index)
    manager._all_subtasks = sorted([*manager._all_subtasks, *added])


def loading_each_task_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """``TaskManager.load`` that takes a task named beside its group once, and says where a sample is scored."""

    @functools.wraps(original)
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(original).bind(self, *args, **kwargs)
        tasks = [*call.arguments][1]  # "task_list" in lm-eval 0.4, "specs" in 0.5
        refuse_unknown(call.arguments[tasks], self._index)
        call.arguments[tasks] = without_group_members(call.arguments[tasks], self._index)
        with checked_selection() as check:
            loaded = original(*call.args, **call.kwargs)
            check(loaded)
        for group in loaded.get("groups", {}).values():
            if any(isinstance(task, TraceDocsTask) and task.is_sample for task in group.get_all_tasks()):
                group.alias = f"{group.alias or group.name} (sample)"
        return loaded

    return load


def without_code_execution(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """``TaskManager.match_tasks`` that raises for unknown ``rbridge`` names and leaves out the task that runs code."""

    @functools.wraps(original)
    def match_tasks(self: Any, task_list: list[str]) -> list[str]:
        refuse_unknown(task_list, self._index)
        return matching_names(task_list, original(self, task_list))

    return match_tasks
