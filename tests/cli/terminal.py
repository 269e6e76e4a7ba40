"""What a terminal makes of a command's output."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from rbridge_tasks.cli.shades import BACKGROUNDS

IN_COLOUR = {"FORCE_COLOR": "1", "COLORTERM": "truecolor"}


def letters(output: str) -> Iterator[tuple[str, str | None, bool]]:
    """Each letter a terminal would show, with its background as #rrggbb and whether it is underlined."""
    background, underlined = None, False
    for escape, letter in re.findall(r"\x1b\[([\d;]*)m|([\s\S])", output):
        if letter:
            yield letter, background, underlined
            continue
        background = None
        codes = re.sub(r"38;2;\d+;\d+;\d+;?", "", escape)
        if found := re.search(r"48;2;(\d+);(\d+);(\d+)", codes):
            background = "#" + "".join(f"{int(part):02x}" for part in found.groups())
        underlined = codes.startswith("4;") or codes == "4"


def shown_trace(output: str, text: str) -> list[tuple[str, str | None, bool]]:
    """The letters of the trace in the output."""
    found = list(letters(output))
    start = "".join(letter for letter, _, _ in found).index(text)
    return found[start : start + len(text)]


def shade_of(value: float) -> str:
    """The scale in words: ten equal steps, the last one with its upper end."""
    return BACKGROUNDS[min(math.floor(value * 10), 9)]


def table_of(output: str) -> list[list[str]]:
    """The cells of each line of a table; the token last."""
    head, *lines = output.splitlines()
    return [line.split(None, head.split().index("token")) for line in lines]
