"""Extract the reasoning from a raw completion, with the confidence of every character.

The prompt asks for a JSON object with the strings ``reasoning`` and ``final_answer``. Models think first, add Markdown
fences and prose, escape characters, and forget to escape the backslashes of LaTeX. The confidence of a character is the
mean over the bytes that spell it in the JSON string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import character_bytes, character_tokens
from rbridge_metrics.errors import AlignmentError
from rbridge_traces.completions import Completion
from rbridge_traces.errors import TraceError
from rbridge_traces.json_text import DECODER, decode_strings, members, without_invalid_escapes
from rbridge_traces.thinking import Block, closed_after, next_block, without_thinking

REASONING = "reasoning"
FINAL_ANSWER = "final_answer"

PLACEHOLDERS = {REASONING: "your step by step reasoning", FINAL_ANSWER: "your final answer"}
"""Placeholders of the two strings in the prompt, which models may repeat before they answer."""

_JSON_TYPES = {dict: "an object", list: "a list", float: "a number", bool: "true or false", type(None): "null"}
_AFTER_THINKING = f"no JSON object with the key {REASONING!r} after its thinking"
_AROUND_PLACEHOLDER = " \t\n.<>[]"
_ANSWER = re.compile(rf'\s*(?:```\w*\s*)?\{{\s*"(?:{REASONING}|{FINAL_ANSWER})"\s*:')


class MalformedCompletionError(TraceError):
    """The completion is not a JSON object with a reasoning."""


@dataclass(frozen=True, eq=False)
class Reasoning:
    """The reasoning of a completion and the tokens that wrote it.

    Attributes:
        text: the value of ``reasoning``, decoded.
        final_answer: the value of ``final_answer``; raw JSON if it is not a string; None if missing.
        token_end: int32, shape (frontier tokens,), end offset of each token in characters of ``text``. A character that
            several tokens spell together is an entry of its own.
        token_logprob: float32, shape (frontier tokens,), nats; NaN where unknown.
        repairs: number of escapes that were read as LaTeX and not as JSON.
    """

    text: str
    final_answer: str | None
    token_end: npt.NDArray[np.int32]
    token_logprob: npt.NDArray[np.float32]
    repairs: int = 0


@dataclass(frozen=True, eq=False)
class LocatedReasoning:
    """The reasoning of a completion and its position there.

    Attributes:
        text: as in ``Reasoning``.
        final_answer: as in ``Reasoning``.
        repairs: as in ``Reasoning``.
        starts: int64, shape (characters of ``text``,), where each begins in the completion.
        end: of the last one in the completion.
        text_as_json: ``text`` as a JSON parser reads it, without repairs; None where it is not valid JSON.
        answer_as_json: likewise ``final_answer``.
    """

    text: str
    final_answer: str | None
    repairs: int
    starts: npt.NDArray[np.int64]
    end: int
    text_as_json: str | None
    answer_as_json: str | None


def parse_completion(text: str) -> tuple[str, str | None]:
    """The reasoning and the final answer of a completion whose tokens are not known.

    Raises:
        MalformedCompletionError: as ``locate_reasoning``.

    >>> parse_completion('Sure: {"final_answer": 4, "reasoning": "2 + 2"}')
    ('2 + 2', '4')
    """
    located = locate_reasoning(text)
    return located.text, located.final_answer


def extract_reasoning(completion: Completion) -> Reasoning:
    """Extract the reasoning from a completion, with the confidence of every character.

    Raises:
        MalformedCompletionError: as ``locate_reasoning``.
        TraceError: the stretch of the reasoning is not tiled by tokens.

    >>> from rbridge_traces.completions import completion_of_tokens
    >>> found = extract_reasoning(completion_of_tokens([b'{"reasoning": "', b"2 ", b'+ 2"}'], np.log([1, 0.5, 0.25])))
    >>> found.text, found.token_end, np.exp(found.token_logprob)
    ('2 + 2', array([2, 5], dtype=int32), array([0.5 , 0.25], dtype=float32))
    """
    return with_tokens(locate_reasoning(completion.text), completion)


def with_tokens(located: LocatedReasoning, completion: Completion) -> Reasoning:
    """Add the tokens of the completion to a located reasoning.

    Raises:
        TraceError: the stretch of the reasoning is not tiled by tokens.
    """
    start = int(located.starts[0])
    of_raw = character_bytes(completion.text[start : located.end])
    spelled: npt.NDArray[np.int64] = np.add.reduceat(of_raw, located.starts - start)
    ends, logprobs = tokens_between(completion, start, located.end, spelled)
    return Reasoning(located.text, located.final_answer, ends, logprobs, located.repairs)


def counted_repairs(repairs: Iterable[int]) -> str:
    """A phrase that counts the repairs of many completions; empty if there are none.

    >>> counted_repairs([2, 0, 5])
    '7 unescaped backslashes of LaTeX repaired in 2 answers'
    """
    counts = [count for count in repairs if count]
    return f"{sum(counts)} unescaped backslashes of LaTeX repaired in {len(counts)} answers" if counts else ""


def is_json_answer(text: str) -> bool:
    """Whether a text is the JSON answer that the prompt asks for, after thinking and a fence at most.

    >>> is_json_answer('<think>Hm.</think> {"reasoning": "2 + 2"'), is_json_answer('The set {"reasoning": 1}')
    (True, False)
    """
    return bool(_ANSWER.match(without_thinking(text)))


def locate_reasoning(text: str) -> LocatedReasoning:
    """Find the reasoning in the text of a completion.

    The first JSON object with the key ``reasoning`` counts that is neither within thinking nor the placeholder of the
    prompt. Of duplicate keys the last counts, as for JSON parsers.

    Raises:
        MalformedCompletionError: no such JSON object, or its ``reasoning`` is empty, not text, or not valid Unicode.
    """
    parsable = without_invalid_escapes(text)
    at, broken, passed_over = 0, None, ""
    block = next_block(text, 0)
    while True:
        brace = text.find("{", at)
        if block is not None and block.start < at:
            block = next_block(text, at)
        if block is not None and (brace < 0 or block.start < brace):
            at, passed_over = _end_of(block), _AFTER_THINKING
            continue
        if brace < 0:
            raise MalformedCompletionError(_why_not(text, broken, passed_over))
        at = brace + 1
        try:
            value, end = DECODER.raw_decode(parsable, brace)
        except ValueError as error:
            broken = broken or error
            continue
        except RecursionError:
            raise MalformedCompletionError(f"its JSON is nested too deeply, from character {brace} on") from None
        if REASONING not in value:
            continue
        if (thought_until := closed_after(text, end)) is not None:
            at, passed_over = thought_until, _AFTER_THINKING
        elif _is_placeholder(value):
            at, passed_over = end, f"its {REASONING} is the placeholder of the prompt, {value[REASONING]!r}"
        else:
            return _value_of(text, parsable, brace)


def tokens_between(
    completion: Completion, start: int, end: int, bytes_of_character: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The tokens of a part of a completion, clipped to it, with offsets in its characters.

    Args:
        completion: what the model wrote.
        start: first character of the stretch in ``completion.text``.
        end: character after its last one.
        bytes_of_character: shape (characters,), bytes that spell each character that the stretch stands for. Default:
            it stands for itself.

    Returns:
        ``token_end`` and ``token_logprob`` as ``Trace`` takes them.

    Raises:
        TraceError: the stretch is empty.
    """
    low = len(completion.text[:start].encode())
    try:
        spelled = character_bytes(completion.text[start:end]) if bytes_of_character is None else bytes_of_character
        high = low + int(spelled.sum())
        first, last = np.searchsorted(completion.token_byte_end, (low, high))
        inside = np.minimum(completion.token_byte_end[first : last + 1], high) - low
        holds = inside > np.append(0, inside[:-1])  # tokens without bytes hold no character
        ends, logprobs = character_tokens(spelled, inside[holds], completion.token_logprob[first : last + 1][holds])
    except AlignmentError as error:
        raise TraceError(f"the tokens of the reasoning: {error}") from error
    return ends, logprobs


