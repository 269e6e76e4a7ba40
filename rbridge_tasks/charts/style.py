"""The look that all figures share: colours with enough contrast, shapes that differ in black and white, fixed bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.visible_text import visible
from rbridge_traces.files import check_suffix, write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")

#: Colours by name, on a light and on a dark page. Figures are drawn in the light ones; ``inline_svg`` replaces each by
#: the CSS variable of its name. Text and lines reach a contrast of 4.5 to 1 with ``paper``.
PALETTE = {
    "paper": ("#fdfdfb", "#14171b"),
    "ink": ("#1a1e24", "#e6e8eb"),
    "soft": ("#565f6a", "#a5aeb8"),
    "rule": ("#d8dbdf", "#343a42"),
    "grid": ("#e6e7e3", "#272c33"),
    "rest": ("#a9b0b8", "#666f7a"),
    "k0": ("#0b57a4", "#74b4ff"),
    "k1": ("#ac3f0a", "#ff9d66"),
    "k2": ("#006e51", "#4fd0a3"),
    "k3": ("#873882", "#e49be0"),
    "k4": ("#745600", "#e3c14d"),
    "k5": ("#3f4752", "#c2cad3"),
}
PAPER, INK, SOFT, RULE, GRID, REST, *_COLOURS = (light for light, _ in PALETTE.values())
_DASHES = ("-", (0, (3.5, 2)), (0, (4, 1.5, 0.75, 1.5)), (0, (0.75, 2)), (0, (6, 1.5)), (0, (2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
LOOKS = len(_MARKERS)

_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a run may be named a$b$c
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": RULE,
    "xtick.labelcolor": SOFT,
    "ytick.color": RULE,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.3,
    "lines.markersize": 5.0,
    "lines.markeredgewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and edited
    "svg.hashsalt": "rbridge",
    "savefig.dpi": 200,
}
#: Charts of the report are drawn 360 points wide and scale with the page.
_PAGE = {"font.size": 12.5, "lines.linewidth": 2.0, "lines.markersize": 7.0, "xtick.major.pad": 5.0}


class ChartError(RBridgeError, ValueError):
    """There is nothing to draw, or more than a figure has room for."""


@contextmanager
def look(*, page: bool = False) -> Iterator[None]:
    """The style while a figure is drawn; also a decorator of functions that draw.

    Args:
        page: for a chart of the report.
    """
    from matplotlib import rc_context

    with rc_context(_STYLE | (_PAGE if page else {})):
        yield


def check_plot_path(path: str | Path) -> None:
    """Refuse a file that cannot be a figure; to be called before the work whose result it shows.

    Raises:
        OutputError: the suffix is neither ``.svg`` nor ``.png``.
    """
    check_suffix(path, SUFFIXES, "a figure")


def new_panels(width_in: float, height_in: float, *, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels, row by row. It belongs to no window and leaves no state behind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False)
    return figure, [*panels.flat]


def panel_grid(
    count: int, *, columns: int, width_in: float, height_in: float, margin_in: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels of one size, in rows of at most ``columns``."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, panels = new_panels(width_in * columns, height_in * rows + margin_in, rows=rows, columns=columns)
    for unused in panels[count:]:
        unused.set_visible(False)
    return figure, panels[:count]


def series(index: int | None) -> dict[str, Any]:
    """Colour, dash and marker of the nth line of a figure: ``axes.plot(x, y, **series(0))``; None is grey."""
    if index is None:
        return {"color": REST, "linestyle": "-", "marker": "o"}
    index %= LOOKS
    return {"color": _COLOURS[index], "linestyle": _DASHES[index], "marker": _MARKERS[index]}


def name_rows(axes: Axes, names: Iterable[str], *, most: int = 60, **text: Any) -> None:
    """Write names beside the rows 0, 1, ... of a panel. Axes write their labels anew as they draw: see ``rendered``.

    Args:
        axes: the panel.
        names: of the rows.
        most: characters of a name; beginning and end of a longer one, to leave room for the panel.
        text: properties of the texts.
    """
    half = (most - 1) // 2
    texts = [visible(name if len(name) <= most else f"{name[:half]}…{name[-half:]}") for name in names]
    axes.set_yticks(range(len(texts)), texts, **text)


def shared_legend(figure: Figure, *, columns: int = 2) -> None:
    """One legend below all panels; each label once."""
    entries = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        figure.legend([*entries.values()], [*entries], loc="outside lower center", ncols=columns)


def save(figure: Figure, path: str | Path | None) -> Figure:
    """Write a figure atomically as ``.svg`` or ``.png``, unless the path is None; and return it.

    Raises:
        OutputError: another suffix.
    """
    if path is not None:
        suffix = check_suffix(path, SUFFIXES, "a figure")
        write_file(path, rendered(figure, suffix[1:]))
    return figure


def rendered(figure: Figure, kind: str, *, salt: str = "rbridge") -> bytes:
    """The bytes of a figure as ``svg`` or ``png``, without a date; ``salt`` decides the ids in an SVG.

    Control characters are spelled out, which an SVG cannot hold: here in all texts but the labels of axes.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(visible(text.get_text()))
    buffer = io.BytesIO()
    with rc_context(_STYLE | {"svg.hashsalt": salt}), warnings.catch_warnings():
        if kind == "svg":  # the reader's fonts draw the text
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
