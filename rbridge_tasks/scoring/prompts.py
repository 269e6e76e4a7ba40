"""The text around a trace: how a question is asked, and how a worked example reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rbridge_traces.benchmark import benchmark_named

if TYPE_CHECKING:
    from rbridge_traces import Benchmark, Trace

#: Between the question and the trace. White space, so that lm-eval tokenises it with the trace.
DELIMITER = " "
#: Between a trace and its answer in a worked example.
FINAL_ANSWER = "Final answer:"
_PLACEHOLDER = re.compile(r"\{(question|code|choices)\}")
_CHOICES_LINE = re.compile(r"\n\{choices\}\Z|\{choices\}\n?")


@dataclass(frozen=True)
class Prompt:
    """How a question is written before a trace.

    Attributes:
        question_template: see ``rbridge_traces.benchmark``; None for the template of a shipped benchmark.
        delimiter: between the question and the trace.
        record: what a results file notes; None for the prompt of a shipped benchmark and for the default.
    """

    question_template: str | None = None
    delimiter: str = DELIMITER
    record: str | None = None


DEFAULT_PROMPT = Prompt()
#: The question alone, with nothing between it and the trace, as the authors evaluate ``trillionlabs/rbridge-mask``.
BARE = Prompt("{question}\n{choices}", "", "bare")
PROMPTS = ("default", "bare")


def prompt_of(benchmark: Benchmark, name: str = "default") -> Prompt:
    """The prompt of a benchmark, or the bare one."""
    if name == "bare":
        return BARE
    template = benchmark.question_template
    if template == benchmark_named(benchmark.name).question_template:
        return DEFAULT_PROMPT
    return Prompt(template, record=hashlib.sha256(template.encode()).hexdigest()[:12])


def question_text(doc: Mapping[str, Any]) -> str:
    """Everything before the trace, from the template of its benchmark (see ``rbridge_traces.benchmark``).

    Args:
        doc: with ``benchmark``, ``question``, for multiple choice ``choices`` of ``label`` and ``text``, and, where it
            is not that of the benchmark's name, ``question_template``.

    >>> print(question_text({"benchmark": "arc_challenge", "question": "What melts first?",
    ...                      "choices": [{"label": "A", "text": "ice"}, {"label": "B", "text": "iron"}]}))
    Question: What melts first?
    A. ice
    B. iron
    Answer:
    """
    template = doc.get("question_template") or benchmark_named(doc["benchmark"]).question_template
    choices = [f"{choice['label']}. {choice['text']}" for choice in doc.get("choices") or ()]
    parts = {"question": doc["question"], "code": doc["question"].rstrip(), "choices": "\n".join(choices)}
    if not choices:
        template = _CHOICES_LINE.sub("", template)
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], template)


def separator(answer: str) -> str:
    """The characters between a colon and an answer: a line break before code, otherwise a space."""
    return "\n" if "\n" in answer else DELIMITER


def worked_example(doc: Mapping[str, Any]) -> str:
    """Trace and final answer of a few-shot example, as they follow ``question_text``.

    >>> worked_example({"trace": "Ice melts at 0 °C.", "final_answer": "A"})
    'Ice melts at 0 °C.\\nFinal answer: A'
    """
    answer = doc["final_answer"] or doc.get("gold") or ""
    return f"{doc['trace']}\n{FINAL_ANSWER}{separator(answer)}{answer.rstrip()}"


def document(trace: Trace, prompt: Prompt = DEFAULT_PROMPT) -> dict[str, Any]:
    """A trace as an lm-eval document: a plain dictionary of everything but its confidences."""
    template = prompt.question_template
    return ({"question_template": template} if template is not None else {}) | {
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


def context_of(trace: Trace, examples: Sequence[Trace], prompt: Prompt = DEFAULT_PROMPT) -> str:
    """The context of a trace: worked examples, the question, and the delimiter.

    Equals the text that lm-eval builds for our tasks without a chat template.
    """
    shots = [question_text(d) + DELIMITER + worked_example(d) for d in (document(each, prompt) for each in examples)]
    return "\n\n".join([*shots, question_text(document(trace, prompt))]) + prompt.delimiter
