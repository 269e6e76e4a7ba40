"""Figures: written whole, the same each time, and readable without colour."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.colors
import pytest

from rbridge_tasks.charts.style import check_plot_path, new_figure, new_panels, save, series
from rbridge_traces.files import OutputError


def draw(path: Path) -> None:
    """A figure with three lines and a legend."""
    figure, axes = new_figure(5, 3)
    for index in range(3):
        axes.plot([1, 2, 3], [index, 2, 1], label=f"line {index}", **series(index))
    axes.set_xlabel("training tokens (billions)")
    axes.legend()
    save(figure, path)


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_the_same_numbers_give_the_same_file(tmp_path: Path, suffix: str, start: bytes) -> None:
    """No date, no random name: a figure under version control changes when its numbers do."""
    for name in ("a", "b"):
        draw(tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith(start)


def test_text_in_svg_is_text(tmp_path: Path) -> None:
    """Axis labels can be searched and read aloud."""
    draw(tmp_path / "a.svg")
    assert "training tokens (billions)" in (tmp_path / "a.svg").read_text()


def test_lines_differ_without_colour() -> None:
    """Each of the first six lines is a grey of its own dashes and marker."""
    looks = [series(index) for index in range(6)]
    assert len({str(look["linestyle"]) for look in looks}) == len({look["marker"] for look in looks}) == 6
    for look in looks:
        red, green, blue = matplotlib.colors.to_rgb(look["color"])
        assert red == green == blue < 0.6


def test_no_window_and_no_state() -> None:
    """Figures come and go without pyplot, which would keep them and might open a window."""
    before = "matplotlib.pyplot" in sys.modules
    figure, panels = new_panels(4, 4, rows=2, columns=3)
    assert len(panels) == 6
    assert len(figure.axes) == 6
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("name", ["a.pdf", "a", "svg"])
def test_other_formats_are_one_line(tmp_path: Path, name: str) -> None:
    """Told before the work, and again when saving; nothing is written."""
    with pytest.raises(OutputError, match=r"a figure is written as \.svg or \.png"):
        check_plot_path(name)
    with pytest.raises(OutputError):
        draw(tmp_path / name)
    assert not [*tmp_path.iterdir()]
