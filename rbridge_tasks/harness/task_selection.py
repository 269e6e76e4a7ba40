"""Which of our tasks ``lm_eval --tasks`` loads, where a pattern or several names select one of them twice."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbridge_metrics import RBridgeError
from rbridge_tasks.harness.trace_docs import TraceDocsTask
from rbridge_traces.errors import did_you_mean

logger = logging.getLogger(__name__)

_PREFIX = "rbridge_"
#: The task that runs code which the model writes: it is selected by its name only.
_RUNS_CODE = "rbridge_humaneval_gen"
_LEFT_OUT = (
    f"%s leaves out {_RUNS_CODE} (pass@1), which runs code that the model writes; to include it, add {_RUNS_CODE} to "
    "--tasks and give --confirm_run_unsafe_code"
)


class DuplicateTaskError(RBridgeError):
    """Two groups, or a group and a changed task, hold a task of ours under one name."""


class UnknownTaskError(RBridgeError, ValueError):
    """A task name that begins with ``rbridge`` and does not exist."""


def refuse_unknown(names: Any, known: Collection[str]) -> None:
    """Raise an error for names and patterns in ``--tasks`` that begin with ``rbridge`` and match no task.

    Args:
        names: a name or a list, as lm-eval takes it; task objects, configurations, paths and the names of folders,
            which lm-eval reads as folders of task files, are ignored.
        known: names of all tasks and groups.

    Raises:
        UnknownTaskError: a name or pattern matches no task.
    """
    for name in [names] if isinstance(names, str) else names if isinstance(names, (list, tuple)) else ():
        ours = isinstance(name, str) and name.startswith("rbridge") and not name.endswith(".yaml")
        if ours and "/" not in name and not fnmatch.filter(known, name) and not Path(name).is_dir():
            candidates = [task for task in known if task.startswith("rbridge")]
            raise UnknownTaskError(
                f"{name} is no task{did_you_mean(name, candidates)}; lm_eval ls tasks lists all, and those of a cache "
                "of your own need rbridge_cache in --metadata"
            )


def matching_names(patterns: Sequence[str], matches: Sequence[str]) -> list[str]:
    """Names that ``--tasks`` patterns match, without the task that runs code unless it is named or the only match."""
    if _RUNS_CODE not in matches or _RUNS_CODE in patterns or len(matches) == 1:
        return [*matches]
    logger.warning(_LEFT_OUT, ",".join(patterns))
    return [name for name in matches if name != _RUNS_CODE]


def without_group_members(tasks: Any, index: Mapping[str, Any]) -> Any:
    """Leave out our tasks that belong to a group which is loaded as well: lm-eval scores and reports them once.

    Args:
        tasks: what ``TaskManager.load`` is given; only names are looked at.
        index: lm-eval's entries by name.
    """
    if not isinstance(tasks, (list, tuple)):
        return tasks
    members = {member for name in tasks if isinstance(name, str) for member in _members(name, index)}
    return [task for task in tasks if not (isinstance(task, str) and task.startswith(_PREFIX) and task in members)]


def _members(group: str, index: Mapping[str, Any]) -> Iterator[str]:
    """Names of the tasks and groups in a group that it takes as they are."""
    entry = index.get(group)
    if entry is None or entry.kind.name != "GROUP":
        return
    from lm_eval.tasks._yaml_loader import load_yaml

    config = entry.cfg if entry.yaml_path is None else load_yaml(entry.yaml_path, resolve_func=False)
    for member in (config or {}).get("task") or ():
        if isinstance(member, str) and member != group:
            yield member
            yield from _members(member, index)


@contextlib.contextmanager
def checked_selection() -> Iterator[Callable[[Any], None]]:
    """Turn a task of ours that is loaded twice under one name into one line of error.

    lm-eval 0.4 refuses it with a traceback. 0.5 would load both, and our tasks have one name in its results.

    Yields:
        A check of what ``TaskManager.load`` returned.
    """
    try:
        yield _check
    except ValueError as error:
        duplicate = re.match(r"Duplicate task '(rbridge_[\w-]+)': found in both '(.+)' and '(.+)'", str(error))
        if duplicate is None:
            raise
        raise _duplicate(*duplicate.groups()) from error


def _check(loaded: Any) -> None:
    groups = loaded.get("groups", {})
    if "rbridge_comparators" in groups and _RUNS_CODE not in loaded["tasks"]:
        logger.info(_LEFT_OUT, "rbridge_comparators")
    owners: dict[str, tuple[str, Any]] = {name: (name, task) for name, task in loaded["tasks"].items()}
    for group in groups.values():
        for task in group.get_all_tasks():
            if isinstance(task, TraceDocsTask):
                name = task.config.task
                owner, first = owners.setdefault(name, (group.name, task))
                if first is not task:
                    raise _duplicate(name, owner, group.name)


def _duplicate(task: str, first: str, second: str) -> DuplicateTaskError:
    return DuplicateTaskError(
        f"{task} is selected twice, by {first} and by {second}, and lm-eval would report both under one name; select "
        "one of the two, or run lm_eval once for each"
    )
