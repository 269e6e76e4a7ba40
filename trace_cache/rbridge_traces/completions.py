"""A frontier model's raw answer with the log-probability of each token, in the layouts that servers return.

The Chat Completions layout has ``{token, logprob, bytes}`` for each token, the legacy layout three lists. Tokens are
kept as bytes, because one character may be spread over several. Servers that send text only write such parts as U+FFFD;
``rbridge_traces.replacement_characters`` locates them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_traces.errors import CompletionError, TraceError
from rbridge_traces.replacement_characters import PART
from rbridge_traces.text_in_tokens import Stop, token_ends_in
from rbridge_traces.thinking import next_block
from rbridge_traces.unknown_logprobs import known_logprobs

_HALF = re.compile("[\ud800-\udfff]")
_ID = re.compile(rb"token_id:\d+")  # vLLM: return_tokens_as_token_ids
# Legacy completions write a token that is not UTF-8 as Python writes its bytes: ``bytes: \xe2\x80``.
_BYTES_NOTATION = re.compile(r"bytes:(?=.*\\x)((?:[ -\[\]-~]|\\[\\'ntr]|\\x[0-9a-fA-F]{2})+)")


class IdsAsTokensError(CompletionError):
    """The server lists ids in place of tokens."""


class NoLogprobsError(CompletionError):
    """The server returned no log-probabilities."""


@dataclass(frozen=True, eq=False)
class Completion:
    """A model's answer, token by token.

    Attributes:
        text: the whole answer.
        token_byte_end: int64, shape (tokens,), non-decreasing end offset of each token in UTF-8 bytes of ``text``; the
            last is their number.
        token_logprob: float64, shape (tokens,), nats; NaN where the server gave none that counts (``known_logprobs``).
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
    text = text_of_choice(choice)
    if not text:
        raise CompletionError(f"the answer holds no text (it has {', '.join(choice) or 'no fields'})")
    pieces, logprobs = tokens_of_choice(choice)
    return completion_of_tokens(pieces, logprobs, text=_as_sampled(text, pieces), stop=stop_of_choice(choice))


def _as_sampled(text: str, pieces: Sequence[bytes]) -> str:
    """A text without an opening mark of thinking that was in the prompt, which some servers put before the answer."""
    block = next_block(text, 0)
    if block is None or text[: block.start].strip() or block.mark.encode() in b"".join(pieces):
        return text
    return text[block.start + len(block.mark) :].lstrip()


