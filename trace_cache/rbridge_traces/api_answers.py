"""Answers of Completions APIs in the rows of a file: their text, tokens and question.

A row may be a response (``{"choices": [...]}``, Chat or legacy Completions), hold one (a line of OpenAI's batch output,
``{"response": {"body": {"choices": ...}}}``), be one of its choices (``{"text", "logprobs"}``), or an output of vLLM's
offline engine (``{"prompt", "outputs": [...]}``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rbridge_traces.answer_form import AnswerForm, ReadAnswer, read_choice
from rbridge_traces.api_choices import DEPTH, choices_of, has_entries, responses_in
from rbridge_traces.completions import completion_of_choice, text_of_choice
from rbridge_traces.errors import CompletionError, TraceImportError
from rbridge_traces.extraction import LocatedReasoning, Reasoning, tokens_between, with_tokens
from rbridge_traces.reasoning_match import reasoning_in
from rbridge_traces.rows import Row

ASKED = "Respond ONLY with a JSON object"
"""The beginning of the paper's prompt after the question."""

_TEMPLATE = re.compile(r"<\|[^|<>]+\|>|\[/?INST\]|<(?:start|end)_of_turn>|<｜[^｜<>]+｜>")
_ANSWER_CUE = re.compile(r"\n\s*(?:Answer|A|Solution|Response):[^\n]{0,40}\Z")
_QUESTION_CUE = re.compile(r"(?:\A|\n)(?:Question|Q|Problem):\s*")


@dataclass(frozen=True)
class Answered:
    """One answer of an API in a row.

    Attributes:
        choice: in the Chat or legacy Completions layout, without the prompt that a server may repeat (``echo``).
        model: that gave it, where the response says so.
        prompt: the text that was sent, or the last user message; None where the row does not hold it.
        whole_row: the row is the response, so that its ``id`` and ``choices`` are those of the response.
    """

    choice: Row
    model: str | None
    prompt: str | None
    whole_row: bool

    @property
    def question(self) -> str | None:
        """The question: of a few-shot prompt the last one, without the format instructions.

        None for a prompt with the marks of a chat template, in which the question cannot be delimited.
        """
        if self.prompt is None or _TEMPLATE.search(self.prompt):
            return None
        asked = self.prompt.partition(ASKED)[0].rstrip()
        cut = _ANSWER_CUE.sub("", asked)
        return (_QUESTION_CUE.split(cut)[-1] if cut != asked else asked).strip() or None


def answers_in(row: Row) -> list[Answered]:
    """The answers that a row holds: none, one, or as many as its response has choices.

    Raises:
        TraceImportError: it holds several responses.
    """
    responses = list(responses_in(row))
    if len(responses) > 1:
        raise TraceImportError(
            f"it holds {len(responses)} responses ({', '.join(name for name, _ in responses)}); keep that of the trace"
        )
    if not responses:
        return []
    (name, response), *_ = responses
    choices = choices_of(response) or [response]
    whole = not name and choices_of(response) != []
    prompts = _prompts(row, len(choices))
    model = response.get("model")
    return [
        Answered(_without(prompt, _in_known_layout(choice)), model if isinstance(model, str) else None, prompt, whole)
        for choice, prompt in zip(choices, prompts, strict=True)
    ]


def read_answer(answered: Answered, question: str | None, form: AnswerForm, *, logprobs: bool) -> ReadAnswer:
    """Read the trace, its tokens and the final answer from an answer of an API.

    Args:
        answered: with a text.
        question: that was asked, where it is known.
        form: what to read.
        logprobs: whether to take the log-probabilities, where there are some.

    Raises:
        TraceError: it lacks what the form asks for, or its tokens do not spell the trace.
    """
    has_tokens = logprobs and _has_tokens(answered.choice)
    if has_tokens:
        _refuse_echo(answered, question)
    return read_choice(answered.choice, form, logprobs=has_tokens)


def tokens_of_trace(
    text: str, row: Row, answered: Answered | None, located: LocatedReasoning | None
) -> Reasoning | None:
    """The tokens of a trace in a field of its own, from the response in the row or from lists of tokens.

    Args:
        text: the trace as the row has it.
        row: that has it.
        answered: the response in it, if any.
        located: the reasoning in ``text``, where that is a JSON answer.

    Returns:
        None where the row has no log-probabilities of tokens in a layout that is known.

    Raises:
        TraceError: the tokens do not spell the trace.
    """
    if answered is not None and _has_tokens(answered.choice):
        return reasoning_in(completion_of_choice(answered.choice), located.text if located else text, None)
    beside = _in_known_layout({"text": text, **{name: row.get(name) for name in _BESIDE}})
    if not _has_tokens(beside):
        return None
    completion = completion_of_choice(beside)
    if located is not None:
        return with_tokens(located, completion)
    return Reasoning(text, None, *tokens_between(completion, 0, len(text)))


