"""Folders that lm_eval leaves, evaluated with different settings, and score tables collected from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rbridge_tasks.tables.collect import collect
from rbridge_tasks.tables.score_table import write_scores

from ..harness.lm_eval_files import rbridge, write_json
from .made_scores import samples

DATE = "2026-01-01T00-00-00.000000"
INSIST = "--allow-incomparable"
NLL = (np.random.default_rng(0).gamma(4.0, 0.2, 60)).tolist()

Change = dict[str, Any]

# Changes of the second evaluation, the setting, and the two values that the message has to name.
DIFFERENCES: list[tuple[Change, str, str, str]] = [
    ({"n-shot": {"rbridge_gsm8k": 0}}, "n-shot", "5", "0"),
    ({"chat_template_sha": "abc"}, "chat template", "none", "abc"),
    ({"system_instruction_sha": "def"}, "system instruction", "none", "def"),
    ({"traces": {"confidence_model": "llama"}}, "confidence model", "gpt-4o", "llama"),
    ({"traces": {"files": {"x.parquet": "b" * 64}}}, "traces", "aaaaaaaaaaaa", "bbbbbbbbbbbb"),
    ({"traces": {"only_correct": True}}, "only correct traces", "False", "True"),
    ({"options": {"rbridge_weights": "spans"}}, "weights", "confidence", "spans"),
    ({"versions": {"rbridge_gsm8k": 2.0}}, "task version", "1.0", "2.0"),
    ({"tokenizer_eos_token": ["<|end|>", "7"]}, "tokenizer", "</s>", "<|end|>"),
]


def evaluation(folder: Path, value: float = 0.7, *, items: list[float] | None = None, **changes: Any) -> Path:
    """Write the results and samples of gsm8k as lm_eval --log_samples does."""
    extra = {"prompt_hash": changes.pop("prompt_hash")} if "prompt_hash" in changes else {}
    model = changes.pop("model", f"ckpts/{folder.name}-1b/step1-tokens2B")
    data = rbridge(model, value, **changes)
    write_json(folder / f"results_{DATE}.json", data)
    samples(folder / f"samples_rbridge_gsm8k_{DATE}.jsonl", {"rbridge_nll": items or NLL}, **extra)
    return folder


def collected(path: Path, *folders: Path) -> Path:
    """Write the score table that collect makes of evaluations."""
    write_scores(collect(folders).table, path)
    return path
