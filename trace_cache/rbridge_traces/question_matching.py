"""Fill in the questions, choices and golds that traces lack from the questions of a benchmark."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from rbridge_traces.errors import TraceImportError
from rbridge_traces.questions import Question, load_questions
from rbridge_traces.schema import Choice


class Asked(NamedTuple):
    """The item of a trace as far as it is known: source file and row, item id, question, choices and gold."""

    place: str
    item_id: str | None
    question: str | None
    choices: tuple[Choice, ...] | None
    gold: Any


def with_questions(benchmark: str, asked: Sequence[Asked], path: str | None) -> list[Asked]:
    """Find the question of each trace, and fill in what is not known of its item.

    If all have the text of their question, it decides; of several questions with the same text, the one with the id,
    the choices or the gold of the trace, or, where the traces are in the order of the questions, the one between its
    neighbours. Otherwise the id decides, or the id as the number of a question
    from 0 or 1. Without ids, as many traces as questions are matched in order.

    Args:
        benchmark: of the traces.
        asked: at least one.
        path: a local copy of the questions. Default: the data set of the benchmark.

    Raises:
        TraceImportError: the traces cannot be matched.
        TraceError: the questions cannot be read.
    """
    questions = load_questions(benchmark, path=path)
    has_texts = all(trace.question for trace in asked)
    matched = _by_text(asked, questions) if has_texts else _by_id(asked, questions, path)
    return [
        Asked(
            trace.place,
            trace.item_id if trace.item_id is not None else question.item_id,
            trace.question or question.question,
            trace.choices or question.choices,
            trace.gold if trace.gold is not None else question.gold,
        )
        for trace, question in zip(asked, matched, strict=True)
    ]


def _by_text(asked: Sequence[Asked], questions: Sequence[Question]) -> list[Question]:
    numbers_of: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        numbers_of.setdefault(_words(question.question), []).append(number)
    candidates = []
    for trace in asked:
        numbers = numbers_of.get(_words(trace.question or ""))
        if numbers is None:
            raise TraceImportError(
                f"{trace.place}: none of the {len(questions)} questions given is {(trace.question or '')[:40]!r}; "
                "give the questions of these completions, or leave out --questions"
            )
        for field in ("item_id", "choices", "gold"):
            same = [number for number in numbers if getattr(questions[number], field) == getattr(trace, field)]
            numbers = same if getattr(trace, field) is not None and same else numbers
        candidates.append(numbers)
    return [questions[number] for number in _in_order(asked, candidates)]


def _in_order(asked: Sequence[Asked], candidates: Sequence[Sequence[int]]) -> list[int]:
    """The question of each trace, where the order of the traces decides between candidates.

    Between two traces whose questions are known, there must be as many candidates as traces with the same text.
    """
    known = [numbers[0] for numbers in candidates if len(numbers) == 1]
    ordered = all(first < second for first, second in pairwise(known))
    matched: list[int] = []
    for place, (trace, numbers) in enumerate(zip(asked, candidates, strict=True)):
        if len(numbers) > 1:
            low = matched[-1] if matched else -1
            rest = candidates[place:]
            until = next((at for at, others in enumerate(rest) if len(others) == 1), len(rest))
            high = rest[until][0] if until < len(rest) else sys.maxsize
            left = [number for number in numbers if low < number < high]
            if not ordered or len(left) != sum(others == numbers for others in rest[:until]):
                raise TraceImportError(
                    f"{trace.place}: {len(numbers)} of the questions given are {(trace.question or '')[:40]!r}, and no "
                    "id, choices or order tells which; map the field that has the id of the question"
                )
            numbers = left
        matched.append(numbers[0])
    return matched


def _by_id(asked: Sequence[Asked], questions: Sequence[Question], path: str | None) -> list[Question]:
    ids = [trace.item_id for trace in asked if trace.item_id is not None]
    if not ids and len(asked) == len(questions):
        return list(questions)
    ways: list[Mapping[str, Question]] = [
        {question.item_id: question for question in questions},
        {str(number): question for number, question in enumerate(questions)},
        {str(number): question for number, question in enumerate(questions, start=1)},
    ]
    fitting = [way for way in ways if ids and all(item_id in way for item_id in ids)]
    ambiguous = any(way[item_id] is not fitting[0][item_id] for way in fitting for item_id in ids)
    if fitting and not ambiguous and len(ids) == len(asked):
        return [fitting[0][item_id] for item_id in ids]
    given = f"{path} holds" if path else "its data set holds"
    examples = ", ".join(question.item_id for question in questions[:3])
    why = "could be the number of a question from 0 or from 1" if ambiguous else "are not those of the questions"
    raise TraceImportError(
        f"{asked[0].place}: no field for the question, and {'the ids' if ids else 'rows without ids'} ("
        f"{', '.join(ids[:3])}) {why}: {given} {len(questions)} ({examples}, ...) for {len(asked)} completions; name "
        "the field of the question with --field completions.question=FIELD, or give the questions of these "
        "completions, with the same ids, with --questions FILE"
    )


def _words(text: str) -> str:
    return " ".join(text.split())