def _end_of(block: Block) -> int:
    if block.end is None:
        begins = f"begins at character {block.start} with {block.mark!r}"
        raise MalformedCompletionError(f"its thinking, which {begins}, has no end, and no answer after it")
    return block.end


def _why_not(text: str, broken: ValueError | None, passed_over: str) -> str:
    if passed_over:
        return passed_over
    if "{" not in text:
        return f"no JSON object (it begins {text[:40]!r})"
    return f"broken JSON, {broken}" if broken and REASONING in text else f"no JSON object with the key {REASONING!r}"


def _is_placeholder(value: dict[str, Any]) -> bool:
    """Whether an object is that of the prompt, or has three dots in place of its strings."""
    dots = all(value.get(key) in ("...", "\u2026") for key in PLACEHOLDERS)
    return dots or _repeats_prompt(REASONING, value[REASONING])


def _repeats_prompt(key: str, value: object) -> bool:
    return isinstance(value, str) and value.casefold().strip(_AROUND_PLACEHOLDER) == PLACEHOLDERS[key]


def _value_of(text: str, parsable: str, at: int) -> LocatedReasoning:
    """The reasoning of the valid JSON object that begins at a character."""
    places = {key: (value, start, end) for key, value, start, end in members(parsable, at) if key in PLACEHOLDERS}
    reasoning, start, end = places[REASONING]
    if not isinstance(reasoning, str):
        raise MalformedCompletionError(f"its {REASONING} is {_JSON_TYPES[type(reasoning)]}, not text")
    answer, answer_start, answer_end = places.get(FINAL_ANSWER, (None, 0, 0))
    raws = [text[start + 1 : end - 1]] + [text[answer_start + 1 : answer_end - 1]] * isinstance(answer, str)
    decoded = decode_strings(raws)
    if not decoded[0].text.strip():
        raise MalformedCompletionError(f"its {REASONING} is empty")
    for key, string in zip(PLACEHOLDERS, decoded, strict=False):
        try:
            string.text.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedCompletionError(f"its {key} holds half a surrogate pair, which is not text") from None
    final = final_as_json = None if answer is None else text[answer_start:answer_end]
    if isinstance(answer, str):
        final, final_as_json = decoded[1].text, decoded[1].as_json
    if _repeats_prompt(FINAL_ANSWER, final):
        final = final_as_json = None
    repairs = sum(string.repairs for string in decoded)
    starts = start + 1 + decoded[0].starts
    return LocatedReasoning(decoded[0].text, final, repairs, starts, end - 1, decoded[0].as_json, final_as_json)
