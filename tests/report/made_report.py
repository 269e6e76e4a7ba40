"""Simulated inputs of reports: score tables, and samples whose traces have markup and unusual characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rbridge_metrics import TokenScores
from rbridge_tasks.tables.score_table import write_scores

from ..harness.lm_eval_files import modern, write_json

HOSTILE = "<script>alert('run')</script>"
TRACES = (
    "Amina paints 14 designs, so 14 / 2 = 7 are full.\nThat makes 7 * $15 = $105.",
    "<script>document.title = 'taken over'</script> & \"quotes\" <b>stay</b> text: 3 < 4.",
    "Über die Größe: ½ · ∑ x² ≤ ∞, 한국어 👍🏽 and\ttabs\r\x07.",
    "A word_that_is_so_long_that_no_phone_can_show_it_on_one_line_" + "x" * 120 + " ends.",
)
METRICS = ("rbridge_nll", "trace_bits_per_byte", "top1_accuracy", "surprise")


def score_rows(
    runs: Sequence[str] = ("web", HOSTILE),
    benchmarks: Sequence[str] = ("gsm8k", "csqa"),
    checkpoints: int = 4,
    metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:
    """Scores of small models along training; some standard errors and item counts are missing."""
    rng = np.random.default_rng(5)
    rows = []
    for place, run in enumerate(runs):
        for benchmark in benchmarks:
            for step in range(1, checkpoints + 1):
                for number, metric in enumerate(metrics):
                    value = 0.6 + 0.7 / step**0.5 + 0.1 * place + 0.37 * number + 0.02 * float(rng.normal())
                    rows.append(
                        {
                            "run": run, "model": f"ckpts/{run}-1b/step{step}", "params": 1.2e9, "tokens": step * 5e11,
                            "benchmark": benchmark, "metric": metric, "value": value,
                            "stderr": None if metric == "trace_bits_per_byte" else 0.01 + 0.001 * step,
                            "n": None if metric == "surprise" else 1319,
                        }
                    )  # fmt: skip
    return rows


def target_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracies of a larger model, one for each ``rbridge_nll`` of the small models."""
    return [
        row | {
            "metric": "acc", "params": 13e9, "model": row["model"].replace("-1b", "-13b"), "stderr": 0.01,
            "value": 0.95 - 0.4 * row["value"] + 0.01 * (-1) ** at,
        }
        for at, row in enumerate(row for row in rows if row["metric"] == "rbridge_nll")
    ]  # fmt: skip


def table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a score table."""
    write_scores(pd.DataFrame(list(rows)), path)
    return path


def token_scores(text: str, seed: int, *, shift: float = 0.0, width: int = 4) -> TokenScores:
    """Random scores of a text with a token every ``width`` characters; ``shift`` is added to every NLL."""
    rng = np.random.default_rng(seed)
    ends = np.array([*range(width, len(text), width), len(text)], dtype=np.int32)
    size = ends.size
    return TokenScores(
        token_id=rng.integers(0, 50, size).astype(np.int32),
        token_start=np.concatenate(([0], ends[:-1])).astype(np.int32),
        token_end=ends,
        logprob=-(rng.exponential(1.5, size) + shift).astype(np.float32),
        rank=None,
        entropy=None,
        max_logprob=None,
        vocab_size=50,
        confidence=rng.uniform(0.05, 1.0, size).astype(np.float32),
    )


def samples(
    folder: Path,
    *,
    model: str,
    scores: Sequence[TokenScores],
    benchmark: str = "gsm8k",
    date: str = "2026-01-02T03-04-05",
) -> Path:
    """A folder as ``lm_eval --output_path FOLDER --log_samples`` leaves it, over the first of ``TRACES``."""
    task = f"rbridge_{benchmark}"
    results = modern(model, {task: {"rbridge_nll,none": 1.0}})
    results["configs"][task]["metadata"]["rbridge_traces"] = {"sample": False, "files": {"x.parquet": "a" * 64}}
    write_json(folder / f"results_{date}.json", results)
    lines = [
        {
            "doc_id": at,
            "doc": {"benchmark": benchmark, "item_id": f"item-{at}", "trace": TRACES[at],
                    "question": f"<i>Why</i> {at}?"},
            "resps": [[str(trace_scores)]], "filter": "none", "metrics": ["rbridge_nll"], "doc_hash": f"doc {at}",
            "prompt_hash": f"prompt {at}", "target_hash": f"target {at}", "rbridge_nll": 1.0,
        }
        for at, trace_scores in enumerate(scores)
    ]  # fmt: skip
    (folder / f"samples_{task}_{date}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
