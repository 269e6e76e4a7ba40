"""Numbers from 0 to 1 as background colours in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.style import Style
    from rich.text import Text

#: The colour map "cividis" in ten steps, dark blue to yellow: ever lighter, also in grey and to colour-blind eyes.
BACKGROUNDS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip
_FIRST_LIGHT = 5


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
