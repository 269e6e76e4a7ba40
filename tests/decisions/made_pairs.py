"""Simulated tables of proxy scores and target accuracies for the tests of fit and predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rbridge_tasks.tables.score_table import write_scores

TOKENS = np.arange(1, 13) * 1e11
SIZES = {"1b": 1.2e9, "13b": 13.7e9}


def checkpoints(seed: int = 0, count: int = 12) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """An NLL that falls along a run, and the accuracy in percent of the large model, which rises and levels off."""
    rng = np.random.default_rng(seed)
    nll = 1.0 - 0.12 * np.log(np.arange(1, count + 1)) + 0.004 * rng.normal(size=count)
    return nll, 70.0 - 45.0 * np.exp(-3.0 * (1.0 - nll)) + 0.8 * rng.normal(size=count)


def pairs(benchmarks: Sequence[str] = ("gsm8k", "csqa"), metric: str = "rbridge_nll") -> pd.DataFrame:
    """Pairs of several benchmarks, one row per checkpoint."""
    parts = []
    for seed, benchmark in enumerate(benchmarks):
        nll, accuracy = checkpoints(seed)
        columns = {"benchmark": benchmark, "metric": metric, "tokens": TOKENS, "score": nll, "accuracy": accuracy}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def written(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table as a CSV file."""
    frame.to_csv(path, index=False)
    return path


def scores(
    runs: Sequence[str] = ("web",),
    benchmarks: Sequence[str] = ("gsm8k",),
    target_tokens: np.ndarray[Any, Any] = TOKENS,
    target_runs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A score table of a 1B proxy and a 13B target of the same runs; accuracies are fractions, as lm-eval's are."""
    rows: list[dict[str, Any]] = []
    for seed, run in enumerate(runs):
        for benchmark in benchmarks:
            nll, accuracy = checkpoints(seed)
            target_run = (target_runs or runs)[seed]
            rows += [_row(run, "1b", TOKENS[i], benchmark, "rbridge_nll", nll[i]) for i in range(len(TOKENS))]
            values = np.interp(target_tokens, TOKENS, accuracy) / 100.0
            rows += [
                _row(target_run, "13b", tokens, benchmark, "acc", value)
                for tokens, value in zip(target_tokens, values, strict=True)
            ]
    return pd.DataFrame(rows)


def score_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write a checked score table."""
    write_scores(frame, path)
    return path


def _row(run: str, size: str, tokens: float, benchmark: str, metric: str, value: float) -> dict[str, Any]:
    return {
        "run": run,
        "model": f"{run}-{size}",
        "params": SIZES[size],
        "tokens": tokens,
        "benchmark": benchmark,
        "metric": metric,
        "value": value,
    }
