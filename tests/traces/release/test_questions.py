"""Questions, choices and gold answers for a release that lacks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rbridge_traces.release.read import release_readers

from ..releases import as_lines, plain
from .support import ITEMS, fault, pull, rewrite


def questions(path: Path, rows: list[dict[str, Any]]) -> str:
    as_lines(path, rows)
    return str(path)


def test_questions_come_from_a_file_where_the_release_has_none(root: Path, folder: Path, tmp_path: Path) -> None:
    """Rows without ids or text are matched in order, row-number ids by number; the gold answer is added."""
    asked = [{"question": item.question, "answer": f"So it is #### {item.gold}"} for item in ITEMS]
    file = questions(tmp_path / "test.jsonl", asked)
    for ids in (None, 0, 1):

        def strip(rows: list[dict[str, Any]], ids: int | None = ids) -> None:
            for number, row in enumerate(rows):
                del row["question"]
                row["gold"] = None
                row["item_id"] = None if ids is None else number + ids

        plain(folder, ITEMS)
        for part in folder.glob("*.jsonl"):
            rewrite(
                part, lambda rows, ids=ids: [row.update(item_id=int(row["item_id"][5:]) + (ids or 0)) for row in rows]
            )
        rewrite(folder / "completions.json", strip)
        traces = pull(root, questions=file).traces
        assert [(t.question, t.gold) for t in traces] == [(item.question, item.gold) for item in ITEMS]


def test_questions_that_cannot_be_told_are_refused(root: Path, folder: Path, tmp_path: Path) -> None:
    """Ids that may count from 0 or 1, unknown ids, and texts of other questions are errors, never guesses."""
    asked = [{"question": f"What is question {n}?", "answer": f"#### {n}"} for n in range(9)]
    file = questions(tmp_path / "test.jsonl", asked)
    rewrite(folder / "completions.json", lambda rows: rows[0].update(question="Something else?"))
    assert "row 1: none of the 9 questions given is 'Something else?'" in fault(root, questions=file)
    rewrite(folder / "completions.json", lambda rows: [row.pop("question") for row in rows])
    assert "the ids (item-0, item-1, item-2) are not those of the questions" in fault(root, questions=file)
    rewrite(folder / "completions.json", lambda rows: [row.update(item_id=n + 1) for n, row in enumerate(rows)])
    for part in folder.glob("*.jsonl"):
        rewrite(part, lambda rows: [row.update(item_id=int(row["item_id"][5:]) + 1) for row in rows])
    assert "could be the number of a question from 0 or from 1" in fault(root, questions=file)


def test_choices_and_gold_come_from_the_questions(tmp_path: Path) -> None:
    """--questions fills missing fields by question text, and keeps existing fields."""
    folder = tmp_path / "arc_challenge"
    plain(folder, ITEMS)
    rewrite(folder / "completions.json", lambda rows: [row.pop("gold") for row in rows])
    choices = {"label": ["A", "B"], "text": ["ice", "fire"]}
    asked = [
        {"id": f"q{item.number}", "question": f" {item.question}\n", "choices": choices, "answerKey": "B"}
        for item in ITEMS
    ]
    file = questions(tmp_path / "test.jsonl", list(reversed(asked)))
    traces = release_readers(tmp_path, {}, file)["arc_challenge"]().traces
    assert {trace.gold for trace in traces} == {"B"}
    assert [choice.text for choice in traces[0].choices or ()] == ["ice", "fire"]
    assert [trace.item_id for trace in traces] == [f"item-{n}" for n in range(6)]
    assert {trace.gold for trace in release_readers(tmp_path, {})["arc_challenge"]().traces} == {None}
