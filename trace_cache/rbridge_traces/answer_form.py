"""What is read from an answer: which part of it is the trace, how its final answer is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rbridge_traces.completions import Completion, completion_of_choice, text_of_choice
from rbridge_traces.extraction import (
    REASONING,
    MalformedCompletionError,
    Reasoning,
    locate_reasoning,
    tokens_between,
    with_tokens,
)
from rbridge_traces.located_thinking import thinking_of_choice, thinking_text
from rbridge_traces.text_answers import reasoning_end_and_answer
from rbridge_traces.thinking import without_thinking

TracePart = Literal["reasoning", "thinking"]
AnswerFormat = Literal["json", "text"]


@dataclass(frozen=True)
class AnswerForm:
    """Which part of an answer is the trace, and how the answer is written.

    Attributes:
        trace: ``reasoning`` that the answer itself gives, or the ``thinking`` before the answer.
        format: ``json``, the object of the paper's prompt; ``text``, of which a last line names the final answer; None
            for either, as the answer is.
        code: final answers are programs.
    """

    trace: TracePart = "reasoning"
    format: AnswerFormat | None = "json"
    code: bool = False


@dataclass(frozen=True)
class ReadAnswer:
    """The content of an answer.

    Attributes:
        trace: as the form says.
        final_answer: None where it names none.
        tokens: of the trace; None where they are not known.
        repairs: escapes that were read as LaTeX; None where the trace is not from a JSON object.
    """

    trace: str
    final_answer: str | None
    tokens: Reasoning | None
    repairs: int | None


def read_choice(choice: Mapping[str, Any], form: AnswerForm, *, logprobs: bool) -> ReadAnswer:
    """Read the trace, its tokens and the final answer from one entry of ``choices``.

    Args:
        choice: in the Chat Completions or the legacy completions layout.
        form: what to read.
        logprobs: whether to locate the tokens of the trace.

    Raises:
        MalformedCompletionError: it lacks what the form asks for.
        TraceError: the log-probabilities are missing, or do not spell the trace.
    """
    thinking = form.trace == "thinking"
    if logprobs and not thinking:
        completion = completion_of_choice(choice)
        return _read_content(completion.text, completion, form)
    answer = _read_content(text_of_choice(choice), None, form)
    if not thinking:
        return answer
    tokens = thinking_of_choice(choice) if logprobs else None
    return ReadAnswer(thinking_text(choice) if tokens is None else tokens.text, answer.final_answer, tokens, None)


def _read_content(text: str, completion: Completion | None, form: AnswerForm) -> ReadAnswer:
    if form.format != "text":
        try:
            located = locate_reasoning(text)
        except MalformedCompletionError:
            if form.format == "json" or _is_meant_as_object(text):
                raise
        else:
            tokens = with_tokens(located, completion) if completion else None
            return ReadAnswer(located.text, located.final_answer, tokens, located.repairs)
    rest = without_thinking(text)
    start, end = len(text) - len(rest.lstrip()), len(text.rstrip())
    if start >= end:
        raise MalformedCompletionError("thinking and nothing else")
    length, final_answer = reasoning_end_and_answer(text[start:end], code=form.code)
    if form.format is None and form.trace == "reasoning":
        length, final_answer = end - start, None  # nobody said what the text is
    if not length and form.trace == "reasoning":
        raise MalformedCompletionError("a final answer without reasoning before it")
    tokens = None
    if completion is not None:
        tokens = Reasoning(text[start : start + length], None, *tokens_between(completion, start, start + length))
    return ReadAnswer(text[start : start + length], final_answer, tokens, None)


def _is_meant_as_object(text: str) -> bool:
    """Whether a text was meant as a JSON object with a reasoning, but is broken or cut off."""
    return "{" in text and f'"{REASONING}"' in text
