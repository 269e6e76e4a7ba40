"""Recognise the responses of a Completions API in the rows of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

DEPTH = 3
"""Levels of nested objects searched for a response: a line of batch output has response.body.choices."""

_LISTS = ("choices", "outputs", "generations", "completions")  # names of a list of answers


def is_choice(value: Any) -> bool:
    """Whether a value is an answer: a message with content, or a text with a finish reason or log-probabilities.

    >>> is_choice({"message": {"content": "4"}}), is_choice({"text": "4", "finish_reason": "stop"})
    (True, True)
    >>> is_choice({"label": "A", "text": "4"})
    False
    """
    if not isinstance(value, dict) or "label" in value:
        return False
    message, tokens = value.get("message"), value.get("tokens")
    if isinstance(message, dict):
        return "content" in message
    listed = isinstance(value.get("logprobs"), (dict, list)) or (isinstance(tokens, list) and has_entries(tokens))
    return isinstance(value.get("text"), str) and ("finish_reason" in value or listed)


def has_entries(listed: list[Any]) -> bool:
    """Whether a list holds an object ``{token, logprob}`` for each token."""
    return bool(listed) and all(isinstance(entry, dict) and {"token", "logprob"} <= entry.keys() for entry in listed)


def choices_of(value: Any) -> list[dict[str, Any]]:
    """The answers of a response (of vLLM's engine, its outputs) by index; empty if the value is not a response."""
    for name in _LISTS if isinstance(value, dict) else ():
        listed = value.get(name)
        if isinstance(listed, list) and listed and all(map(is_choice, listed)):
            indexes = [choice.get("index") for choice in listed]
            if sorted(map(str, indexes)) == sorted(map(str, range(len(listed)))):
                return sorted(listed, key=lambda choice: int(choice["index"]))
            return listed
    return []


def responses_in(value: Any, name: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Any]]]:
    """Responses and single choices in a row, each with its dotted name, which is empty for the row itself."""
    if isinstance(value, list) and len(value) == 1:
        yield from responses_in(value[0], f"{name}.0", depth)
    if isinstance(value, str) and value.startswith("{") and '"choices"' in value:  # a body that was not parsed
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, dict):
        return
    if choices_of(value) or is_choice(value):
        yield name, value
    elif depth:
        for key, inner in value.items():
            yield from responses_in(inner, f"{name}.{key}" if name else str(key), depth - 1)
