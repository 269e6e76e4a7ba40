"""The prompt of the paper, which asks for the reasoning in a JSON object."""

from __future__ import annotations

import hashlib
import json

from rbridge_traces.benchmark import benchmark_named
from rbridge_traces.extraction import FINAL_ANSWER, PLACEHOLDERS, REASONING
from rbridge_traces.questions import Question

_FORMAT = (
    "Respond ONLY with a JSON object in this exact format: "
    f'{{ "{REASONING}": "{PLACEHOLDERS[REASONING]}", "{FINAL_ANSWER}": "{PLACEHOLDERS[FINAL_ANSWER]}" }}'
)
_CHOICES = '[choices, one a line, as "A. text"]'


def messages(question: Question) -> list[dict[str, str]]:
    """The messages that ask a question, in the Chat Completions layout.

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
    return _messages(question.benchmark, "\n".join([question.question, *choices]))


def template(benchmark: str) -> str:
    """The prompt with a placeholder for the question, as a manifest records it."""
    has_choices = benchmark_named(benchmark).multiple_choice
    asked = _messages(benchmark, f"[question]\n{_CHOICES}" if has_choices else "[question]")
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in asked)


def digest(question: Question) -> str:
    """A hash of the prompt of a question, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(messages(question)).encode()).hexdigest()[:16]


def _messages(benchmark: str, question: str) -> list[dict[str, str]]:
    subject = benchmark_named(benchmark).subject
    return [
        {"role": "system", "content": f"You are a helpful assistant that solves {subject} problems."},
        {"role": "user", "content": f"{question}\n\n{_FORMAT}"},
    ]
