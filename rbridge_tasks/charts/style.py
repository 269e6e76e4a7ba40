"""The look that all figures share: readable in black and white, and the same bytes for the same numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_traces.files import check_suffix, write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")

_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "svg.hashsalt": "rbridge",
    "savefig.dpi": 200,
}

_GREYS = ("0.0", "0.35", "0.55", "0.0", "0.35", "0.55")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P")


def check_plot_path(path: str | Path) -> None:
    """Refuse a file that cannot be a figure; to be called before the work whose result it shows.

    Raises:
        OutputError: the suffix is neither ``.svg`` nor ``.png``.
    """
    check_suffix(path, SUFFIXES, "a figure")


def new_figure(width_in: float = 6.0, height_in: float = 4.0) -> tuple[Figure, Axes]:
    """An empty figure of one panel, in inches."""
    figure, panels = new_panels(width_in, height_in)
    return figure, panels[0]


def new_panels(width_in: float, height_in: float, *, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels, row by row. It belongs to no window and leaves no state behind."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False)
    return figure, [*panels.flat]


def series(index: int) -> dict[str, Any]:
    """Look of the nth line of a figure, told apart without colour: ``axes.plot(x, y, **series(0))``."""
    at = index % len(_GREYS)
    return {"color": _GREYS[at], "linestyle": _DASHES[at], "marker": _MARKERS[at]}


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure atomically as ``.svg`` or ``.png``.

    Raises:
        OutputError: another suffix.
    """
    from matplotlib import rc_context

    suffix = check_suffix(path, SUFFIXES, "a figure")
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)
    write_file(path, buffer.getvalue())
