"""The colour scale has enough contrast in every terminal, and control characters in a text have no effect."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from rich.color import Color, ColorSystem

from rbridge_tasks.cli.shades import shade
from rbridge_tasks.visible_text import visible

from ..metrics.strategies import cases, texts


def luminance(colour: Color) -> float:
    """Relative luminance by WCAG 2."""
    parts = [part / 255 for part in colour.get_truecolor()]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("system", "contrast"), [(ColorSystem.TRUECOLOR, 4.5), (ColorSystem.EIGHT_BIT, 4.5), (ColorSystem.STANDARD, 3.0)]
)
def test_every_shade_is_readable_and_lightness_increases(system: ColorSystem, contrast: float) -> None:
    """Text on each shade has the contrast that WCAG requires; lightness alone, without hue, shows the order."""
    steps = []
    for tenth in range(10):
        style = shade(tenth / 10 + 0.05)
        assert style.color is not None
        assert style.bgcolor is not None
        front, back = (luminance(colour.downgrade(system)) for colour in (style.color, style.bgcolor))
        assert (max(front, back) + 0.05) / (min(front, back) + 0.05) >= contrast
        steps.append(back)
    assert steps == sorted(steps)
    assert len(set(steps)) >= (4 if system is ColorSystem.STANDARD else 10)


@cases(100)
@given(texts())
def test_visible_text_replaces_only_control_characters(text: str) -> None:
    """Printable characters are unchanged; control characters are written out."""
    shown = visible(text)
    assert not any(
        (ord(character) < 32 and character not in "\n\t") or 127 <= ord(character) < 160 for character in shown
    )
    if not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text):
        assert shown == text
