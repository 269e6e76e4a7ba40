"""Locate a reasoning that is on record in the tokens of its completion."""

from __future__ import annotations

import dataclasses

from rbridge_traces.completions import Completion
from rbridge_traces.errors import NoTraceError, UnusableItemError
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
    except MalformedCompletionError as error:
        if reasoning is None:
            raise NoTraceError("malformed completion") from error
        return _verbatim(completion, reasoning, final_answer, str(error))
    if final_answer not in (None, located.answer_as_json):
        located = dataclasses.replace(located, final_answer=final_answer)
    readings = (located.text, located.text_as_json or located.text)  # with and without repairs
    if reasoning is None or reasoning in readings:
        return with_tokens(located, completion)
    if reasoning in [reading.strip() for reading in readings]:
        return with_tokens(_stripped(located), completion)
    if located.text_as_json is None:
        return _verbatim(completion, reasoning, final_answer, "JSON with escapes that JSON lacks")
    raise UnusableItemError(
        f"the reasoning of the record is not that which the tokens spell: {_difference(located.text, reasoning)}",
        "another reasoning",
    )


def _verbatim(completion: Completion, reasoning: str, final_answer: str | None, why: str) -> Reasoning:
    """The recorded reasoning in a completion that is not a JSON object."""
    at = completion.text.find(reasoning)
    if at < 0 or completion.text.find(reasoning, at + 1) >= 0:
        where = "twice or more" if at >= 0 else f"nowhere ({_difference(completion.text, reasoning)})"
        raise UnusableItemError(
            f"the tokens spell {why}, and the reasoning of the record stands in them {where}", "another reasoning"
        )
    return Reasoning(reasoning, final_answer, *tokens_between(completion, at, at + len(reasoning)))


def _stripped(located: LocatedReasoning) -> LocatedReasoning:
    """A reasoning without the white space around it."""
    text = located.text.strip()
    start = len(located.text) - len(located.text.lstrip())
    starts, beyond = located.starts[start : start + len(text)], located.starts[start + len(text) :]
    return dataclasses.replace(located, text=text, starts=starts, end=int(beyond[0]) if beyond.size else located.end)


def _difference(spelled: str, record: str) -> str:
    pairs = enumerate(zip(spelled, record, strict=False))
    at = next((at for at, (left, right) in pairs if left != right), min(len(spelled), len(record)))
    return f"at character {at} the tokens go on {spelled[at : at + _SHOWN]!r}, the record {record[at : at + _SHOWN]!r}"
