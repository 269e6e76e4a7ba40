"""Find the thinking of an answer, and its tokens, wherever a server puts them.

The thinking is a field of the message (``reasoning_content``, vLLM from 0.12 on ``reasoning``, Mistral's parts of type
``thinking``), or stands in the content between marks, or only in the list of tokens. Servers list the tokens of
thinking, marks and content together; DeepSeek's own lists those of the thinking apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rbridge_traces.completions import (
    Completion,
    completion_of_choice,
    completion_of_tokens,
    stop_of_choice,
    text_of_choice,
    tokens_of_choice,
)
from rbridge_traces.errors import CompletionError, TraceError
from rbridge_traces.extraction import MalformedCompletionError, Reasoning, tokens_between
from rbridge_traces.replacement_characters import PART
from rbridge_traces.thinking import BEFORE, SEAM, thinking_in

FIELDS = ("reasoning_content", "reasoning")
"""Fields of a message that hold the thinking, and of its log-probabilities that list its tokens alone."""

_ASCII = bytes(range(128)).decode()
_MOST_SEAMS = 20  # candidates examined


def thinking_of_choice(choice: Mapping[str, Any]) -> Reasoning:
    """The thinking of an answer with its tokens, without white space around it.

    Args:
        choice: in the Chat Completions or the legacy completions layout, with log-probabilities.

    Raises:
        MalformedCompletionError: there is none, it has no end, or it has several parts.
        TraceError: the log-probabilities are missing, or do not spell it; never are they shifted.

    >>> tokens = [{"token": token, "logprob": -1.0} for token in ("<think>", "2", " + 2", "</think>", "4")]
    >>> found = thinking_of_choice({"message": {"reasoning": "2 + 2", "content": "4"}, "logprobs": {"content": tokens}})
    >>> found.text, found.token_end
    ('2 + 2', array([1, 5], dtype=int32))
    """
    completion, start, end = _located(choice)
    return Reasoning(completion.text[start:end], None, *tokens_between(completion, start, end))


def thinking_text(choice: Mapping[str, Any]) -> str:
    """The thinking of an answer whose tokens are not known.

    Raises:
        MalformedCompletionError: as ``thinking_of_choice``.
    """
    if thinking := _thinking_field(choice):
        return thinking
    content = text_of_choice(choice).strip()
    start, end = _between_marks(content)
    return content[start:end]


def _located(choice: Mapping[str, Any]) -> tuple[Completion, int, int]:
    """A completion that holds the thinking, and its start and end there."""
    thinking, content = _thinking_field(choice), text_of_choice(choice).strip()
    logprobs = choice.get("logprobs")
    apart = next((name for name in FIELDS if isinstance(logprobs, Mapping) and logprobs.get(name)), None)
    if thinking and apart:
        return completion_of_tokens(*tokens_of_choice(choice, apart), text=thinking), 0, len(thinking)
    pieces, values = tokens_of_choice(choice)
    if thinking:
        return _with_content(pieces, values, thinking, content, choice)
    if thinking_in(content):
        completion = completion_of_choice(choice)
        return completion, *_between_marks(completion.text)
    completion = completion_of_tokens(pieces, values)
    start, end = _between_marks(completion.text)
    if PART in completion.text[start:end]:
        raise CompletionError("parts of characters in its thinking are shown as U+FFFD, and its text is not given")
    if content.strip() not in completion.text[end:]:
        raise CompletionError("the answer does not follow the thinking in the tokens")
    return completion, start, end


def _with_content(
    pieces: Sequence[bytes], values: Sequence[float | None], thinking: str, content: str, choice: Mapping[str, Any]
) -> tuple[Completion, int, int]:
    """Thinking and content as one text, as the tokens have it: what stands between the two is taken from the tokens."""
    shown = b"".join(pieces).decode(errors="replace")
    error: TraceError = CompletionError("its tokens show no end of the thinking; are they those of the answer alone?")
    for start, seam in islice(_seams(shown, thinking, content), _MOST_SEAMS):
        text = shown[:start] + thinking + seam + content
        try:
            completion = completion_of_tokens(pieces, values, text=text, stop=stop_of_choice(choice))
        except CompletionError as refused:
            error = CompletionError(f"the tokens do not spell its thinking and its answer: {refused}")
            continue
        return completion, start, start + len(thinking)
    raise error


def _seams(shown: str, thinking: str, content: str) -> Iterator[tuple[int, str]]:
    """Candidates of where the thinking begins in what the tokens show, and of what stands behind it.

    Characters beyond ASCII may be shown as U+FFFD or not at all: only ASCII characters beside the seam are compared.
    """
    first, next_one = (text[: len(text) - len(text.lstrip(_ASCII))] for text in (thinking, content))
    last = thinking[len(thinking.rstrip(_ASCII)) :]
    before = BEFORE.match(shown)
    for start in range(before.end() if before else 0, -1, -1):
        if shown.startswith(first, start) and BEFORE.fullmatch(shown, 0, start):
            for seam in SEAM.finditer(shown, start):
                if shown.endswith(last, start, seam.start()) and shown.startswith(next_one, seam.end()):
                    yield start, seam[0]


def _between_marks(text: str) -> tuple[int, int]:
    found = thinking_in(text)
    if found is None:
        raise MalformedCompletionError("without thinking that has one beginning and one end")
    return found


def _thinking_field(choice: Mapping[str, Any]) -> str:
    """The thinking in a field of the message, without white space around it; empty if there is none."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return ""
    given = next((message[name] for name in FIELDS if isinstance(message.get(name), str)), "")
    parts = message.get("content")
    if not given and isinstance(parts, list):
        thoughts = [part.get("thinking") for part in parts if isinstance(part, Mapping)]
        given = "".join(text_of_choice({"message": {"content": thought}}) for thought in thoughts)
    return str(given).strip()
