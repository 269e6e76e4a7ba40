"""Find the control characters of a text that stand where a LaTeX command was meant.

A model that writes ``"\\frac{1}{2} \\neq \\nu"`` into a JSON string with single backslashes has written valid JSON:
form feed and ``rac``, line break and ``eq``, line break and ``u``. A control character is read as the beginning of a
command where it and the letters after it spell a command name up to the next character that is not a letter, and

- the letters alone are no word that a line begins with, as ``rac`` and ``abla`` (*certain*), or
- they may be one, as ``u`` or ``mid`` (*ambiguous*), and the place decides: the formula or sentence goes on there, and
  the text does not escape its other backslashes as JSON wants it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from rbridge_traces.latex_names import CONTROL_NAMES, NAME, NAMES

CONTROL = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
"""Control characters that JSON writes as a backslash and a letter, and that letter."""

# Rests of command names that also begin lines of prose, formulas or programs: "e = 2", "mid = 3", "an example".
_AMBIGUOUS = {
    "\n": {"cong", "e", "eg", "exists", "geq", "i", "leftarrow", "leq", "less", "mid", "parallel", "prec", "rightarrow"}
    | {"sim", "succ", "u", "um"},
    "\t": {"ag", "an", "binom", "ext", "frac", "iny", "itle", "o", "op", "r", "t"},
}
_RELATIONS = ("cong ", "e ", "geq ", "leq ", "less ", "mid ", "parallel ", "prec ", "sim ", "succ ")
_ARGUMENT = re.compile(r" ?[{\\^]")  # what follows a command and no word of prose
_ASSIGNED = re.compile(r"\s*=(?!=)")  # what follows the name of a variable
_USED = re.compile(r"\s*=(?!=)|[.(\[]")  # likewise, and what follows that of an object or a function
_OPERATORS = frozenset("({[=+-*/<>|^_&~,")
_SENTENCE_ENDS = frozenset(".:;!?")
_MATH = re.compile(
    r"\$\$.+?\$\$|(?<!\\)\$(?:[^$\n]|\n(?!\s*\n))+\$|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|(?:\\b|[\b])egin\{(align|aligned|array|cases|equation|gather|multline|[bpvV]?matrix)\*?\}.+?(?:\\end\{\1|\Z)",
    re.DOTALL,
)
_LINE_STARTS = re.compile(r"(?:\A|[\n\r\\]|(?:\\b|[\b])egin\{\w+\*?\}(?:\{[^{}]*\})?)\Z")
_OPENED = ("$$", "\\[")  # begins a formula on lines of its own
_FACTOR = re.compile(r"(?:(?<![^\W\d_])[^\W\d_]|\d|(?<!\\)[)\]}|'])\Z")  # what a formula is made of, and no word


@dataclass(frozen=True)
class Style:
    """How a text writes its backslashes elsewhere.

    Attributes:
        single: places where a backslash was certainly not escaped.
        escaped: commands whose backslash was escaped.
    """

    single: int = 0
    escaped: int = 0

    def __add__(self, more: Style) -> Style:
        return Style(self.single + more.single, self.escaped + more.escaped)


def command_name(text: str, at: int) -> str | None:
    r"""The command name that a control character and the letters after it spell, if any.

    >>> command_name("3 \neq 4", 2), command_name("Add.\nNow", 4)
    ('neq', None)
    """
    first = CONTROL.get(text[at])
    rest = NAME.match(text, at + 1)
    name = first + rest[0] if first and rest else ""
    return name if name in CONTROL_NAMES else None


def is_certain(text: str, at: int, name: str) -> bool:
    """Whether this control character and these letters are always a command."""
    after, rest = at + len(name), name[1:]
    if rest in _AMBIGUOUS.get(text[at], ()):
        number = rest == "frac" and text[after : after + 1].isdigit()
        return (text[at] == "\t" or rest == "um") and (number or bool(_ARGUMENT.match(text, after)))
    return not (rest == "eq" and _ASSIGNED.match(text, after))


def style_of(text: str, candidates: Iterable[int], backslashes: Iterable[int]) -> Style:
    """How a text writes its backslashes.

    Args:
        text: with its control characters.
        candidates: places of control characters in it that may be the beginning of a command.
        backslashes: places of its escaped backslashes.
    """
    single = sum((name := command_name(text, at)) is not None and is_certain(text, at, name) for at in candidates)
    return Style(single, sum(is_command(text, at) for at in backslashes))


def is_command(text: str, at: int) -> bool:
    """Whether a backslash and the letters after it are a common command of two letters or more."""
    name = NAME.match(text, at + 1)
    return name is not None and name[0] in NAMES


def command_places(text: str, candidates: Iterable[int], style: Style) -> list[int]:
    r"""The control characters of a text that are the beginning of a LaTeX command.

    Args:
        text: with its control characters.
        candidates: places of control characters in it, ascending.
        style: of this text and of what was written together with it.

    >>> text = "First add.\nNow 3 \neq 4.\nu is \nu, 2 \times 3."
    >>> places = [at for at, character in enumerate(text) if character in CONTROL]
    >>> [text[at + 1 : at + 5] for at in command_places(text, places, style_of(text, places, []))]
    ['eq 4', 'u, 2', 'imes']
    """
    named = [(at, name) for at in candidates if (name := command_name(text, at)) is not None]
    if not named:
        return []
    math = [match.span() for match in _MATH.finditer(text)]
    return [at for at, name in named if is_certain(text, at, name) or _is_meant(text, at, name, style, math)]


def _is_meant(text: str, at: int, name: str, style: Style, math: list[tuple[int, int]]) -> bool:
    """Whether an ambiguous name is a command at this position."""
    if style.escaped and not style.single:  # a tab within a formula is none, a line break may be one
        start, end = _formula_around(at, math)
        return text[at] == "\t" and start < at < end and text[at - 1] not in "\n\t"
    rest, follows = name[1:], text[at + len(name) : at + len(name) + 1]
    if at == 0:  # no text begins with a relation
        return rest == "u" or not (rest == "i" or f"{rest} " in _RELATIONS or _ASSIGNED.match(text, len(name)))
    if text[at] == "\t":
        indents = text[at - 1] in "\n\t"
        return bool(style.single) if indents else follows != "\t" and _goes_on(text, at, style, math)
    if rest == "i" and not text[at - 1 : at] == follows == " ":
        return False
    if rest == "e" and follows in ("^", "=", ".", ")"):
        return False
    if follows.isdigit() or (rest != "u" and _USED.match(text, at + len(name))):
        return False
    return _goes_on(text, at, style, math)


def _goes_on(text: str, at: int, style: Style, math: list[tuple[int, int]]) -> bool:
    """Whether the sentence or formula before a position continues there."""
    before = text[max(0, at - 80) : at].rstrip(" \u00a0")
    spaced = at > 0 and text[at - 1] in " \u00a0"
    start, end = _formula_around(at, math)
    inside = start < at < end
    if before.endswith(_OPENED):
        return inside and text[end - 3] != "\n"
    if inside and before.endswith("\n"):
        return True  # LaTeX allows no empty line in a formula
    if _LINE_STARTS.search(before):
        return spaced and bool(before) and bool(style.single)  # no line holds nothing but its indentation
    if before[-1] in _SENTENCE_ENDS:
        return spaced and bool(style.single)
    if inside or spaced or before[-1] in _OPERATORS:
        return True
    return (bool(style.single) or text.startswith(_RELATIONS, at + 1)) and bool(_FACTOR.search(before))


def _formula_around(at: int, math: list[tuple[int, int]]) -> tuple[int, int]:
    """Start and end of the last formula that begins before a position."""
    nearest = bisect_right(math, (at, 0)) - 1
    return math[nearest] if nearest >= 0 else (0, 0)
