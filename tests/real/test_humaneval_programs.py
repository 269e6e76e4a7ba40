"""HumanEval's real tests: the canonical solutions pass, and GPT-4's solutions get their recorded grades."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rbridge_tasks.answering.answers import answer_code
from rbridge_tasks.answering.code_execution import passes
from rbridge_tasks.answering.humaneval import checks_of, program_of
from rbridge_traces import Trace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(data: Path) -> list[dict[str, Any]]:
    """All 164 items with GPT-4's solution and its recorded grade."""
    with gzip.open(data / "traces_text" / "humaneval_gpt4_completions.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def checks(data: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The tests of each item, from the authors' file."""
    traces = [Trace("humaneval", row["task_id"], row["prompt"], "Not read.") for row in rows]
    return checks_of(traces, path=str(data / "benchmarks" / "humaneval" / "HumanEval.jsonl.gz"))


def test_every_canonical_solution_passes(rows: list[dict[str, Any]], checks: dict[str, str]) -> None:
    """The solutions are function bodies, after the line break that follows "Final answer:"."""
    bodies = [answer_code(f"\n{row['canonical_solution']}") for row in rows]
    programs = [program_of(row["prompt"], body, checks[row["task_id"]]) for row, body in zip(rows, bodies, strict=True)]
    assert [row["task_id"] for row, program in zip(rows, programs, strict=True) if not passes(program)] == []


def test_whole_functions_get_the_recorded_grade(rows: list[dict[str, Any]], checks: dict[str, str]) -> None:
    """GPT-4's solutions, which repeat the prompt, get their recorded grades, with one exception.

    It imports ``math`` inside another function; the recorded grade was made where ``math`` was already imported.
    """
    grades = [passes(program_of(row["prompt"], answer_code(row["solution"]), checks[row["task_id"]])) for row in rows]
    differing = [
        row["task_id"] for row, passed in zip(rows, grades, strict=True) if passed is not bool(row["is_solved"])
    ]
    assert differing == ["HumanEval/133"]