def tokens_of_choice(choice: Mapping[str, Any], name: str = "content") -> tuple[list[bytes], list[float | None]]:
    """The bytes and log-probabilities of the tokens that a choice lists.

    Args:
        choice: in the Chat Completions or the legacy completions layout.
        name: of the list of tokens in the Chat layout.

    Raises:
        NoLogprobsError: it has no log-probabilities.
        IdsAsTokensError: ids stand in place of the tokens.
        CompletionError: they are in no known layout.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping) or not (logprobs.get(name) or logprobs.get("tokens")):
        raise NoLogprobsError("the answer has no log-probabilities")
    if entries := logprobs.get(name):
        if not (isinstance(entries, list) and all(isinstance(entry, Mapping) for entry in entries)):
            raise CompletionError("its log-probabilities are not a list of objects {token, logprob, bytes}")
        pieces = [token_bytes(entry.get("token"), entry.get("bytes")) for entry in entries]
        values = [entry.get("logprob") for entry in entries]
    else:
        tokens, values = logprobs["tokens"], logprobs.get("token_logprobs") or []
        if not (isinstance(tokens, list) and isinstance(values, list)):
            raise CompletionError("its tokens and token_logprobs are not two lists")
        pieces = [token_bytes(token, None) for token in tokens]
    if all(map(_ID.fullmatch, pieces)):
        raise IdsAsTokensError(
            f"ids stand in place of its tokens ({pieces[0].decode()}), which only the model's tokenizer can read; "
            "serve the model without --return-tokens-as-token-ids and ask again"
        )
    return pieces, values


def stop_of_choice(choice: Mapping[str, Any]) -> Stop:
    """How the answer of a choice ended."""
    reason = choice.get("stop_reason")
    return Stop(choice.get("finish_reason") == "stop", reason if isinstance(reason, str) else None)


def text_of_choice(choice: Mapping[str, Any]) -> str:
    """The text of a choice, its text parts joined; empty if it has none."""
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def completion_of_tokens(
    pieces: Sequence[bytes],
    logprobs: Sequence[float | None] | npt.NDArray[np.float64],
    *,
    text: str | None = None,
    stop: Stop | None = None,
) -> Completion:
    """Make a completion from the bytes of its tokens.

    Args:
        pieces: bytes of each token.
        logprobs: natural log of each token's probability; None where there is none.
        text: the answer, a part of what the tokens spell (see ``rbridge_traces.text_in_tokens``). Default: all of it.
        stop: how the answer ended, if known.

    Raises:
        CompletionError: no tokens, another number of log-probabilities, or tokens that do not spell the text; shows the
            first difference.
    """
    if not len(pieces) or len(pieces) != len(logprobs):
        raise CompletionError(f"{len(pieces)} tokens but {len(logprobs)} log-probabilities; one of each is needed")
    try:
        values = np.array(logprobs, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0)
    if values.shape != (len(pieces),):
        raise CompletionError("a log-probability is not a number; export them as numbers in nats")
    try:
        values = known_logprobs(values)
    except TraceError as error:
        raise CompletionError(str(error)) from None
    spelled = b"".join(pieces)
    shared = pieces if PART.encode() in spelled else _held_back(pieces)
    ends = np.cumsum([len(piece) for piece in shared], dtype=np.int64)
    if text is None:
        try:
            return Completion(spelled.decode("utf-8"), ends, values)
        except UnicodeDecodeError as error:
            raise CompletionError(f"the tokens do not spell UTF-8 text (byte {error.start}); is one missing?") from None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CompletionError(f"the answer holds half a surrogate pair at character {error.start}") from None
    fitted = token_ends_in(pieces, ends, text, stop or Stop())
    n_bytes = len(text.encode())
    first, last = np.searchsorted(fitted, (1, n_bytes))  # tokens entirely before or after the text are dropped
    return Completion(text, np.minimum(fitted[first : last + 1], n_bytes), values[first : last + 1])


def _held_back(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Give tokens without bytes their share of the character that they begin.

    vLLM reports a token that ends within a character as empty, and its bytes with the token that completes the
    character. The boundaries are lost, so the bytes of that character are shared evenly.
    """
    try:
        texts = [] if all(pieces) else [piece.decode("utf-8") for piece in pieces]
    except UnicodeDecodeError:
        texts = []
    shared, empty = list(pieces), 0
    for number, text in enumerate(texts):
        if not text:
            empty += 1
            continue
        if empty and not text[-1].isascii():
            first = next(place for place, character in enumerate(text) if not character.isascii())
            begun = len(text[: first + 1].encode())
            edges = [begun * share // (empty + 1) for share in range(empty + 1)]
            ends = [*edges[1:], len(pieces[number])]
            shared[number - empty : number + 1] = [
                pieces[number][start:end] for start, end in zip(edges, ends, strict=True)
            ]
        empty = 0
    return shared


def token_bytes(token: object, raw: object) -> bytes:
    """The bytes of a token: as sent, else those of its text; CompletionError if neither is usable."""
    if raw is not None and not isinstance(raw, str):
        try:
            sent = bytes(raw if isinstance(raw, list) else list(raw))  # type: ignore[call-overload]
        except (TypeError, ValueError):
            raise CompletionError("the bytes of a token are not numbers from 0 to 255") from None
        if sent or not token or (isinstance(token, str) and _ID.fullmatch(token.encode(errors="replace"))):
            return sent
    if not isinstance(token, str):
        raise CompletionError(f"a token is a {type(token).__name__}, not text, and its bytes are not given")
    if noted := _BYTES_NOTATION.fullmatch(token):
        return noted[1].encode().decode("unicode_escape").encode("latin-1")
    return _HALF.sub(PART, token).encode()
