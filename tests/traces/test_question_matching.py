"""Traces get their own question, also where several questions have the same text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import Choice, TraceImportError
from rbridge_traces.question_matching import Asked, with_questions

from .support import complaint, jsonl

TEXTS = ["Which is a metal?", "Which is true?", "Which is true?", "Which melts?", "Which is true?"]
ITEMS: list[dict[str, Any]] = [
    {"item_id": f"item {n}", "question": text, "choices": [f"a{n}", f"b{n}"], "gold": "AB"[n % 2]}
    for n, text in enumerate(TEXTS)
]


def asked(number: int, *known: str) -> Asked:
    """What a trace of an item says, with its id, choices or gold if they are named."""
    item = ITEMS[number]
    choices = tuple(Choice(label, text) for label, text in zip("AB", item["choices"], strict=True))
    values = {"item_id": item["item_id"], "choices": choices, "gold": item["gold"]}
    given = {name: value if name in known else None for name, value in values.items()}
    return Asked(f"f, row {number}", question=item["question"], **given)


@pytest.mark.parametrize(
    ("numbers", "known"),
    [
        ([0, 1, 2, 3, 4], []),
        ([0, 3, 4], []),
        ([1, 2, 3], []),
        ([4, 3, 2, 0, 1], ["item_id"]),
        ([4, 2, 0], ["choices"]),
        ([0, 1, 3, 4], ["gold"]),
    ],
)
def test_each_trace_gets_its_own_question(tmp_path: Path, numbers: list[int], known: list[str]) -> None:
    """The id, the choices or the gold tell equal texts apart, or the order of traces of some of the questions."""
    traces = [asked(number, *known) for number in numbers]
    filled = with_questions("mine", traces, jsonl(tmp_path / "questions.jsonl", ITEMS))
    assert [(trace.item_id, trace.gold) for trace in filled] == [(f"item {n}", "AB"[n % 2]) for n in numbers]
    assert [trace.choices and trace.choices[0].text for trace in filled] == [f"a{n}" for n in numbers]


@pytest.mark.parametrize("numbers", [[0, 1, 3], [3, 0, 4], [2, 4, 0]])
def test_a_text_of_several_questions_is_refused_where_nothing_tells_which(tmp_path: Path, numbers: list[int]) -> None:
    """A trace never gets the choices and the gold of another item."""
    path = jsonl(tmp_path / "questions.jsonl", ITEMS)
    message = complaint(with_questions, "mine", [asked(n) for n in numbers], path, error=TraceImportError)
    assert "3 of the questions given are 'Which is true?', and no id, choices or order tells which" in message
