"""Questions, choices and gold answers for published completions that come without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rbridge_traces.errors import TraceImportError
from rbridge_traces.questions import Question, load_questions
from rbridge_traces.release.answers import PublishedAnswer


def with_questions(benchmark: str, answers: Sequence[PublishedAnswer], path: str | None) -> list[PublishedAnswer]:
    """Fill in what completions lack of their questions, if they lack the text or a file of questions is given.

    A completion that has the text of its question is matched by it. Others are matched by their id, or by their id as
    the number of a question from 0 or 1, or, where they have no ids, one by one if there are as many as questions.

    Args:
        benchmark: of the completions.
        answers: in order, at least one.
        path: a local copy of the questions. Default: the benchmark's own, where they are needed.

    Raises:
        TraceImportError: the completions cannot be matched to the questions.
        TraceError: the questions cannot be had.
    """
    asked = all(answer.question for answer in answers)
    if asked and path is None:
        return list(answers)
    questions = load_questions(benchmark, path=path)
    matched = _by_text(answers, questions) if asked else _by_id(answers, questions, path)
    return [_filled(answer, question) for answer, question in zip(answers, matched, strict=True)]


def _by_text(answers: Sequence[PublishedAnswer], questions: Sequence[Question]) -> list[Question]:
    by_text = {_words(question.question): question for question in questions}
    matched = []
    for answer in answers:
        question = by_text.get(_words(answer.question or ""))
        if question is None:
            raise TraceImportError(
                f"{answer.place}: none of the {len(questions)} questions given is {(answer.question or '')[:40]!r}; "
                "give the questions of these completions, or leave out --questions"
            )
        matched.append(question)
    return matched


def _by_id(answers: Sequence[PublishedAnswer], questions: Sequence[Question], path: str | None) -> list[Question]:
    ids = [answer.item_id for answer in answers if answer.item_id is not None]
    numbered = {str(number): question for number, question in enumerate(questions)}
    ways: list[Mapping[str, Question]] = [
        {question.item_id: question for question in questions},
        numbered,
        {str(int(number) + 1): question for number, question in numbered.items()},
    ]
    if not ids and len(answers) == len(questions):
        return list(questions)
    fitting = [way for way in ways if ids and all(item_id in way for item_id in ids)]
    distinct = [way for way in fitting if any(way[item_id] is not fitting[0][item_id] for item_id in ids)]
    if fitting and not distinct and len(ids) == len(answers):
        return [fitting[0][item_id] for item_id in ids]
    given = f"{path} holds" if path else "its data set holds"
    examples = ", ".join(question.item_id for question in questions[:3])
    why = "could be the number of a question from 0 or from 1" if distinct else "are not those of the questions"
    raise TraceImportError(
        f"{answers[0].place}: no field for the question, and {'the ids' if ids else 'rows without ids'} ("
        f"{', '.join(ids[:3])}) {why}: {given} {len(questions)} ({examples}, ...) for {len(answers)} completions; name "
        "the field of the question with --field completions.question=FIELD, or give the questions of these "
        "completions, with the same ids, with --questions FILE"
    )


def _filled(answer: PublishedAnswer, question: Question) -> PublishedAnswer:
    return dataclasses.replace(
        answer,
        item_id=answer.item_id if answer.item_id is not None else question.item_id,
        question=answer.question or question.question,
        choices=answer.choices or question.choices,
        gold=answer.gold if answer.gold is not None else question.gold,
    )


def _words(text: str) -> str:
    return " ".join(text.split())
