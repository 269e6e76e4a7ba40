"""The reasoning inside a raw completion: the letters of a JSON string, and the confidence of each.

The paper asks for a JSON object with the strings ``reasoning`` and ``final_answer``. Models put it in Markdown fences,
write around it, and escape letters; the confidence of a letter is the mean over the bytes that spell it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import letter_bytes, letter_tokens
from rbridge_metrics.errors import AlignmentError
from rbridge_traces.completions import Completion
from rbridge_traces.errors import TraceError

REASONING = "reasoning"
FINAL_ANSWER = "final_answer"

# Line breaks inside strings are common, and not ambiguous. Python refuses to read long numbers as whole ones.
_DECODER = json.JSONDecoder(strict=False, parse_int=float)
_JSON_TYPES = {dict: "an object", list: "a list", float: "a number", bool: "true or false", type(None): "null"}
_SPACE = re.compile(r"[ \t\n\r]*")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)


class MalformedCompletionError(TraceError):
    """The completion is not a JSON object with the reasoning in it; says what is wrong."""


@dataclass(frozen=True, eq=False)
class Reasoning:
    """The reasoning of a completion and the tokens that wrote it.

    Attributes:
        text: the value of ``reasoning``, decoded.
        final_answer: the value of ``final_answer``, of other types than text as it was written; None if there is none.
        token_end: int32, shape (frontier tokens,), end offset of each token in letters of ``text``. A letter that
            several tokens spell together is an entry of its own.
        token_logprob: float32, same shape, nats; NaN where unknown.
    """

    text: str
    final_answer: str | None
    token_end: npt.NDArray[np.int32]
    token_logprob: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Located:
    """A decoded string value and the place of its letters, quotes left out, in the raw text."""

    text: str
    start: int
    end: int
    final_answer: str | None


def parse_completion(text: str) -> tuple[str, str | None]:
    """The reasoning and the final answer of a completion whose tokens are not known.

    Raises:
        MalformedCompletionError: as ``extract_reasoning``.

    >>> parse_completion('Sure: {"final_answer": 4, "reasoning": "2 + 2"}')
    ('2 + 2', '4')
    """
    found = _locate(text)
    return found.text, found.final_answer


def extract_reasoning(completion: Completion) -> Reasoning:
    """Cut the reasoning out of a completion, with the confidence of every letter.

    Of several objects the first with the key ``reasoning`` counts; of a key given twice the last, as for JSON parsers.

    Raises:
        MalformedCompletionError: no such JSON object, or its ``reasoning`` is empty, not text, or not valid Unicode.
        TraceError: the stretch of the reasoning is not tiled by tokens.

    >>> from rbridge_traces.completions import completion_of_tokens
    >>> found = extract_reasoning(completion_of_tokens([b'{"reasoning": "', b"2 ", b'+ 2"}'], np.log([1, 0.5, 0.25])))
    >>> found.text, found.token_end, np.exp(found.token_logprob)
    ('2 + 2', array([2, 5], dtype=int32), array([0.5 , 0.25], dtype=float32))
    """
    located = _locate(completion.text)
    ends, logprobs = letters_between(completion, located.start, located.end, _spelling(completion.text, located))
    return Reasoning(located.text, located.final_answer, ends, logprobs)


def letters_between(
    completion: Completion, start: int, end: int, bytes_of_letter: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The tokens of a stretch of a completion, clipped to it and counted in its letters.

    Args:
        completion: what the model wrote.
        start: first letter of the stretch in ``completion.text``.
        end: letter after its last one.
        bytes_of_letter: shape (letters,), bytes that spell each letter that the stretch stands for. Default: it stands
            for itself.

    Returns:
        ``token_end`` and ``token_logprob`` as ``Trace`` takes them.

    Raises:
        TraceError: the stretch is empty.
    """
    low = len(completion.text[:start].encode())
    try:
        spelled = letter_bytes(completion.text[start:end]) if bytes_of_letter is None else bytes_of_letter
        high = low + int(spelled.sum())
        first, last = np.searchsorted(completion.token_byte_end, (low, high))
        inside = np.minimum(completion.token_byte_end[first : last + 1], high) - low
        holds = inside > np.append(0, inside[:-1])  # whatever a token without bytes has, no letter takes it
        ends, logprobs = letter_tokens(spelled, inside[holds], completion.token_logprob[first : last + 1][holds])
    except AlignmentError as error:
        raise TraceError(f"the tokens of the reasoning: {error}") from error
    return ends, logprobs


def _locate(text: str) -> _Located:
    """Find the first JSON object in a text that has the key ``reasoning``."""
    at, broken = text.find("{"), None
    if at < 0:
        raise MalformedCompletionError(f"no JSON object (it begins {text[:40]!r})")
    while at >= 0:
        try:
            value, _ = _DECODER.raw_decode(text, at)
            if REASONING in value:
                return _value_of(text, at)
        except ValueError as error:
            broken = broken or error
        except RecursionError:
            raise MalformedCompletionError(f"its JSON is nested too deeply, from letter {at} on") from None
        at = text.find("{", at + 1)
    why = f"no JSON object with the key {REASONING!r}"
    raise MalformedCompletionError(f"broken JSON, {broken}" if broken and REASONING in text else why)


def _value_of(text: str, at: int) -> _Located:
    """The reasoning of the valid JSON object that begins at a letter."""
    answer: str | None = None
    for key, value, start, end in _members(text, at):
        if key == REASONING:
            reasoning, inside = value, (start + 1, end - 1)
        elif key == FINAL_ANSWER:
            answer = value if value is None or isinstance(value, str) else text[start:end]
    if not isinstance(reasoning, str):
        raise MalformedCompletionError(f"its {REASONING} is {_JSON_TYPES[type(reasoning)]}, not text")
    if not reasoning.strip():
        raise MalformedCompletionError(f"its {REASONING} is empty")
    for key, decoded in ((REASONING, reasoning), (FINAL_ANSWER, answer or "")):
        try:
            decoded.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedCompletionError(f"its {key} holds half a surrogate pair, which is not text") from None
    return _Located(reasoning, *inside, answer)


def _members(text: str, at: int) -> Iterator[tuple[str, Any, int, int]]:
    """Key, value, and first letter and end of the value, of each member of the valid JSON object at a letter."""
    at = _skip_space(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip_space(text, _skip_space(text, at) + 1)  # over the colon
        value, end = _DECODER.raw_decode(text, start)
        yield key, value, start, end
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _spelling(text: str, located: _Located) -> npt.NDArray[np.int64]:
    """Bytes that spell each letter of a JSON string, shape (letters,)."""
    raw = text[located.start : located.end]
    spelled: npt.NDArray[np.int64] = letter_bytes(raw)
    if escapes := list(_ESCAPE.finditer(raw)):
        inside = np.zeros(len(raw) + 1, dtype=np.int64)  # an escape beyond its first letter
        inside[[escape.start() + 1 for escape in escapes]] = 1
        inside[[escape.end() for escape in escapes]] = -1
        spelled = np.add.reduceat(spelled, np.flatnonzero(np.cumsum(inside[:-1]) == 0))
    return spelled
