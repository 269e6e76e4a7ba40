"""Model answers for tests, with the bytes that spell each character known, cut into tokens at any byte.

Nothing here decodes JSON: the expected positions are recorded while an answer is assembled.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from rbridge_traces.latex_names import CONTROL_NAMES

from ..error_bounds import stored_bound
from ..metrics.strategies import logprobs, texts

SHORT_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
#: Strings that mislead a search for braces, quotes or the key.
TRAPS = ("{", "}", '"', "\\", '{"reasoning": "no"}', "reasoning", '"reasoning": "no"', "\\u00e9", "</s>", "```")


@dataclass(frozen=True)
class Answer:
    """A model's answer, with the position of its reasoning.

    Attributes:
        raw: the whole text that the model wrote.
        reasoning: the decoded text of its JSON value.
        characters: for each character of the reasoning, the bytes ``[start, end)`` of ``raw`` that spell it.
        final_answer: the value that the package should return.
    """

    raw: str
    reasoning: str
    characters: tuple[tuple[int, int], ...]
    final_answer: str | None


@dataclass(frozen=True)
class Cut:
    """The bytes of an answer split into tokens, with the log-probability of each token."""

    pieces: list[bytes]
    logprobs: list[float]


def spellings(character: str, upper: bool) -> list[str]:
    """Return every way to write a character in a JSON string, beginning with the character itself if JSON allows it."""
    ways = [] if character in '"\\' else [character]
    if character in SHORT_ESCAPES:
        ways.append(SHORT_ESCAPES[character])
    point = ord(character)
    halves = [point] if point < 0x10000 else [0xD800 + (point - 0x10000 >> 10), 0xDC00 + (point - 0x10000 & 0x3FF)]
    return [*ways, "".join(f"\\u{half:04X}" if upper else f"\\u{half:04x}" for half in halves)]


def write_characters(text: str, choices: Sequence[int]) -> list[str]:
    """Spell each character of a text as in a JSON string; ``choices[i]`` selects the spelling of character i."""
    written = []
    for character, choice in zip(text, choices, strict=True):
        ways = spellings(character, upper=choice % 2 == 1)
        written.append(ways[choice // 2 % len(ways)])
    return written


def answer_of(before: str, characters: Sequence[str], after: str, reasoning: str, final_answer: str | None) -> Answer:
    """Assemble an answer; ``before`` ends with the quote that opens the reasoning."""
    at = len(before.encode())
    places = []
    for character in characters:
        places.append((at, at + len(character.encode())))
        at = places[-1][1]
    return Answer(before + "".join(characters) + after, reasoning, tuple(places), final_answer)


# Created once: creating a strategy takes longer than drawing from it.
_COMMAND = re.compile(rf"[\b\f\n\r\t](?:{'|'.join(name[1:] for name in CONTROL_NAMES)})(?![A-Za-z])")
_SPACES = st.sampled_from(["", "", " ", "\n", "\r\n\t", "  "])
_REASONING = texts().filter(lambda text: bool(text.strip()) and not _COMMAND.search(text))
_SHORT_TEXTS = texts(2).filter(
    lambda text: not _COMMAND.search(text)
)  # it would be decoded as LaTeX, see test_json_text
_STRINGS = st.one_of(_SHORT_TEXTS, st.sampled_from(TRAPS), st.just(""))
#: Any JSON value, with strings and keys that resemble the wanted object.
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**30), _STRINGS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_STRINGS, inner, max_size=2),
    max_leaves=4,
)
_FINAL_ANSWERS = st.one_of(st.none(), _SHORT_TEXTS, JSON_VALUES)
_OTHERS = st.dictionaries(st.sampled_from(["steps", "", "Reasoning", *TRAPS[:5]]), JSON_VALUES, max_size=2)
_KEYS = st.sampled_from(["reasoning", "r\\u0065asoning", "\\u0072easonin\\u0067"])
_WITHOUT_BRACES = st.just("") | texts(3).map(lambda text: text.replace("{", ""))
_BEHIND = st.one_of(st.sampled_from(["", "\n", "\n```", "}", 'I hope {this} helps {"reasoning": "no"}']), _SHORT_TEXTS)


@st.composite
def _members(draw: st.DrawFn, key: str, value: Any) -> str:
    """A member of a JSON object, in any layout that ``json.dumps`` produces."""
    dumped = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    return f"{json.dumps(key)}{draw(_SPACES)}:{draw(_SPACES)}{dumped}"


@st.composite
def answers(draw: st.DrawFn, prose: st.SearchStrategy[str] = _WITHOUT_BRACES) -> Answer:
    """Prose, then a JSON object with the reasoning and other members in any order and layout, then any text."""
    reasoning = draw(_REASONING)
    front: list[str] = []
    back: list[str] = []
    final_answer = None
    if draw(st.booleans()):
        final_answer = draw(_FINAL_ANSWERS)
        member = draw(_members("final_answer", final_answer))
        draw(st.sampled_from([front, back])).append(member)
        if not (final_answer is None or isinstance(final_answer, str)):
            final_answer = member.split(":", 1)[1].strip(" \t\r\n")
    for name, value in draw(_OTHERS).items():
        draw(st.sampled_from([front, back])).append(draw(_members(name, value)))
    if draw(st.booleans()):
        front.append(draw(_members("reasoning", draw(JSON_VALUES))))  # the last value of a repeated key counts
    comma = f"{draw(_SPACES)},{draw(_SPACES)}"
    fence = draw(st.sampled_from(["", "```json\n", "```\n"]))
    before = "".join([draw(prose), fence, "{", draw(_SPACES), *(member + comma for member in front)])
    before += f'"{draw(_KEYS)}"{draw(_SPACES)}:{draw(_SPACES)}"'
    after = "".join(['"', *(comma + member for member in back), draw(_SPACES), "}", draw(_BEHIND)])
    characters = write_characters(reasoning, draw(st.binary(min_size=len(reasoning), max_size=len(reasoning))))
    return answer_of(before, characters, after, reasoning, final_answer)


@st.composite
def cuts_of(draw: st.DrawFn, raw: str, shortest: int = 0) -> Cut:
    """Tokens of an answer, cut at any byte; tokens may be empty unless ``shortest`` is above 0."""
    spelled = raw.encode()
    lengths = draw(st.lists(st.integers(shortest, 8), min_size=1, max_size=30).filter(any))
    ends = [0]
    while ends[-1] < len(spelled):
        ends.append(min(ends[-1] + lengths[len(ends) % len(lengths)], len(spelled)))
    pieces = [spelled[start:end] for start, end in pairwise(ends)]
    few = draw(st.lists(logprobs(), min_size=1, max_size=10))
    return Cut(pieces, [few[number % len(few)] for number in range(len(pieces))])


def known(logprob: float) -> float:
    """Return a log-probability, or NaN for the placeholders -9999 and minus infinity that servers write."""
    return logprob if logprob > -1000 else math.nan


def shared_bytes(piece: bytes) -> int:
    """Bytes up to the end of the first multi-byte character, if the token ends in a multi-byte character; else 0."""
    sizes = [len(character.encode()) for character in piece.decode()]
    return sum(sizes[: next(n for n, size in enumerate(sizes) if size > 1) + 1]) if sizes[-1] > 1 else 0


def is_text(piece: bytes) -> bool:
    """Whether a token consists of whole characters."""
    return piece.decode(errors="replace").encode() == piece


def confidence_of(answer: Answer, cut: Cut, shown: str | None = None) -> list[float]:
    """Confidence of each character: mean, over its bytes, of the probability of the token that holds the byte.

    ``shown`` is the text that the server shows for the tokens if it does not show their bytes.
    """
    whole = all(map(is_text, cut.pieces)) if shown is None else True
    held_back = whole and "\ufffd" not in (b"".join(cut.pieces).decode() if shown is None else shown)
    of_bytes: list[float] = []
    empty: list[float] = []  # preceding tokens without bytes; they share the next token's first character
    for piece, logprob in zip(cut.pieces, cut.logprobs, strict=True):
        if not piece:
            empty.append(math.exp(known(logprob)))
            continue
        shared = shared_bytes(piece) if empty and held_back else 0
        sharing = [*empty, math.exp(known(logprob))]
        for byte in range(len(piece)):
            owner = next((n for n in range(len(sharing)) if byte < shared * (n + 1) // len(sharing)), -1)
            of_bytes.append(sharing[owner])
        empty = []
    return [math.fsum(of_bytes[start:end]) / (end - start) for start, end in answer.characters]


def assert_confidence(
    token_end: npt.NDArray[np.int32],
    token_logprob: npt.NDArray[np.float32],
    expected: Sequence[float],
    characters: Sequence[int] | slice = slice(None),
) -> None:
    """Check the confidence of each character, NaN where unknown, up to the rounding of stored logarithms."""
    stored = np.repeat(token_logprob.astype(np.float64), np.diff(token_end, prepend=0))
    assert stored.size == len(expected)
    wanted = np.asarray(expected)
    equal = (np.abs(np.exp(stored) - wanted) <= stored_bound(wanted)) | (np.isnan(stored) & np.isnan(wanted))
    assert equal[characters].all()


def chat(raw: str, cut: Cut) -> dict[str, Any]:
    """Return one entry of ``choices`` in the Chat Completions layout."""
    entries = [
        {"token": piece.decode(errors="replace"), "bytes": list(piece), "logprob": logprob, "top_logprobs": []}
        for piece, logprob in zip(cut.pieces, cut.logprobs, strict=True)
    ]
    message = {"role": "assistant", "content": raw, "refusal": None}
    return {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": entries, "refusal": None}}


def legacy(raw: str, cut: Cut) -> dict[str, Any]:
    """The entry in the legacy Completions layout, which writes a token that is not UTF-8 as ``bytes:\\xe2\\x80``."""
    tokens = []
    for piece in cut.pieces:
        try:
            tokens.append(piece.decode())
        except UnicodeDecodeError:
            tokens.append("bytes:" + "".join(" " if byte == 0x20 else f"\\x{byte:02x}" for byte in piece))
    logprobs = {"tokens": tokens, "token_logprobs": cut.logprobs, "top_logprobs": None}
    return {"index": 0, "finish_reason": "stop", "text": raw, "logprobs": logprobs}


def text_only(
    raw: str, tokens: Sequence[str], logprobs: Sequence[float | None], *, with_bytes: bool = False
) -> dict[str, Any]:
    """A choice from a server that gives tokens as text only; ``with_bytes`` adds the bytes of that text."""
    entries = [
        {"token": token, "logprob": logprob, **({"bytes": list(token.encode())} if with_bytes else {})}
        for token, logprob in zip(tokens, logprobs, strict=True)
    ]
    return {"message": {"content": raw}, "logprobs": {"content": entries}}


def decoded_alone(pieces: Sequence[bytes]) -> list[str]:
    """Decode each token by itself: a token with part of a character shows U+FFFD."""
    return [piece.decode(errors="replace") for piece in pieces]


def decoded_in_context(pieces: Sequence[bytes]) -> list[str]:
    """Decode as vLLM does: a token that ends inside a character shows nothing, the one that completes it shows all.

    It looks back at most four tokens. A token that ends in whole characters is decoded alone, so the text that earlier
    tokens did not show is lost.
    """
    alone = decoded_alone(pieces)
    shown = []
    for number, text in enumerate(alone):
        for first in range(number - 1, max(number - 5, -1), -1) if text.endswith("\ufffd") else ():
            whole = b"".join(pieces[first : number + 1]).decode(errors="replace")
            if not whole.endswith("\ufffd"):
                clean = number
                while clean > first and alone[clean - 1].endswith("\ufffd"):
                    clean -= 1
                text = whole[len(b"".join(pieces[first:clean]).decode(errors="replace")) :]
                break
        shown.append("" if text.endswith("\ufffd") else text)
    return shown
