"""Scores as a file of token scores, with results in the layout of lm-eval."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_tasks.scoring.prompts import document
from rbridge_tasks.tables.token_scores_file import SUFFIX, write_token_scores

if TYPE_CHECKING:
    from rbridge_tasks.scoring.scores import Scores
    from rbridge_traces import Trace


def save(scores: Scores, folder: str | Path) -> str:
    """Write scores into a folder, also one at a URL, and return the path of the file; see ``Scores.save``."""
    task = f"rbridge_{scores.benchmark}"
    date = datetime.now().isoformat().replace(":", "-")
    path = f"{str(folder).rstrip('/')}/samples_{task}_{date}{SUFFIX}"
    write_token_scores(path, task, _rows(scores), _results(scores, task))
    return path


def _rows(scores: Scores) -> list[dict[str, Any]]:
    return [
        {
            "doc": document(trace),
            "doc_hash": _document_hash(trace),
            "target_hash": hashlib.sha256(trace.trace.encode()).hexdigest(),
            "metrics": [*scores.metrics],
            **scores.items[item_id],
            "resps": [[scores.token_scores[item_id]]],
        }
        for item_id, trace in scores.traces.items()
    ]


def _document_hash(trace: Trace) -> str:
    """lm-eval's hash of an item."""
    text = json.dumps(document(trace), indent=2, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _results(scores: Scores, task: str) -> dict[str, Any]:
    settings = scores.settings
    values = {f"{name},none": value for name, value in scores.metrics.items()}
    errors = {f"{name}_stderr,none": value for name, value in scores.stderr.items()}
    n = len(scores.traces)
    results = {
        "results": {task: values | errors},
        "configs": {
            task: {"task": task, "metadata": {"rbridge_traces": scores.provenance, "rbridge_weights": scores.weights}}
        },
        "versions": {task: settings["task version"]},
        "n-shot": {task: int(settings["n-shot"])},
        "n-samples": {task: {"original": n, "effective": n}},
        "config": {
            "model": "rb.score",
            "model_args": {"pretrained": scores.model},
            "model_num_parameters": scores.params,
            "model_dtype": settings.get("dtype", ""),
        },
        "date": time.time(),
    }
    for key, name in (("chat_template_sha", "chat template"), ("system_instruction_sha", "system instruction")):
        results[key] = None if settings[name] == "none" else settings[name]
    if "few-shot examples as turns" in settings:
        results["fewshot_as_multiturn"] = settings["few-shot examples as turns"] == "True"
    return results
