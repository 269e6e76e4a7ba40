"""Numbers from 0 to 1 as background colours in a terminal, and text that a terminal shows but never obeys."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.style import Style
    from rich.text import Text

#: The colour map "cividis" in ten steps, dark blue to yellow: ever lighter, also in grey and to colour-blind eyes.
BACKGROUNDS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip
_FIRST_LIGHT = 5

_TURNS_TEXT = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shade(value: float) -> Style:
    """The style of a value in [0, 1]. It brings both colours, so that it reads on light and dark terminals alike."""
    from rich.style import Style

    step = min(int(value * len(BACKGROUNDS)), len(BACKGROUNDS) - 1)
    return Style(color="#ffffff" if step < _FIRST_LIGHT else "#000000", bgcolor=BACKGROUNDS[step])


def scale() -> Text:
    """All shades side by side, each with the value that it begins at."""
    from rich.text import Text

    text = Text()
    for step in range(len(BACKGROUNDS)):
        start = step / len(BACKGROUNDS)
        text.append(f" {start:.1f} ", style=shade(start + 0.5 / len(BACKGROUNDS)))
    return text.append(" 1.0")


def visible(text: str) -> str:
    r"""A text in which control characters are spelled out, so that printing it does nothing but print.

    Line ends and tabs stay. What turns the direction of writing is spelled out too.

    >>> print(visible("a\x1b[31mb\r\u202e c"))
    a\x1b[31mb\x0d\u202e c
    """
    return "".join(map(_spelled, text))


def _spelled(letter: str) -> str:
    if letter in "\n\t" or (unicodedata.category(letter) != "Cc" and letter not in _TURNS_TEXT):
        return letter
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"
