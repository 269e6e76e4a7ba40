"""Read a command's output as a terminal shows it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from rbridge_tasks.cli.shades import BACKGROUNDS

IN_COLOUR = {"FORCE_COLOR": "1", "COLORTERM": "truecolor"}


def shown_characters(output: str) -> Iterator[tuple[str, str | None, bool]]:
    """Yield each character a terminal shows, its background as #rrggbb and whether it is underlined."""
    background, underlined = None, False
    for escape, character in re.findall(r"\x1b\[([\d;]*)m|([\s\S])", output):
        if character:
            yield character, background, underlined
            continue
        background = None
        codes = re.sub(r"38;2;\d+;\d+;\d+;?", "", escape)
        if background_code := re.search(r"48;2;(\d+);(\d+);(\d+)", codes):
            background = "#" + "".join(f"{int(part):02x}" for part in background_code.groups())
        underlined = codes.startswith("4;") or codes == "4"


def shown_trace(output: str, text: str) -> list[tuple[str, str | None, bool]]:
    """Return the characters of the trace in the output."""
    shown = list(shown_characters(output))
    start = "".join(character for character, _, _ in shown).index(text)
    return shown[start : start + len(text)]


def shade_of(value: float) -> str:
    """Return the background of a value: ten equal steps over [0, 1], the last one closed."""
    return BACKGROUNDS[min(math.floor(value * 10), 9)]


def table_of(output: str) -> list[list[str]]:
    """Return the cells of each line of a table; the token is the last cell."""
    head, *lines = output.splitlines()
    return [line.split(None, head.split().index("token")) for line in lines]
