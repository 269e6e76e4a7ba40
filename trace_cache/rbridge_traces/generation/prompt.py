"""The prompt of the paper, which asks for the reasoning in a JSON object, and one for answers in plain text."""

from __future__ import annotations

import hashlib
import json

from rbridge_traces.answer_form import AnswerFormat
from rbridge_traces.benchmark import benchmark_named
from rbridge_traces.extraction import FINAL_ANSWER, PLACEHOLDERS, REASONING
from rbridge_traces.questions import Question
from rbridge_traces.text_answers import ASKED_FOR

_FORMAT = (
    "Respond ONLY with a JSON object in this exact format: "
    f'{{ "{REASONING}": "{PLACEHOLDERS[REASONING]}", "{FINAL_ANSWER}": "{PLACEHOLDERS[FINAL_ANSWER]}" }}'
)
_TEXT = f"Solve this step by step. End with one line that begins with {ASKED_FOR!r}, followed by the answer alone."
_CHOICES = '[choices, one a line, as "A. text"]'


def messages(question: Question, form: AnswerFormat | None = "json") -> list[dict[str, str]]:
    """The messages that ask a question for an answer of a form, in the Chat Completions layout.

    >>> from rbridge_traces import Choice
    >>> asked = messages(Question("arc_challenge", "1", "What melts?", (Choice("A", "ice"), Choice("B", "fire")), "A"))
    >>> asked[0]["content"]
    'You are a helpful assistant that solves science problems.'
    >>> print(asked[1]["content"].partition("Respond")[0].rstrip())
    What melts?
    A. ice
    B. fire
    """
    choices = [f"{choice.label}. {choice.text}" for choice in question.choices or ()]
    return _messages(question.benchmark, "\n".join([question.question, *choices]), form)


def template(benchmark: str, form: AnswerFormat | None = "json") -> str:
    """The prompt with a placeholder for the question, as a manifest records it."""
    has_choices = benchmark_named(benchmark).multiple_choice
    asked = _messages(benchmark, f"[question]\n{_CHOICES}" if has_choices else "[question]", form)
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in asked)


def digest(question: Question, form: AnswerFormat | None = "json") -> str:
    """A hash of the prompt of a question, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(messages(question, form)).encode()).hexdigest()[:16]


def _messages(benchmark: str, question: str, form: AnswerFormat | None) -> list[dict[str, str]]:
    subject = benchmark_named(benchmark).subject
    return [
        {"role": "system", "content": f"You are a helpful assistant that solves {subject} problems."},
        {"role": "user", "content": f"{question}\n\n{_TEXT if form == 'text' else _FORMAT}"},
    ]
