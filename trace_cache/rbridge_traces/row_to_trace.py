"""Convert one row of a user's file to a trace, from its own fields or from the answer of an API in it."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rbridge_traces.answer_form import AnswerForm
from rbridge_traces.api_answers import (
    Answered,
    answers_in,
    read_answer,
    token_logprob_fields,
    tokens_of_trace,
)
from rbridge_traces.api_choices import choices_of
from rbridge_traces.completions import text_of_choice
from rbridge_traces.errors import TraceError, TraceImportError, UnusableItemError, did_you_mean
from rbridge_traces.extraction import LocatedReasoning, MalformedCompletionError, is_json_answer, locate_reasoning
from rbridge_traces.field_values import ABSENT, as_choices, as_text, field_names, from_cell, is_missing, lookup
from rbridge_traces.rows import Row
from rbridge_traces.schema import Trace
from rbridge_traces.spans import parse_spans

TARGETS = tuple(field.name for field in fields(Trace) if field.name != "benchmark")
"""The fields of a trace that a field of a file can be mapped to."""

INLINE = "inline"
"""What ``spans`` is mapped to where the trace itself holds ``<span>..</span>`` marks."""

_ID_FIELDS = ("item_id", "custom_id", "id", "task_id", "question_id", "unique_id")
_LISTS = ("choices", "token_end", "token_logprob", "spans")
_NO_LOGPROBS = "import the text without confidences with --no-logprobs"


@dataclass(frozen=True)
class RowOptions:
    """Options of reading rows.

    Attributes:
        mapping: field of a trace -> field of the file.
        has_questions: a file of questions fills in missing ones.
        logprobs: use the log-probabilities in the rows.
        form: what to read from answers of an API.
    """

    mapping: Mapping[str, str]
    has_questions: bool
    logprobs: bool
    form: AnswerForm


@dataclass
class Draft:
    """A trace whose question, choices and gold may still be unknown.

    Attributes:
        place: file and row.
        values: of the fields of ``Trace`` by name, but for ``benchmark``; ``gold`` as the file has it.
        named: the row names the item itself.
        cut_off: the answer reached its token limit.
        model: that gave it.
        repairs: escapes that were read as LaTeX; None for a trace that was not read out of a JSON answer.
    """

    place: str
    values: dict[str, Any]
    named: bool
    cut_off: bool = False
    model: str | None = None
    repairs: int | None = None


def answers_of_row(row: Row, options: RowOptions) -> Sequence[Answered | None]:
    """The API answers in a row, each of which gives a trace; None for a row read by its own fields."""
    explicit = "trace" in options.mapping or row.get("trace") is not None
    if explicit and not _needs_tokens(row, options):
        return answers_in(row)[:1] or [None] if choices_of(row) else [None]
    answers = answers_in(row)
    asked = [answered for answered in answers if answered.prompt is not None]
    row_fields = "question" in options.mapping or row.get("question") is not None or explicit
    if len(answers) > 1 and (row_fields or len({answered.prompt for answered in asked}) < len(asked)):
        raise TraceImportError(f"its response has {len(answers)} answers to one question; keep one for each item")
    if not answers and not explicit and "custom_id" in row and ("response" in row or "error" in row):
        return [Answered({}, None, None, whole_row=False)]  # a line of batch output whose request failed
    if not answers and not explicit and options.logprobs and (unread := token_logprob_fields(row)):
        raise TraceImportError(
            f"no field trace, and no answer of a Completions API in a layout that is known, though log-probabilities "
            f"are in {', '.join(unread)}; the row has {', '.join(field_names(row))}; map the text with trace=FIELD"
        )
    return answers or [None]


def _needs_tokens(row: Row, options: RowOptions) -> bool:
    """Whether the confidences of a trace come from log-probabilities in the row."""
    has_ends = lookup(row, options.mapping.get("token_end", "token_end")) not in (ABSENT, None)
    return options.logprobs and not has_ends and bool(token_logprob_fields(row))


def draft_of(row: Row, place: str, answered: Answered | None, options: RowOptions) -> Draft | None:
    """The trace of a row as far as the row has its fields; None if its reasoning is empty."""
    mapping = options.mapping
    explicit = answered is None or "trace" in mapping or row.get("trace") is not None
    # the field choices of a response holds its answers, not answer options
    row_fields = {
        key: value for key, value in row.items() if not (key == "choices" and answered and answered.whole_row)
    }
    optional = {"trace": not explicit, "question": answered is not None or options.has_questions}
    values = {
        target: _value(row if target in mapping else row_fields, target, mapping, optional=optional.get(target, True))
        for target in TARGETS
    }
    if answered is not None and values["question"] is None and "question" not in mapping:
        values["question"] = answered.question
    values["question"] = as_text("question", values["question"])
    values["choices"] = as_choices(values["choices"])
    if values["question"] is None and not options.has_questions:
        lack = "the question is null"
        if answered is not None:
            lack = "no question is in the row, nor a prompt that is one"
        raise TraceImportError(f"{lack}; map the field that holds it with question=FIELD, or give --questions FILE")
    text, repairs = as_text("trace", values["trace"]) or "", None
    located = locate_reasoning(text) if is_json_answer(text) and values["token_end"] is None else None
    if not explicit and answered is not None:
        text, repairs = _read_answer(answered, values, options)
    elif text.strip() and options.logprobs and values["token_end"] is None and values["token_logprob"] is None:
        _add_tokens(text, row, answered, located, values)
    if located is not None:
        text, repairs = located.text, located.repairs
        values["final_answer"] = located.final_answer if values["final_answer"] is None else values["final_answer"]
    if mapping.get("spans") == INLINE:
        text, values["spans"] = parse_spans(text)
    if not text.strip():
        return None
    if options.logprobs and values["token_end"] is None and values["token_logprob"] is None:
        _refuse_unread_logprobs(row)
    item_id = _item_id(row_fields, values["item_id"], mapping, answered)
    return Draft(
        place=place,
        values=values | {"trace": text, "item_id": item_id or place.rpartition(" ")[2]},
        named=item_id is not None,
        cut_off=not explicit and answered is not None and answered.choice.get("finish_reason") == "length",
        model=answered.model if answered else None,
        repairs=repairs,
    )


def _read_answer(answered: Answered, values: dict[str, Any], options: RowOptions) -> tuple[str, int | None]:
    """The trace of an answer and its repairs. Adds its tokens, and its final answer if the row has none."""
    choice = answered.choice
    message = choice.get("message")
    if not choice:
        raise UnusableItemError("its request failed, there is no answer", "failed requests")
    if (isinstance(message, dict) and message.get("refusal")) or choice.get("finish_reason") == "content_filter":
        raise UnusableItemError("the model or its content filter refused to answer", "refused")
    if not text_of_choice(choice).strip():
        return "", None
    try:
        read = read_answer(answered, values["question"], options.form, logprobs=options.logprobs)
    except MalformedCompletionError as error:
        cut = " (it reached its token limit)" if choice.get("finish_reason") == "length" else ""
        raise UnusableItemError(f"its answer is {error}{cut}", "malformed") from error
    except TraceError as error:
        raise UnusableItemError(
            f"its log-probabilities cannot be used: {error}; {_NO_LOGPROBS}", "log-probabilities of another text"
        ) from error
    if read.tokens is not None:
        values["token_end"], values["token_logprob"] = read.tokens.token_end, read.tokens.token_logprob
    if values["final_answer"] is None:
        values["final_answer"] = read.final_answer
    return read.trace, read.repairs


def _add_tokens(
    text: str, row: Row, answered: Answered | None, located: LocatedReasoning | None, values: dict[str, Any]
) -> None:
    """Add the tokens of a trace in a field of its own, if the row has log-probabilities beside it."""
    try:
        tokens = tokens_of_trace(text, row, answered, located)
    except TraceError as error:
        raise TraceImportError(f"its log-probabilities are not those of the trace: {error}; {_NO_LOGPROBS}") from error
    if tokens is not None:
        values["token_end"], values["token_logprob"] = tokens.token_end, tokens.token_logprob


def _refuse_unread_logprobs(row: Row) -> None:
    if unread := token_logprob_fields(row):
        raise TraceImportError(
            f"the row has log-probabilities in {', '.join(unread)}, in a layout that is not known; expected those of "
            "the Chat Completions API (content: a list of {token, logprob, bytes}) or of legacy Completions (tokens, "
            f"token_logprobs) beside the text, or token_end and token_logprob; or {_NO_LOGPROBS}"
        )


def _value(row: Row, target: str, mapping: Mapping[str, str], *, optional: bool) -> Any:
    """The value of a row for a field of a trace; None if an optional field is missing."""
    source = mapping.get(target)
    if target == "spans" and source == INLINE:
        return None
    value = lookup(row, source or target)
    if value is ABSENT and target == "choices" and source and "," in source:  # one column for each choice
        columns = [_value(row, "choices", {"choices": name.strip()}, optional=False) for name in source.split(",")]
        return dict(zip(string.ascii_uppercase, columns, strict=False))
    if value is ABSENT and (source or not optional):
        present = field_names(row)
        field = source or target
        raise TraceImportError(
            f"no field {field}{did_you_mean(field, present)} for the {target}; the row has "
            f"{', '.join(present) or 'none'}; map one with {target}=FIELD"
        )
    if value is ABSENT or is_missing(value):
        return None
    return from_cell(target, value) if target in _LISTS else value


def _item_id(row: Row, mapped: Any, mapping: Mapping[str, str], answered: Answered | None) -> str | None:
    if "item_id" in mapping:
        item_id = as_text("item_id", mapped)
        if item_id is None:
            raise TraceImportError(f"the item_id ({mapping['item_id']}) is null; map another field with item_id=FIELD")
        return item_id
    # a response's own id is the server's, not the item's
    names = [name for name in _ID_FIELDS if not (name == "id" and answered is not None and answered.whole_row)]
    answers = (as_text("item_id", row[name]) for name in names if row.get(name) is not None)
    return next((item_id for item_id in answers if item_id is not None), None)
