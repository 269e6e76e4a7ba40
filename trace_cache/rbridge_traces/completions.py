"""A frontier model's raw answer with the log-probability of each token, in the layouts that servers return.

The Chat Completions layout has ``{token, logprob, bytes}`` for each token, the legacy completions layout three lists. A
token is known by its bytes: a character may be spread over several. Servers that send text only write such parts as
U+FFFD; then the tokens of that stretch are taken to share its bytes evenly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_traces.errors import TraceError

_PART = "\ufffd"  # what a server shows for a token that holds only part of a character
_BYTES_NOTATION = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")  # legacy completions write such a token b"\xe2" like so
_AFTER_TEXT = re.compile(r"\s*(<[^<>]+>|\[[A-Z_]+\])*\s*", re.ASCII)  # end-of-text tokens, which the text leaves out


class CompletionError(TraceError):
    """An answer without usable tokens: none at all, without log-probabilities, or not those of its text."""


class NoLogprobsError(CompletionError):
    """The server returned no log-probabilities."""


@dataclass(frozen=True, eq=False)
class Completion:
    """What a model answered, token by token.

    Attributes:
        text: the whole answer.
        token_byte_end: int64, shape (tokens,), non-decreasing end offset of each token in UTF-8 bytes of ``text``; the
            last is their number.
        token_logprob: float64, shape (tokens,), nats; NaN where the server gave none.
    """

    text: str
    token_byte_end: npt.NDArray[np.int64]
    token_logprob: npt.NDArray[np.float64]


def completion_of_choice(choice: Mapping[str, Any]) -> Completion:
    """Read one entry of ``choices`` of a response, in the Chat Completions or the legacy completions layout.

    Raises:
        NoLogprobsError: it has no log-probabilities.
        CompletionError: no text, or the tokens do not spell it.

    >>> tokens = [{"token": "?", "bytes": [97, 195], "logprob": -0.5}, {"token": "?", "bytes": [169], "logprob": 0}]
    >>> completion_of_choice({"message": {"content": "aé"}, "logprobs": {"content": tokens}}).token_byte_end
    array([2, 3])
    """
    message, logprobs = choice.get("message"), choice.get("logprobs")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if not isinstance(text, str) or not text:
        raise CompletionError(f"the answer holds no text (it has {', '.join(choice) or 'no fields'})")
    if not isinstance(logprobs, Mapping) or not (logprobs.get("content") or logprobs.get("tokens")):
        raise NoLogprobsError("the answer has no log-probabilities")
    if entries := logprobs.get("content"):
        pieces = [_token_bytes(entry.get("token"), entry.get("bytes")) for entry in entries]
        values = [entry.get("logprob") for entry in entries]
    else:
        pieces = [_token_bytes(token, None) for token in logprobs["tokens"]]
        values = logprobs.get("token_logprobs") or []
    return completion_of_tokens(pieces, values, text=text)


def completion_of_tokens(
    pieces: Sequence[bytes], logprobs: Sequence[float | None] | npt.NDArray[np.float64], *, text: str | None = None
) -> Completion:
    """Put a completion together from the bytes of its tokens.

    Args:
        pieces: bytes of each token.
        logprobs: natural log of each token's probability; None where there is none.
        text: what the tokens have to spell, but for white space before it and end-of-text tokens behind it. Default:
            whatever they spell.

    Raises:
        CompletionError: no tokens, as many log-probabilities are not there, or the tokens spell something else; shows
            where they part.
    """
    if not len(pieces) or len(pieces) != len(logprobs):
        raise CompletionError(f"{len(pieces)} tokens but {len(logprobs)} log-probabilities; one of each is needed")
    try:
        values = np.array([np.nan if value is None else value for value in logprobs], dtype=np.float64)
    except (TypeError, ValueError):
        raise CompletionError("a log-probability is not a number; export them as numbers in nats") from None
    spelled = b"".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    if text is None:
        try:
            return Completion(spelled.decode("utf-8"), ends, values)
        except UnicodeDecodeError as error:
            raise CompletionError(f"the tokens do not spell UTF-8 text (byte {error.start}); is one missing?") from None
    try:
        wanted = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CompletionError(f"the answer holds half a surrogate pair at letter {error.start}") from None
    before = spelled.find(wanted)
    if before >= 0 and not spelled[:before].strip():
        behind = spelled[before + len(wanted) :].decode("utf-8", errors="replace")
        if _AFTER_TEXT.fullmatch(behind):
            return _cut(Completion(text, ends - before, values), len(wanted))
    if _PART.encode() in spelled:
        shared = _shared_ends([piece.decode("utf-8", errors="replace") for piece in pieces], text)
        if shared is not None:
            return _cut(Completion(text, shared, values), len(wanted))
    raise CompletionError(_parting(spelled, wanted))


def _cut(whole: Completion, n_bytes: int) -> Completion:
    """Leave out the tokens that lie wholly before or behind the text."""
    ends = whole.token_byte_end
    first = int(np.searchsorted(ends, 0, side="right"))
    last = int(np.searchsorted(ends, n_bytes, side="left")) + 1
    return Completion(whole.text, ends[first:last].clip(0, n_bytes), whole.token_logprob[first:last])


def _token_bytes(token: object, raw: object) -> bytes:
    """The bytes of a token: as sent, else those of its text."""
    if isinstance(raw, Iterable) and not isinstance(raw, str):
        try:
            return bytes(raw)
        except (TypeError, ValueError):
            raise CompletionError("the bytes of a token are not numbers from 0 to 255") from None
    if not isinstance(token, str):
        raise CompletionError(f"a token is a {type(token).__name__}, not text, and its bytes are not given")
    if noted := _BYTES_NOTATION.fullmatch(token):
        return bytes.fromhex(noted[1].replace("\\x", ""))
    return token.encode("utf-8", errors="replace")


def _shared_ends(tokens: Sequence[str], text: str) -> npt.NDArray[np.int64] | None:
    """Byte ends of tokens of which some show only that they hold part of a character; None if they do not fit."""
    shown = len(tokens)
    while shown and not text.endswith(tokens[shown - 1]) and _AFTER_TEXT.fullmatch(tokens[shown - 1]):
        shown -= 1
    runs = [
        (unknown, list(run)) for unknown, run in groupby(tokens[:shown], key=lambda token: not token or _PART in token)
    ]
    # Letters at which each run can end, and where it began then. A run of parts holds no more letters than it shows.
    came_from: list[dict[int, int]] = [{0: 0}]
    for unknown, run in runs:
        known = "".join(run)
        reached: dict[int, int] = {}
        for start in came_from[-1]:
            if unknown:
                reached |= dict.fromkeys(range(start, min(start + len(known), len(text)) + 1), start)
            elif text.startswith(known, start):
                reached[start + len(known)] = start
        came_from.append(reached)
    if len(text) not in came_from[-1]:
        return None
    edges = [len(text)]
    for reached in reversed(came_from[1:]):
        edges.append(reached[edges[-1]])
    edges.reverse()
    ends: list[int] = []
    for (unknown, run), start, end in zip(runs, edges, edges[1:], strict=False):
        before, n_bytes = ends[-1] if ends else 0, len(text[start:end].encode())
        if unknown:
            ends.extend(before + n_bytes * (number + 1) // len(run) for number in range(len(run)))
        else:
            ends.extend((before + np.cumsum([len(token.encode()) for token in run])).tolist())
    return np.array(ends + [ends[-1] if ends else 0] * (len(tokens) - shown), dtype=np.int64)


def _parting(spelled: bytes, wanted: bytes) -> str:
    """Where two texts part, for a message."""
    shorter = min(len(spelled), len(wanted))
    at = next((place for place in range(shorter) if spelled[place] != wanted[place]), shorter)
    found, expected = (text[at : at + 30].decode("utf-8", errors="replace") for text in (spelled, wanted))
    return f"the tokens do not spell the text: at byte {at} they go on {found!r}, the text {expected!r}"
