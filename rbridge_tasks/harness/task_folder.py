"""Where our tasks are, and how ``lm_eval --tasks`` comes to find them there."""

from __future__ import annotations

import functools
import inspect
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from rbridge_tasks.harness.trace_docs import TraceDocsTask

logger = logging.getLogger(__name__)

TASKS_PATH = Path(__file__).parent.parent / "tasks"


def add_tasks_to(tasks_module: ModuleType) -> None:
    """Make ``lm_eval.tasks.TaskManager`` index our folder after the built-in tasks and before ``--include_path``."""
    manager = tasks_module.TaskManager
    if hasattr(manager, "rbridge_tasks_path"):
        return
    original_init, original_load = manager.__init__, manager.load

    @functools.wraps(original_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        call = inspect.signature(original_init).bind(self, *args, **kwargs)
        call.apply_defaults()
        given = call.arguments["include_path"]
        if call.arguments["include_defaults"]:
            folders = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
            others = [folder for folder in folders if Path(folder).resolve() != TASKS_PATH.resolve()]
            call.arguments["include_path"] = [TASKS_PATH, *others]
        original_init(*call.args, **call.kwargs)
        self.include_path = given

    @functools.wraps(original_load)
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = original_load(self, *args, **kwargs)
        if "rbridge_comparators" in loaded.get("groups", {}) and "rbridge_humaneval_gen" not in loaded["tasks"]:
            logger.info(
                "rbridge_comparators leaves out pass@1 of HumanEval, which runs code that the model writes: "
                "--tasks rbridge_comparators,rbridge_humaneval_gen --confirm_run_unsafe_code"
            )
        for group in loaded.get("groups", {}).values():
            if any(isinstance(task, TraceDocsTask) and task.is_sample for task in group.get_all_tasks()):
                group.alias = f"{group.alias or group.name} (sample)"
        return loaded

    manager.__init__, manager.load = init, load
    manager.rbridge_tasks_path = TASKS_PATH
