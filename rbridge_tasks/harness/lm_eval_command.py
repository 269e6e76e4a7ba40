"""lm-eval's own command, run many times in one process: what need not be done twice is done once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rbridge_tasks.harness import patches

#: Whether lm-eval has to know its own tasks too.
_of_lm_eval: ContextVar[bool] = ContextVar("_of_lm_eval", default=True)


def run_lm_eval(arguments: Sequence[str], tasks: Sequence[str]) -> None:
    """Run ``lm_eval`` with these arguments, as if they had been typed, and let go of the model that it loaded.

    Args:
        arguments: what follows the command's name; ``--tasks`` among them.
        tasks: names of the tasks. Where all are of this package, lm-eval's own are not looked for.

    Raises:
        SystemExit: the arguments are wrong; lm-eval has said on stderr in what.
    """
    from lm_eval.__main__ import cli_evaluate

    patches.apply("worker")
    before, asked = sys.argv, _of_lm_eval.set(not all(map(_is_ours, tasks)))
    sys.argv = ["lm_eval", "run", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
        _of_lm_eval.reset(asked)
        _free_memory()


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def building_index_once(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """``TaskIndex.build`` that reads the same folders once a process, and lm-eval's own only where it is asked for."""
    import lm_eval.tasks

    stock = Path(lm_eval.tasks.__file__).parent
    built: dict[tuple[Any, ...], dict[str, Any]] = {}

    def build_once(paths: Iterable[Path], **options: Any) -> dict[str, Any]:
        paths = [path for path in paths if path != stock or _of_lm_eval.get()]
        key = (*map(str, paths), *sorted(options.items()))
        if key not in built:
            built[key] = original(paths, **options)
        return dict(built[key])

    return build_once


def _is_ours(task: str) -> bool:
    """Whether a task or group is one of this package's."""
    return task == "rbridge" or task.startswith("rbridge_")
