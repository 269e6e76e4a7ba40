"""Figures: reproducible files, text, contrast, and lines that differ without colour."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.colors
import numpy as np
import pytest

from rbridge_tasks.charts.style import PALETTE, check_plot_path, name_rows, new_panels, save, series
from rbridge_traces.files import OutputError


def draw(path: Path) -> None:
    """A figure with three lines and a legend."""
    figure, (axes,) = new_panels(5, 3)
    for index in range(3):
        axes.plot([1, 2, 3], [index, 2, 1], label=f"line {index}", **series(index))
    axes.set_xlabel("training tokens (billions)")
    axes.legend()
    save(figure, path)


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_the_same_numbers_give_the_same_file(tmp_path: Path, suffix: str, start: bytes) -> None:
    """No date and no random name: a figure under version control changes only with its numbers."""
    for name in ("a", "b"):
        draw(tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith(start)


def test_text_in_svg_is_text(tmp_path: Path) -> None:
    """Axis labels can be searched and read by screen readers."""
    draw(tmp_path / "a.svg")
    assert "training tokens (billions)" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(("named", "most"), [(1, 60), (2, 45)])
def test_long_names_leave_room_for_the_figure(tmp_path: Path, named: int, most: int) -> None:
    """Runs that differ at their ends stay apart, and both panels are drawn; matplotlib would warn otherwise."""
    figure, panels = new_panels(8, 2, columns=2)
    for axes in panels[:named]:
        name_rows(axes, ["x" * 300 + "1", "x" * 300 + "2"], most=most)
    save(figure, tmp_path / "a.svg")
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert (len({*labels}), max(map(len, labels))) == (2, (most - 1) // 2 * 2 + 1)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_lines_differ_without_colour() -> None:
    """Each of the first six lines has its own dashes and marker."""
    looks = [series(index) for index in range(6)]
    assert len({str(look["linestyle"]) for look in looks}) == len({look["marker"] for look in looks}) == 6


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "soft", *(f"k{index}" for index in range(6))])
def test_text_and_lines_have_contrast(name: str, scheme: int) -> None:
    """At least 4.5 to 1 on the light and the dark page."""
    dark, light = sorted(luminance(PALETTE[key][scheme]) for key in (name, "paper"))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_figures_do_not_use_pyplot() -> None:
    """Pyplot would keep figures in memory and might open a window."""
    before = "matplotlib.pyplot" in sys.modules
    figure, panels = new_panels(4, 4, rows=2, columns=3)
    assert len(panels) == 6
    assert len(figure.axes) == 6
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("name", ["a.pdf", "a", "svg"])
def test_other_formats_are_one_line(tmp_path: Path, name: str) -> None:
    """They are refused before the work and again when saving; nothing is written."""
    with pytest.raises(OutputError, match=r"a figure is written as \.svg or \.png"):
        check_plot_path(name)
    with pytest.raises(OutputError):
        draw(tmp_path / name)
    assert not [*tmp_path.iterdir()]
