"""Score tables and samples files for tests, and commands run on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from typer.testing import CliRunner, Result

from rbridge_tasks.cli import app
from rbridge_tasks.tables.score_table import write_scores

SMALL, LARGE, TARGET = (16e6, 1.6e9), (98e6, 9.8e9), (1.2e9, 98e9)


def row(
    run: str,
    value: float,
    *,
    size: tuple[float | None, float | None] = SMALL,
    benchmark: str = "gsm8k",
    metric: str = "rbridge_nll",
    stderr: float | None = 0.01,
) -> dict[str, Any]:
    """One row of a score table."""
    params, tokens = size
    return {
        "run": run, "model": f"{run}-{params}-{tokens}", "params": params, "tokens": tokens, "benchmark": benchmark,
        "metric": metric, "value": value, "stderr": stderr, "n": 100,
    }  # fmt: skip


def table(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write a score table."""
    write_scores(pd.DataFrame(list(rows)), path)
    return path


def samples(
    path: Path,
    metrics: dict[str, Sequence[Any]],
    *,
    ids: Sequence[Any] | None = None,
    filter_name: str = "none",
    **extra: Any,
) -> Path:
    """Write a samples file as ``lm_eval --log_samples`` does: one JSON object per line."""
    count = len(next(iter(metrics.values())))
    names = list(ids or range(count))
    rows = [
        {
            "doc_id": names[at], "doc": {"question": f"question {names[at]}"}, "target": "1", "resps": [["x"]],
            "filtered_resps": ["x"], "filter": filter_name, "metrics": list(metrics),
            "doc_hash": f"hash of {names[at]}",
            **{name: values[at] for name, values in metrics.items()}, **extra,
        }
        for at in range(count)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return path


def invoke(*arguments: str | Path | float) -> Result:
    """Run ``rbridge ARGUMENTS``; errors are raised, not printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def as_json(*arguments: str | Path | float) -> dict[str, Any]:
    """What a command prints with ``--json``."""
    output: dict[str, Any] = json.loads(invoke(*arguments, "--json").stdout)
    return output
