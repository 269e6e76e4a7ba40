"""Text that is safe to show on a terminal or a page, and short enough."""

from __future__ import annotations

import unicodedata

_TURNS_TEXT = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    r"""Spell out the control characters of a text, so that printing it cannot change the terminal.

    Line ends and tabs stay. What turns the direction of writing is spelled out too.

    >>> print(visible("a\x1b[31mb\r\u202e c"))
    a\x1b[31mb\x0d\u202e c
    """
    return "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _TURNS_TEXT):
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def shortened(text: str, most: int) -> str:
    """A text of at most ``most`` characters, with an ellipsis for the rest.

    >>> shortened("rbridge_nll", 20), shortened("rbridge_nll", 10)
    ('rbridge_nll', 'rbridge...')
    """
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def encodable(text: str) -> str:
    r"""A text that UTF-8 can encode: lone surrogates, which JSON may contain, are spelled out.

    >>> print(encodable("a\ud800"))
    a\ud800
    """
    return text.encode("utf-8", "backslashreplace").decode()
