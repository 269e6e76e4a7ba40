r"""Read JSON objects, and decode their strings as the writer meant them: unescaped LaTeX commands stay commands.

``"\sqrt{2}"`` is not valid JSON, and ``"\frac{1}{2}"`` is, but means a form feed and ``rac``. The raw text shows which
escapes were written; ``latex_commands`` decides which of them begin a command. Escaped backslashes, line breaks, tabs
and Unicode escapes that do not begin one are decoded as JSON says.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_traces.latex_commands import CONTROL, Style, command_places, is_command, style_of

DECODER = json.JSONDecoder(strict=False, parse_int=float)
"""Accepts line breaks inside strings, and whole numbers of any length."""

_SPACE = re.compile(r"[ \t\n\r]*")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.|\Z)", re.DOTALL)
_VALID = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_BACKSLASH = re.compile(rf"{_VALID.pattern}|\\")
_ESCAPED = r"\\"  # an escaped backslash, as JSON writes it
_ESCAPED_ROW = re.compile(r"(?<!\\)\\{4}(?=\\\\[A-Za-z]|\\n|[\s&\d+-]|\Z)")  # the end of a row, escaped
_LATEX_MARKS = frozenset("()[]{},;!%$|& ")  # form a LaTeX command together with a backslash
_ENVIRONMENT = re.compile(r"(?:\\b|[\b])egin\{|\\end\{")
_AFTER_ROW = re.compile(r"[\s\b\\&\d+-]|\Z")  # how an alignment or a matrix goes on after the end of a row


@dataclass(frozen=True, eq=False)
class DecodedString:
    """A JSON string, decoded.

    Attributes:
        text: as its writer meant it.
        starts: int64, shape (characters of ``text``,), where each begins in the raw string.
        repairs: escapes that were not read as JSON reads them.
        as_json: the string as a JSON parser reads it; None where it is not valid JSON.
    """

    text: str
    starts: npt.NDArray[np.int64]
    repairs: int
    as_json: str | None


@dataclass(frozen=True)
class _Escapes:
    """A raw JSON string as JSON reads it; an escape that JSON lacks stands for itself.

    Attributes:
        raw: between the quotes.
        text: decoded.
        written: each escape in ``raw``.
        starts: where each begins in ``raw``.
        at: where the value of each begins in ``text``.
    """

    raw: str
    text: str
    written: tuple[str, ...]
    starts: tuple[int, ...]
    at: tuple[int, ...]


def without_invalid_escapes(text: str) -> str:
    """Replace invalid escapes, keeping the length, so that a JSON parser finds the strings."""
    return _BACKSLASH.sub(lambda match: match[0] if len(match[0]) > 1 else "x", text)


def decode_strings(raws: Sequence[str]) -> list[DecodedString]:
    r"""Decode the raw strings of one JSON document. The style of each one counts for all.

    >>> [decoded.text for decoded in decode_strings([r"So \neq.\nNow \"x\".", r"\frac{1}{2}", r"\\frac{1}{2}"])]
    ['So \\neq.\nNow "x".', '\\frac{1}{2}', '\\frac{1}{2}']
    """
    read = [_as_json(raw) for raw in raws]
    style = sum(map(_style, read), Style())
    doubled = any(map(_ESCAPED_ROW.search, raws))
    return [_decoded(escapes, style, doubled=doubled) for escapes in read]


def members(text: str, at: int) -> Iterator[tuple[str, Any, int, int]]:
    """Key, value, start and end of the value of each member of the valid JSON object at a position."""
    at = _skip_space(text, at + 1)
    while text[at] != "}":
        key, at = DECODER.raw_decode(text, at)
        start = _skip_space(text, _skip_space(text, at) + 1)  # over the colon
        value, end = DECODER.raw_decode(text, start)
        yield key, value, start, end
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _as_json(raw: str) -> _Escapes:
    escapes = list(_ESCAPE.finditer(raw))
    pieces: list[str] = []
    at: list[int] = []
    end = length = 0
    for match in escapes:
        plain, value = raw[end : match.start()], _value(match[0])
        at.append(length + len(plain))
        pieces += [plain, value]
        length += len(plain) + len(value)
        end = match.end()
    starts = tuple(match.start() for match in escapes)
    return _Escapes(raw, "".join([*pieces, raw[end:]]), tuple(match[0] for match in escapes), starts, tuple(at))


def _value(escape: str) -> str:
    return str(json.loads(f'"{escape}"')) if _VALID.match(escape) else escape


def _control(read: _Escapes) -> list[int]:
    """Positions of the control characters that were written as a backslash and a letter."""
    return [
        at for at, escape in zip(read.at, read.written, strict=True) if len(escape) == 2 and read.text[at] in CONTROL
    ]


def _style(read: _Escapes) -> Style:
    escapes = list(zip(read.at, read.written, strict=True))
    style = style_of(read.text, _control(read), [at for at, escape in escapes if escape == _ESCAPED])
    invalid = [(at, escape) for at, escape in escapes if not _VALID.match(escape)]
    single = sum(escape[1:] in _LATEX_MARKS or is_command(read.text, at) for at, escape in invalid)
    return style + Style(single, len(_ESCAPED_ROW.findall(read.raw)))


def _decoded(read: _Escapes, style: Style, *, doubled: bool) -> DecodedString:
    kept = {*command_places(read.text, _control(read), style), *_kept(read, style, doubled=doubled)}
    pieces: list[str] = []
    starts: list[int] = []
    repairs, end = 0, 0
    for start, at, escape in zip(read.starts, read.at, read.written, strict=True):
        value = "'" if escape == r"\'" else escape if at in kept else _value(escape)
        pieces += [read.raw[end:start], value]
        starts += [*range(end, start), *range(start, start + len(value))]
        repairs += at in kept or not _VALID.match(escape)
        end = start + len(escape)
    valid = all(map(_VALID.match, read.written))
    text = "".join([*pieces, read.raw[end:]])
    places = np.array([*starts, *range(end, len(read.raw))], dtype=np.int64)
    return DecodedString(text, places, repairs, read.text if valid else None)


def _kept(read: _Escapes, style: Style, *, doubled: bool) -> Iterator[int]:
    """Positions of other escapes that stand for themselves: ends of rows, and the ``\\b`` of regular expressions.

    Answers contain no backspaces, form feeds or lone carriage returns: next to unescaped backslashes these are commands
    that ``latex_names`` lacks, or regular expressions.
    """
    depth, marks = 0, deque((match.start(), match[0][1:4] != "end") for match in _ENVIRONMENT.finditer(read.text))
    unescaped = not style.escaped and (style.single or not all(map(_VALID.match, read.written)))
    for at, escape in zip(read.at, read.written, strict=True):
        while marks and marks[0][0] < at:
            depth += 1 if marks.popleft()[1] else -1
        if escape in (r"\b", r"\f", r"\r"):
            if unescaped and not read.text.startswith("\r\n", at):
                yield at
        elif escape == _ESCAPED and style.single:
            ends_row = bool(_AFTER_ROW.match(read.text, at + 1))
            if (not style.escaped and (ends_row or depth > 0)) or (ends_row and depth > 0 and not doubled):
                yield at