def token_logprob_fields(row: Row) -> list[str]:
    """Names, dotted, of the fields of a row that hold log-probabilities of tokens: lists or objects with a number."""
    return list(_logprob_fields(row, "", DEPTH + 2))


def _logprob_fields(value: Any, before: str, depth: int) -> Iterator[str]:
    if isinstance(value, list):
        if depth and value:
            yield from _logprob_fields(value[0], before, depth - 1)
        return
    if not isinstance(value, Mapping) or not depth:
        return
    for name, inner in value.items():
        if "logprob" in str(name).lower().replace("_", "") and isinstance(inner, (list, dict)):
            if _holds_number(inner):
                yield f"{before}{name}"
        else:
            yield from _logprob_fields(inner, f"{before}{name}.", depth - 1)


_BESIDE = ("logprobs", "tokens", "token_logprobs", "token_logprob", "token_ids")


def _holds_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_number, value.values()))
    if isinstance(value, list):
        return any(map(_holds_number, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has_tokens(choice: Row) -> bool:
    """Whether a choice lists its tokens in the Chat or legacy layout."""
    logprobs = choice.get("logprobs")
    return isinstance(logprobs, Mapping) and bool(logprobs.get("content") or logprobs.get("tokens"))


def _prompts(row: Row, count: int) -> list[str | None]:
    """The prompt of each choice of a response; None where the row has none."""
    prompt = next(_values(row, "prompt", DEPTH), None)
    if isinstance(prompt, list) and len(prompt) == count and all(isinstance(text, str) for text in prompt):
        return list(prompt)
    if isinstance(prompt, str):
        return [prompt] * count
    messages = next(_values(row, "messages", DEPTH), None)
    sent = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    asked = [message for message in sent if message.get("role") == "user" and "content" in message]
    return [text_of_choice({"message": asked[-1]}) if asked else None] * count


def _values(value: Any, key: str, depth: int) -> Iterator[Any]:
    """Values of a key in nested objects, the outermost first."""
    if not isinstance(value, dict):
        return
    if value.get(key):
        yield value[key]
    if depth:
        for inner in value.values():
            yield from _values(inner, key, depth - 1)


def _in_known_layout(choice: Row) -> Row:
    """A choice with its log-probabilities converted to the Chat or legacy layout, if possible."""
    listed, tokens, ids = choice.get("logprobs"), choice.get("tokens"), choice.get("token_ids")
    values = choice.get("token_logprobs") or choice.get("token_logprob") or listed
    if isinstance(tokens, list) and has_entries(tokens):
        return {**choice, "logprobs": {"content": tokens}}
    if isinstance(tokens, list) and isinstance(values, list) and not any(isinstance(value, dict) for value in values):
        return {**choice, "logprobs": {"tokens": tokens, "token_logprobs": values}}
    if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
        return choice
    if has_entries(listed):
        return {**choice, "logprobs": {"content": listed}}
    if isinstance(ids, list) and len(ids) == len(listed):  # of vLLM's engine: candidates of each token by their ids
        sampled = [entry.get(str(token)) or entry.get(token) for token, entry in zip(ids, listed, strict=True)]
        if all(isinstance(entry, dict) and "decoded_token" in entry for entry in sampled):
            content = [{"token": entry["decoded_token"], "logprob": entry.get("logprob")} for entry in sampled]
            return {**choice, "logprobs": {"content": content}}
    return choice


def _without(prompt: str | None, choice: Row) -> Row:
    """A choice whose text is the answer alone."""
    if prompt is None or "message" in choice:
        return choice
    return {**choice, "text": text_of_choice(choice).removeprefix(prompt)}


def _refuse_echo(answered: Answered, question: str | None) -> None:
    """Refuse a text that repeats a prompt missing from the row: the beginning of the answer is not known.

    The first token of a prompt has no log-probability.
    """
    logprobs = answered.choice["logprobs"]
    values = logprobs.get("token_logprobs") if isinstance(logprobs, Mapping) else None
    if isinstance(values, list) and values[:1] == [None] and question and question in text_of_choice(answered.choice):
        raise CompletionError("its text repeats the prompt (echo); give the exact prompt in a field prompt")
