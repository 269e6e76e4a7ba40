"""What the real ``lm_eval`` command wrote, and the error it ended with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rbridge_metrics import TokenScores

Run = Callable[..., subprocess.CompletedProcess[str]]


def results_of(folder: Path) -> dict[str, Any]:
    """Return the only results file of a folder."""
    (file,) = folder.rglob("results_*.json")
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def samples_of(folder: Path, task: str) -> list[dict[str, Any]]:
    """Return the samples of a task."""
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def scores_of(sample: dict[str, Any]) -> TokenScores:
    """Return the token scores of a sample."""
    return TokenScores.from_json(sample["resps"][0][0])


def the_error(result: subprocess.CompletedProcess[str]) -> str:
    """Return the line of error at the end of a failed command."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("rbridge: error: ")
    return line
