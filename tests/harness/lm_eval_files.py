"""Results files as versions of lm-eval write them, made by hand for the tests, with numbers of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, data: object) -> Path:
    """Write a file and its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def modern(
    model: str, scores: dict[str, dict[str, object]], *, revision: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Return what 0.4.13 writes: arguments as an object, ``metric,filter`` keys, sizes of the data."""
    arguments = {"pretrained": model} | ({"revision": revision} if revision else {})
    data = {
        "results": {task: {"name": task, "alias": task, "sample_len": 50, **entry} for task, entry in scores.items()},
        "group_subtasks": {},
        "configs": {task: {"task": task, "num_fewshot": 5, "metadata": {"version": 1.0}} for task in scores},
        "versions": dict.fromkeys(scores, 1.0),
        "n-shot": dict.fromkeys(scores, 5),
        "n-samples": {task: {"original": 100, "effective": 50} for task in scores},
        "config": {"model": "hf", "model_args": arguments, "model_revision": revision or "main", "limit": None},
        "date": 1700000000.0,
        "lm_eval_version": "0.4.13",
        "tokenizer_pad_token": ["<pad>", "0"],
        "tokenizer_eos_token": ["</s>", "2"],
        "tokenizer_bos_token": ["<s>", "1"],
        "model_name": model,
        "chat_template_sha": None,
        "system_instruction_sha": None,
    }
    return data | changes


def rbridge(model: str, value: float, *, benchmark: str = "gsm8k", **changes: Any) -> dict[str, Any]:
    """Return what 0.4.13 writes for one of our tasks; ``traces`` and ``options`` change its metadata."""
    traces = {"sample": False, "confidence_model": "gpt-4o", "files": {"x.parquet": "a" * 64}, "only_correct": False}
    traces |= changes.pop("traces", {})
    options = changes.pop("options", {})
    task = f"rbridge_{benchmark}"
    scores = {"rbridge_nll,none": value, "rbridge_nll_stderr,none": 0.01, "trace_nll,none": value + 1}
    data = modern(model, {task: scores}, **changes)
    data["configs"][task]["metadata"] |= {"rbridge_traces": traces, **options}
    return data


def early(model_args: str, results: dict[str, dict[str, object]]) -> dict[str, Any]:
    """Return what 0.4.0 wrote: arguments as text, groups among the tasks, no sizes and no date."""
    return {
        "results": results,
        "configs": {task: {"task": task, "num_fewshot": 0} for task in results},
        "versions": dict.fromkeys(results, "Yaml"),
        "n-shot": dict.fromkeys(results, 0),
        "config": {"model": "hf", "model_args": model_args, "batch_size": "16", "limit": None},
        "git_hash": "abc",
    }


def flat(model_args: str, results: dict[str, dict[str, object]]) -> dict[str, Any]:
    """Return what versions before 0.4 wrote: metrics without a filter."""
    return {
        "results": results,
        "versions": dict.fromkeys(results, 0),
        "config": {"model": "hf-causal", "model_args": model_args, "num_fewshot": 0, "limit": None},
    }
