"""Locate a reasoning that is on record in the tokens of its completion."""

from __future__ import annotations

import dataclasses

import numpy as np

from rbridge_traces.completions import Completion
from rbridge_traces.errors import NoTraceError, TraceError, UnusableItemError
from rbridge_traces.extraction import (
    LocatedReasoning,
    MalformedCompletionError,
    Reasoning,
    locate_reasoning,
    tokens_between,
    with_tokens,
)

_SHOWN = 40


def reasoning_in(completion: Completion, reasoning: str | None, final_answer: str | None) -> Reasoning:
    """Cut the reasoning out of a completion, and compare it with the recorded one.

    The two have to be equal, with or without the repairs of ``locate_reasoning``. If the completion is not a valid JSON
    object, it has to contain the recorded reasoning exactly once.

    Args:
        completion: with its tokens.
        reasoning: as recorded; None if unknown.
        final_answer: as recorded; replaces that of the completion unless it is None or what a JSON parser reads there.

    Raises:
        NoTraceError: the completion is malformed and there is no reasoning on record.
        UnusableItemError: anything else; shows where the texts differ.
    """
    try:
        located = locate_reasoning(completion.text)
        extracted = with_tokens(located, completion)
    except MalformedCompletionError as error:
        if reasoning is None:
            raise NoTraceError("malformed completion") from error
        return _verbatim(completion, reasoning, final_answer, str(error))
    except TraceError as error:
        raise UnusableItemError(str(error), "unusable log-probabilities") from error
    if final_answer not in (None, located.answer_as_json):
        extracted = dataclasses.replace(extracted, final_answer=final_answer)
    readings = _readings(located)
    if reasoning is None or reasoning in readings:
        return extracted
    if reasoning in [reading.strip() for reading in readings]:
        return _stripped(extracted)
    if located.text_as_json is None:
        return _verbatim(completion, reasoning, final_answer, "JSON with escapes that JSON lacks")
    raise UnusableItemError(
        f"the reasoning of the record is not that which the tokens spell: {_difference(extracted.text, reasoning)}",
        "another reasoning",
    )


def _readings(located: LocatedReasoning) -> list[str]:
    """The reasoning with repairs and, if it is valid JSON, without."""
    return [located.text] if located.text_as_json is None else [located.text, located.text_as_json]


def _verbatim(completion: Completion, reasoning: str, final_answer: str | None, why: str) -> Reasoning:
    """The recorded reasoning in a completion that is not a JSON object."""
    at = completion.text.find(reasoning)
    if at < 0 or completion.text.find(reasoning, at + 1) >= 0:
        where = "twice or more" if at >= 0 else f"nowhere ({_difference(completion.text, reasoning)})"
        raise UnusableItemError(
            f"the tokens spell {why}, and the reasoning of the record stands in them {where}", "another reasoning"
        )
    try:
        ends, logprobs = tokens_between(completion, at, at + len(reasoning))
    except TraceError as error:
        raise UnusableItemError(str(error), "unusable log-probabilities") from error
    return Reasoning(reasoning, final_answer, ends, logprobs)


def _stripped(extracted: Reasoning) -> Reasoning:
    """A reasoning without the white space around it."""
    text = extracted.text.strip()
    start = len(extracted.text) - len(extracted.text.lstrip())
    end = start + len(text)
    first = int(np.searchsorted(extracted.token_end, start, side="right"))
    last = int(np.searchsorted(extracted.token_end, end, side="left")) + 1
    ends = extracted.token_end[first:last].clip(start, end) - np.int32(start)
    return dataclasses.replace(extracted, text=text, token_end=ends, token_logprob=extracted.token_logprob[first:last])


def _difference(spelled: str, record: str) -> str:
    pairs = enumerate(zip(spelled, record, strict=False))
    at = next((at for at, (left, right) in pairs if left != right), min(len(spelled), len(record)))
    return f"at character {at} the tokens go on {spelled[at : at + _SHOWN]!r}, the record {record[at : at + _SHOWN]!r}"
