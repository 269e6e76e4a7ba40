"""The reasoning of a published completion, cut out of its tokens and held against what its authors cut out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbridge_traces.completions import Completion, CompletionError, completion_of_tokens
from rbridge_traces.errors import TraceError
from rbridge_traces.extraction import (
    LocatedReasoning,
    MalformedCompletionError,
    Reasoning,
    letters_between,
    locate_reasoning,
    with_tokens,
)
from rbridge_traces.release.answers import Answer

_SHOWN = 40


class FailedItemError(TraceError):
    """An item of which the authors themselves have no trace. The message is the reason, to be counted."""


class MismatchError(TraceError):
    """Tokens and completion of an item are not of one text; ``reason`` is the kind, to be counted."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def reasoning_of(answer: Answer, pieces: Sequence[bytes], logprobs: npt.NDArray[np.float64]) -> Reasoning:
    """Cut the reasoning of an item out of its tokens.

    The tokens have to spell the completion, where that is known, and the reasoning in it has to be that of the record,
    with or without the repairs of ``locate_reasoning``. Where they spell no JSON object, or not that reasoning in valid
    JSON, they have to hold the reasoning of the record as it stands, once. The final answer is that of the record,
    unless it has none, or the one that a JSON parser reads in the completion.

    Raises:
        FailedItemError: the completion is malformed, or its reasoning empty.
        MismatchError: anything else; shows where the texts part.
    """
    if answer.failed:
        raise FailedItemError(answer.failed)
    try:
        completion = completion_of_tokens(pieces, logprobs, text=answer.raw)
    except CompletionError as error:
        raise MismatchError(str(error), "tokens of another text") from error
    try:
        located = locate_reasoning(completion.text)
        found = with_tokens(located, completion)
    except MalformedCompletionError as error:
        if answer.reasoning is None:
            raise FailedItemError("malformed completion") from error
        return _verbatim(completion, answer, answer.reasoning, str(error))
    except TraceError as error:
        raise MismatchError(str(error), "unusable log-probabilities") from error
    if answer.final_answer not in (None, located.answer_as_json):
        found = dataclasses.replace(found, final_answer=answer.final_answer)
    readings = _readings(located)
    if answer.reasoning is None or answer.reasoning in readings:
        return found
    if answer.reasoning in [reading.strip() for reading in readings]:
        return _stripped(found)
    if located.text_as_json is None:
        return _verbatim(completion, answer, answer.reasoning, "JSON with escapes that JSON lacks")
    raise MismatchError(
        f"the reasoning of the record is not that which the tokens spell: {_parting(found.text, answer.reasoning)}",
        "another reasoning",
    )


def _readings(located: LocatedReasoning) -> list[str]:
    """A reasoning with its repairs and, where it is valid JSON, without."""
    return [located.text] if located.text_as_json is None else [located.text, located.text_as_json]


def _verbatim(completion: Completion, answer: Answer, reasoning: str, why: str) -> Reasoning:
    """The reasoning of a record where the tokens spell it without JSON around it."""
    at = completion.text.find(reasoning)
    if at < 0 or completion.text.find(reasoning, at + 1) >= 0:
        there = "twice or more" if at >= 0 else f"nowhere ({_parting(completion.text, reasoning)})"
        raise MismatchError(
            f"the tokens spell {why}, and the reasoning of the record stands in them {there}", "another reasoning"
        )
    try:
        ends, logprobs = letters_between(completion, at, at + len(reasoning))
    except TraceError as error:
        raise MismatchError(str(error), "unusable log-probabilities") from error
    return Reasoning(reasoning, answer.final_answer, ends, logprobs)


def _stripped(found: Reasoning) -> Reasoning:
    """A reasoning without the white space around it."""
    text = found.text.strip()
    start = len(found.text) - len(found.text.lstrip())
    end = start + len(text)
    first = int(np.searchsorted(found.token_end, start, side="right"))
    last = int(np.searchsorted(found.token_end, end, side="left")) + 1
    ends = found.token_end[first:last].clip(start, end) - np.int32(start)
    return dataclasses.replace(found, text=text, token_end=ends, token_logprob=found.token_logprob[first:last])


def _parting(spelled: str, record: str) -> str:
    pairs = enumerate(zip(spelled, record, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(spelled), len(record)))
    return f"at letter {at} the tokens go on {spelled[at : at + _SHOWN]!r}, the record {record[at : at + _SHOWN]!r}"
