"""Files of token scores from lm-eval: ``--metadata '{"rbridge_token_scores": "DIR"}'``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rbridge_tasks.harness.task_options import TaskOptionError, task_options
from rbridge_tasks.tables.token_scores_file import SUFFIX, write_token_scores
from rbridge_tasks.tables.trace_samples import is_trace_task


def writing_token_scores(original: Callable[..., Any]) -> Callable[..., Any]:
    """``simple_evaluate`` that checks ``metadata`` and writes token scores of our tasks into the folder that it names.

    It checks the ``rbridge_*`` keys and creates the folder before a model is loaded.
    """
    signature = inspect.signature(original)

    @functools.wraps(original)
    def simple_evaluate(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        folder = task_options(given.arguments["metadata"])["rbridge_token_scores"]
        if folder is None:
            return original(*args, **kwargs)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TaskOptionError(
                f"rbridge_token_scores: cannot create the folder {folder!r} ({error.strerror or error}); name another"
            ) from error
        wanted = given.arguments["log_samples"] or given.arguments["predict_only"]
        given.arguments["log_samples"] = True
        results = original(*given.args, **given.kwargs)
        if results is not None:  # the first process of several
            samples = results["samples"] if wanted else results.pop("samples")
            _write(Path(folder), samples, results, given.arguments["evaluation_tracker"])
        return results

    return simple_evaluate


def _write(folder: Path, samples: dict[str, Any], results: dict[str, Any], tracker: Any) -> None:
    described = dict(results) if tracker is None else results | asdict(tracker.general_config_tracker)
    date = datetime.now().isoformat().replace(":", "-")
    for task, rows in samples.items():
        if is_trace_task(task) and rows:
            write_token_scores(folder / f"samples_{task}_{date}{SUFFIX}", task, rows, described)
