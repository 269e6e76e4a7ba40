"""Locate an answer's text in the tokens that a server lists for it.

Servers list every sampled token, also those that they leave out of the text: a thinking block or a channel header
before it, white space around it, end-of-text tokens and stop strings after it. The text has to be an exact substring of
what the tokens spell, with nothing but these around it. Anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from rbridge_traces.errors import CompletionError
from rbridge_traces.replacement_characters import MOST_CHARACTERS, PART, parted, replaced_ends

MARK = r"<[^<>\s][^<>]*>|\[/?[A-Z_]+\]|◁[^◁▷]+▷"  # <|im_end|>, </s>, [/INST], ◁/think▷
_END = re.compile(rf"(?:\s|{MARK})*")
_BEGIN = re.compile(rf"(?:{MARK})\s*")
_MARKED_BEFORE = re.compile(rf"(?:{MARK})\s*\Z")
# A mark that ends thinking or begins another message: text before it is not the answer.
_INSIDE = re.compile(r"(?i)[<\[◁][^<>\[\]◁▷]*(?:think|thought|reason|channel|message)[^<>\[\]◁▷]*[>\]▷]|<\|start\|>")
_LONGEST_STOP = 64  # characters of a stop string that the server does not name
_MOST_PLACES = 1000  # candidate positions examined, from the last on
_TELLING = 8  # ASCII characters that identify the beginning of a text without a mark before it


@dataclass(frozen=True)
class Stop:
    """How an answer ended.

    Attributes:
        by_stop: the model or a stop string ended it; False if it was cut off, or if that is not known.
        string: the stop string, where the server names it (vLLM: ``stop_reason``).
    """

    by_stop: bool = False
    string: str | None = None


def token_ends_in(
    pieces: Sequence[bytes], piece_ends: npt.NDArray[np.int64], text: str, stop: Stop
) -> npt.NDArray[np.int64]:
    """Find where each token ends in a text. Of several positions of the text, the last counts: drafts come first.

    Args:
        pieces: bytes of each token.
        piece_ends: int64, shape (tokens,), end offset of each token in all of their bytes.
        text: not empty.
        stop: how the answer ended.

    Returns:
        Shape (tokens,), end offset in UTF-8 bytes of ``text``; below 1 for tokens before it, above its length for those
        behind it.

    Raises:
        CompletionError: the tokens do not spell the text, or spell more than servers leave out.
    """
    spelled, wanted = b"".join(pieces), text.encode()
    refused = ""
    stopped: list[int] = []
    for at in islice(_occurrences(spelled, wanted), _MOST_PLACES):
        before, behind = _decoded(spelled[:at]), _decoded(spelled[at + len(wanted) :])
        if inside := _INSIDE.search(behind):
            refused = refused or f"only before {inside[0]!r}, as part of what the model thought first"
            break
        if why := _begins_within_a_token(before, at, piece_ends):
            refused = refused or why
        elif _END.fullmatch(behind) or _is_stop_string(behind, len(pieces[-1]), stop):
            return piece_ends - at
        elif stop.by_stop and len(behind) <= _LONGEST_STOP and (not before.strip() or _MARKED_BEFORE.search(before)):
            stopped.append(at)
        else:
            refused = refused or f"behind it they go on {behind[:30]!r}, which is no end-of-text token"
    if len(stopped) == 1:
        return piece_ends - stopped[0]
    if len(stopped) > 1:
        refused = f"it stands there {len(stopped)} times, each time with other tokens behind it"
    tokens = [_decoded(piece) for piece in pieces]
    leading, trailing = _leading(tokens, text), next(_trailing(tokens, text))
    parting = parted(spelled.decode("utf-8", errors="backslashreplace"), leading + text + trailing)
    # A server that sends bytes sends those of partial characters too: nothing is replaced then.
    if "".join(tokens).encode() == spelled and PART.encode() in spelled + wanted:
        return _replaced(tokens, text, parting)
    raise CompletionError(f"the tokens hold the text, but {refused}") if refused else parting


def _occurrences(spelled: bytes, wanted: bytes) -> Iterator[int]:
    """Offsets of a byte string in another, last first."""
    at = spelled.rfind(wanted)
    while at >= 0:
        yield at
        at = spelled.rfind(wanted, 0, at + len(wanted) - 1)


def _decoded(spelled: bytes) -> str:
    return spelled.decode("utf-8", errors="replace")


def _begins_within_a_token(before: str, at: int, piece_ends: npt.NDArray[np.int64]) -> str:
    """Why the text cannot begin at a byte: its token holds more than white space or a mark before it."""
    token = int(np.searchsorted(piece_ends, at, side="right"))
    token_start = int(piece_ends[token - 1]) if token else 0
    white_space = before[len(before.rstrip()) :]
    if at - len(white_space.encode()) <= token_start or _MARKED_BEFORE.search(before):
        return ""
    return f"it begins within a token, behind {before[-30:]!r}"


def _is_stop_string(behind: str, last_token_bytes: int, stop: Stop) -> bool:
    """Whether the stop string that the server names follows the text; its last token may extend beyond it."""
    if not stop.string or stop.string not in behind:
        return False
    start = behind.index(stop.string)
    beyond = behind[start + len(stop.string) :]
    return _END.fullmatch(behind[:start]) is not None and (
        len(beyond.encode()) < last_token_bytes or _END.fullmatch(beyond) is not None
    )


def _replaced(tokens: Sequence[str], text: str, parting: CompletionError) -> npt.NDArray[np.int64]:
    """``token_ends_in`` for tokens in which U+FFFD stands for parts of characters."""
    shown = "".join(tokens)
    starts = np.concatenate(([0], np.cumsum([len(token) for token in tokens])))
    # Only tokens shown as nothing hide ASCII characters: beginnings with too few of them are no candidates.
    ascii_before = np.concatenate(([0], np.cumsum([character.isascii() for character in shown])))
    hidden_before = np.concatenate(([0], np.cumsum([not token for token in tokens]))) * MOST_CHARACTERS
    needed = sum(map(str.isascii, text))
    error = parting
    for begin in _beginnings(shown, text):
        first = int(np.searchsorted(starts, begin))  # tokens shown as nothing at the seam may hold a part of the text
        first -= int(starts[first] > begin)
        if begin and ascii_before[-1] - ascii_before[begin] + hidden_before[-1] - hidden_before[first] < needed:
            continue
        rest = [shown[begin : starts[first + 1]], *tokens[first + 1 :]]
        leading = _leading(rest, text)
        for number, trailing in enumerate(_trailing(rest, text)):
            if begin and _INSIDE.search(trailing):
                continue
            try:
                ends = replaced_ends(rest, leading + text + trailing)
            except CompletionError as other:
                error = error if begin or number else other
                continue
            return np.concatenate((np.zeros(first, np.int64), ends - len(leading.encode())))
    raise error


def _beginnings(shown: str, text: str) -> Iterator[int]:
    """Candidate beginnings of a text: the first character, then those after a mark or at its first words."""
    yield 0
    places = {mark.end() for mark in _BEGIN.finditer(shown)}
    words = re.match(r"[\x00-\x7f]*", text)
    if words and len(words[0]) >= _TELLING:
        places |= {match.start() for match in re.finditer(re.escape(words[0]), shown)}
    yield from sorted(places - {0, len(shown)}, reverse=True)


def _leading(tokens: Sequence[str], text: str) -> str:
    """White space before the text that only the tokens have.

    The end of the text's own white space may be hidden: U+0085 and U+3000 have several bytes.
    """
    spelled = "".join(tokens)
    shown = spelled[: len(spelled) - len(spelled.lstrip())]
    own = text[: len(text) - len(text.lstrip())]
    return next(shown[: len(shown) - length] for length in range(len(own), -1, -1) if shown.endswith(own[:length]))


def _trailing(tokens: Sequence[str], text: str) -> Iterator[str]:
    """White space and end-of-text tokens behind the text that only the tokens have.

    As much as can be; then what follows each token shown as nothing, which may hold the end of the text.
    """
    first = len(tokens)
    while first and _END.fullmatch(tokens[first - 1]):
        first -= 1
    starts = [first, *(place + 1 for place in range(first, len(tokens)) if not tokens[place])]
    for behind in dict.fromkeys("".join(tokens[start:]) for start in starts):
        yield next(
            behind[length:]
            for length in range(len(behind), -1, -1)
            if text.endswith(behind[:length]) and _END.fullmatch(behind[length:])
        )
