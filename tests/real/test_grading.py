"""Grades of real answers of GPT-4o and GPT-4o-mini equal the recorded grades."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import Choice
from rbridge_traces.generation.grading import grade, number_in
from rbridge_traces.questions import load_questions


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    """Return a model's answers, one for each item."""
    with gzip.open(data / "traces_text" / name, "rt") as file:
        return [json.loads(line) for line in file]


def test_gsm8k_answers_get_the_recorded_grade(data: Path) -> None:
    """All 1319 grades agree, for the recorded answer and for the box in the response."""
    answers = rows(data, "gsm8k_gpt4o_mini_cot.jsonl.gz")
    assert len(answers) == 1319
    for row in answers:
        recorded = bool(row["score"])
        assert grade("gsm8k", str(row["answer"]), str(row["target"])) is recorded
        boxed = row["response"][row["response"].rindex("\\boxed") :]
        assert grade("gsm8k", boxed, str(row["target"])) is recorded


def test_csqa_answers_get_the_recorded_grade(data: Path) -> None:
    """All 1221 grades agree, for the label, for label and text, and for a text that no other choice has."""
    answers = rows(data, "csqa_gpt4o_mini_cot.jsonl.gz")
    assert len(answers) == 1221
    for row in answers:
        choices = [Choice(choice["label"], choice["text"]) for choice in row["question"]["choices"]]
        text = {choice.label: choice.text for choice in choices}[row["answer"]]
        alone = sum(choice.text.casefold() == text.casefold() for choice in choices) == 1
        for answer in [row["answer"], f"{row['answer']}. {text}", *[text] * alone]:
            assert grade("csqa", answer, row["answerKey"], choices) is bool(row["score"]), (answer, row["id"])


def test_mmlu_pro_answers_get_the_recorded_grade(data: Path) -> None:
    """The grade of the last sentence agrees with the recorded prediction for 99% of GPT-4o's responses."""
    questions = load_questions("mmlu_pro_stem", path=str(data / "benchmarks" / "mmlu_pro" / "test.jsonl.gz"))
    by_id = {question.item_id: question for question in questions}
    agreed, compared = 0, 0
    for row in rows(data, "mmlu_pro_gpt4o_stem.jsonl.gz"):
        statements = re.findall(r"[Tt]he answer is [^\n]*", row["response"] or "")
        question = by_id[str(row["question_id"])]
        if not statements or row["pred"] is None or not row["same_item_as_test_file"]:
            continue
        compared += 1
        given = grade("mmlu_pro_stem", statements[-1], row["answer"], question.choices)
        agreed += given is (row["pred"] == row["answer"])
    assert compared > 5000
    assert agreed / compared > 0.99, f"{agreed} of {compared}"


@pytest.mark.slow
def test_math500_gold_answers_are_right_and_those_of_other_items_wrong(data: Path) -> None:
    """Each gold answer is right in a sentence and in a box; the next item's is wrong unless it is an equal number."""
    questions = load_questions("math500", path=str(data / "benchmarks" / "math500" / "test.jsonl"))
    for question, next_question in zip(questions, questions[1:] + questions[:1], strict=True):
        assert question.gold is not None
        assert next_question.gold is not None
        for answer in (question.gold, f"${question.gold}$", f"The answer is \\boxed{{{question.gold}}}."):
            assert grade("math500", answer, question.gold) is True, answer
        if grade("math500", next_question.gold, question.gold):
            assert number_in(next_question.gold) == number_in(question.gold)


def test_math500_answers_in_another_notation_are_right(data: Path) -> None:
    """Fractions written with a slash and roots written with sqrt() equal the gold answers."""
    questions = load_questions("math500", path=str(data / "benchmarks" / "math500" / "test.jsonl"))
    changed = right = 0
    for question in questions:
        gold = question.gold or ""
        plain = re.sub(r"\\d?frac\{([^{}]+)\}\{([^{}]+)\}", r"((\1)/(\2))", gold)
        plain = re.sub(r"\\sqrt\{([^{}]+)\}", r"sqrt(\1)", plain).replace("\\pi", "pi").replace("\\left", "")
        plain = plain.replace("\\right", "")
        if plain != gold:
            changed += 1
            right += grade("math500", plain, gold) is True
    assert changed > 80
    assert right / changed > 0.95, f"{right} of {changed}"
