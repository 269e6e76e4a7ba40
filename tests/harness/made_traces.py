"""Samples and results files of our tasks with made-up token scores, as ``lm_eval --log_samples`` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbridge_metrics import TokenScores

from .lm_eval_files import modern, write_json

DATE = "2026-01-02T03-04-05.678901"
VOCABULARY = 50


def made_scores(seed: int, tokens: int = 20, **changes: Any) -> TokenScores:
    """Draw token scores at random; each token is one letter, and its id is the letter's place in a to z."""
    rng = np.random.default_rng(seed)
    max_logprob = -rng.exponential(0.5, tokens).astype(np.float32)
    rank = rng.integers(1, 9, tokens).astype(np.int32)
    values: dict[str, Any] = {
        "token_id": rng.integers(0, 26, tokens).astype(np.int32),
        "token_start": np.arange(tokens, dtype=np.int32),
        "token_end": np.arange(1, tokens + 1, dtype=np.int32),
        "logprob": np.where(rank == 1, max_logprob, max_logprob - rng.exponential(1, tokens)).astype(np.float32),
        "rank": rank,
        "entropy": rng.exponential(1, tokens).astype(np.float32),
        "max_logprob": max_logprob,
        "vocab_size": VOCABULARY,
    }
    return TokenScores(**values | changes)


def text_of(scores: TokenScores) -> str:
    """Return the trace of made-up scores."""
    return "".join(chr(ord("a") + int(token)) for token in scores.token_id)


def evaluation(
    folder: Path,
    scores: Sequence[TokenScores],
    *,
    model: str = "ckpts/dclm-97.9M/step1-tokens1B",
    tasks: Sequence[str] = ("rbridge_gsm8k",),
    date: str = DATE,
    sample: bool = False,
    began: float = 1.7e9,
) -> Path:
    """Write what ``lm_eval --output_path FOLDER --log_samples`` writes: a results file, and samples of each task."""
    results = modern(model, {task: {"trace_nll,none": 1.0} for task in tasks}, date=began)
    for task in tasks:
        results["configs"][task]["metadata"]["rbridge_traces"] = {"sample": sample, "files": {"x.parquet": "a" * 64}}
    write_json(folder / f"results_{date}.json", results)
    for task in tasks:
        lines = [
            {
                "doc_id": number,
                "doc": {"benchmark": "gsm8k", "item_id": str(number), "trace": text_of(trace_scores)},
                "resps": [[str(trace_scores)]],
                "filtered_resps": [f"{trace_scores.logprob.size} tokens, see resps"],
                "filter": "none",
                "metrics": ["trace_nll"],
                "doc_hash": f"doc {number}",
                "prompt_hash": f"prompt {number}",
                "target_hash": f"target {text_of(trace_scores)}",
                "trace_nll": 1.0,
            }
            for number, trace_scores in enumerate(scores)
        ]
        (folder / f"samples_{task}_{date}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
