"""Charts of the page: inline SVG in the page's colours, labels that do not overlap, names as text."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.charts.intervals import IntervalRow
from rbridge_tasks.charts.lines import Series
from rbridge_tasks.charts.page_charts import apart, interval_chart, line_chart

HOSTILE = "a$\x07$ _x & <script>alert(1)</script> 한국어 \x07"


def line(name: str, points: int, look: int | None = 0) -> Series:
    """A falling line of ``points`` checkpoints, without an interval at the last."""
    tokens = np.linspace(1e9, 5e9, points)
    value = 1 / tokens**0.1
    error = np.full(points, 0.01)
    error[-1] = math.nan
    return Series(name, look, tokens, value, value - error, value + error)


def chart(*lines: Series, key: str = "c") -> str:
    """A line chart with a title."""
    return line_chart(key, lines, title="Score & tokens", description="It falls.")


@given(st.lists(st.floats(0.0, 200.0), min_size=1, max_size=8))
def test_labels_keep_their_order_and_distance(wanted: list[float]) -> None:
    """Labels are at least 15 points apart and inside the range; labels that are far enough apart do not move."""
    places = apart(wanted, 15.0, 0.0, 200.0)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    assert all(places[b] - places[a] >= 15 - 1e-9 for a, b in itertools.pairwise(order))
    assert min(places) >= -1e-9
    assert max(places) <= 200 + 1e-9
    if (np.diff(sorted(wanted)) >= 15).all():
        assert places == pytest.approx(wanted)


def test_a_chart_takes_colours_and_font_from_the_page() -> None:
    """Colours are CSS variables; the element has no font, style sheet, size or address."""
    svg = chart(line("web", 4), line("grey", 4, None))
    assert "var(--k0)" in svg
    assert "var(--rest)" in svg
    assert not re.search(r"#[0-9a-f]{6}|font-family|font-size|<style|url\(|http| width=", svg)


def test_ids_of_two_charts_differ() -> None:
    """Every id begins with the key of its chart, and every reference has a target."""
    both = [chart(line("web", 4), key=key) for key in ("one", "two")]
    for key, svg in zip(("one", "two"), both, strict=True):
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(set(ids)) == len(ids)
        assert all(name.startswith(f"{key}-") for name in ids)
        assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(ids)


def test_two_lines_of_one_name_keep_their_tips() -> None:
    """Sizes of 1.2B and 1.2001B parameters have the same name; each point has the tip of its line."""
    root = ElementTree.fromstring(chart(line("web 1.2B", 3), line("web 1.2B", 3, 1)))  # noqa: S314
    assert sum(mark.find("title") is not None for mark in root.iter("use")) == 6


@pytest.mark.parametrize("points", [3, 40])
def test_every_point_has_a_tip(points: int) -> None:
    """It has tokens, value and interval; with many points the marks are hidden until the pointer is over them."""
    root = ElementTree.fromstring(chart(line("web", points)))  # noqa: S314
    tips = [mark.findtext("title") for mark in root.iter("use") if mark.find("title") is not None]
    assert len(tips) == points
    assert re.fullmatch(r"web, 1B tokens: 0\.1259 \(0\.1159 to 0\.1359\)", tips[0] or "")
    assert re.fullmatch(r"web, 5B tokens: 0\.\d+", tips[-1] or "")
    assert ('class="hidden"' in chart(line("web", points))) == (points > 16)


def test_hostile_names_are_text() -> None:
    """Dollar signs, tags, control characters and characters without a glyph are rendered as text."""
    rows = [IntervalRow(HOSTILE, 1.0, 0.9, 1.1), IntervalRow("_hidden", 2.0)]
    for svg in (chart(line(HOSTILE, 3)), interval_chart("i", rows, title="", description="", x_name=HOSTILE)):
        root = ElementTree.fromstring(svg)  # noqa: S314
        assert not [*root.iter("script")]
        assert any((text.text or "").startswith("a$\\x07$ _x & ") for text in root.iter("text"))
