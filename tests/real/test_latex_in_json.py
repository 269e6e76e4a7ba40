"""Real solutions, written into JSON with and without escaped backslashes, are read back unchanged."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import parse_completion
from rbridge_traces.control_characters import suspicious_places


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [json.loads(line) for line in text.splitlines()]


def escaped(text: str) -> str:
    """Return the text as a JSON writer writes it."""
    return json.dumps(text)[1:-1]


def single(text: str) -> str:
    """Return the text as a model writes it that does not escape backslashes."""
    return text.replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def mixed(text: str) -> str:
    """Return the text with each LaTeX command escaped at random, and row ends always escaped."""
    rng = random.Random(text)

    def write(command: re.Match[str]) -> str:
        doubled = command[0] == "\\\\" or rng.random() < 0.5
        return command[0].replace("\\", "\\\\") if doubled else command[0]

    return single(re.sub(r"\\(?:\\|.)", write, text, flags=re.DOTALL))


def answer(write: Callable[[str], str], reasoning: str, final: str) -> str:
    return f'{{"reasoning": "{write(reasoning)}", "final_answer": "{write(final)}"}}'


@pytest.mark.parametrize("write", [escaped, single, mixed])
def test_every_solution_of_math500_is_read_back_unchanged(data: Path, write: Callable[[str], str]) -> None:
    """All 500 solutions, problems and answers are unchanged for each way of writing."""
    problems = rows(data / "benchmarks" / "math500" / "test.jsonl")
    assert len(problems) == 500
    for row in problems:
        for text in (row["solution"], row["problem"]):
            assert parse_completion(answer(write, text, row["answer"])) == (text, row["answer"])


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 20])
def test_texts_of_gpt_4o_are_read_back_unchanged(data: Path, every: int) -> None:
    r"""All texts are unchanged if a JSON writer wrote them, and all but two of 5878 if no backslash was escaped.

    These two are ambiguous: ``\n`` within a string of C, and ``\textphi``, which is not a command of LaTeX.
    """
    whole = [row["response"] for row in rows(data / "traces_text" / "mmlu_pro_gpt4o_stem.jsonl.gz")[::every]]
    texts = [text.rstrip("\\") for text in whole]  # cut-off texts: a last backslash would escape the closing quote
    assert [text for text in texts if parse_completion(answer(escaped, text, "A"))[0] != text] == []
    lost = [text for text in texts if parse_completion(answer(single, text, "A"))[0] != text]
    assert len(lost) <= 2
    assert all('printf("%d%d\\n"' in text or "\\textphi" in text for text in lost)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 10])
@pytest.mark.parametrize("indentation", ["    ", "\t"])
def test_programs_and_prose_are_read_back_unchanged(data: Path, indentation: str, every: int) -> None:
    """Line breaks before identifiers, tabs and escapes in the strings of programs stay, and none is suspicious."""
    texts = [row["solution"] for row in rows(data / "traces_text" / "humaneval_gpt4_completions.jsonl.gz")]
    for row in rows(data / "benchmarks" / "humaneval" / "HumanEval.jsonl.gz"):
        texts += [row["prompt"] + row["canonical_solution"], row["test"]]
    for name in ("gsm8k", "csqa"):
        texts += [row["response"] for row in rows(data / "traces_text" / f"{name}_gpt4o_mini_cot.jsonl.gz")]
    for text in texts[::every]:
        given = text.replace("    ", indentation)
        assert parse_completion(answer(escaped, given, "A"))[0] == given
        assert suspicious_places(given) == []


def test_a_cache_of_solutions_read_by_a_plain_parser_is_suspicious(data: Path) -> None:
    """A solution damaged by a plain JSON parser is reported; the solution itself is not."""
    for row in rows(data / "benchmarks" / "math500" / "test.jsonl"):
        text = row["solution"]
        assert suspicious_places(text) == []
        readable = re.sub(r"\\(?![bfnrt])", r"\\\\", single(text))
        damaged = json.loads(f'"{readable}"'.replace('\\\\"', '\\"'))
        if re.search("[\b\f\t\r]", damaged):
            assert suspicious_places(damaged), text


def test_the_cases_give_their_right_answers(data: Path) -> None:
    """Completions that earlier versions read wrongly."""
    file = data.parent / "cases" / "completions.json"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    for case in json.loads(file.read_text(encoding="utf-8")):
        assert parse_completion(case["content"]) == (case["right"], case["answer"]), case["why"]
