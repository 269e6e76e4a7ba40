"""The text around a trace: how a question is asked, and how a worked example reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbridge_traces import Trace

#: Between the question and the trace. White space, so that lm-eval tokenises it with the trace.
DELIMITER = " "
#: Between a trace and its answer in a worked example.
FINAL_ANSWER = "Final answer:"


def question_text(doc: Mapping[str, Any]) -> str:
    """Everything before the trace, up to and including ``Answer:``.

    Args:
        doc: with ``benchmark``, ``question`` and, for multiple choice, ``choices`` of ``label`` and ``text``.

    >>> print(question_text({"benchmark": "arc_challenge", "question": "What melts first?",
    ...                      "choices": [{"label": "A", "text": "ice"}, {"label": "B", "text": "iron"}]}))
    Question: What melts first?
    A. ice
    B. iron
    Answer:
    """
    question = doc["question"]
    if doc["benchmark"] == "humaneval":
        question = f"Complete the Python function.\n{question.rstrip()}"
    choices = [f"{choice['label']}. {choice['text']}" for choice in doc.get("choices") or ()]
    return "\n".join([f"Question: {question}", *choices, "Answer:"])


def separator(answer: str) -> str:
    """The characters between a colon and an answer: a line break before code, otherwise a space."""
    return "\n" if "\n" in answer else DELIMITER


def worked_example(doc: Mapping[str, Any]) -> str:
    """Trace and final answer of a few-shot example, as they follow ``question_text``.

    >>> worked_example({"trace": "Ice melts at 0 °C.", "final_answer": "A"})
    'Ice melts at 0 °C.\\nFinal answer: A'
    """
    answer = doc["final_answer"] or ""
    return f"{doc['trace']}\n{FINAL_ANSWER}{separator(answer)}{answer.rstrip()}"


def document(trace: Trace) -> dict[str, Any]:
    """A trace as an lm-eval document: a plain dictionary of everything but its confidences."""
    return {
        "benchmark": trace.benchmark,
        "item_id": trace.item_id,
        "question": trace.question,
        "choices": [{"label": c.label, "text": c.text} for c in trace.choices] if trace.choices else None,
        "trace": trace.trace,
        "final_answer": trace.final_answer,
        "gold": trace.gold,
        "correct": trace.correct,
        "spans": [list(span) for span in trace.spans] if trace.spans is not None else None,
    }


def context_of(trace: Trace, examples: Sequence[Trace]) -> str:
    """The context of a trace: worked examples, the question, and the delimiter.

    Equals the text that lm-eval builds for our tasks without a chat template.
    """
    shots = [question_text(d) + DELIMITER + worked_example(d) for d in map(document, examples)]
    return "\n\n".join([*shots, question_text(document(trace))]) + DELIMITER
