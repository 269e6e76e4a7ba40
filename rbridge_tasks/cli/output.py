"""Output of commands: tables for people, JSON for machines, one-line notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from rbridge_tasks.visible_text import encodable, visible
from rbridge_traces.files import plain

if TYPE_CHECKING:
    from rich.console import Console

    from rbridge_tasks.decisions.decision import Decision

_EMPTY = ("", "-", "?", "...")
#: A table with more rows is printed as its first and last ones.
LONG, HEAD, TAIL = 30, 20, 5


def check_outputs(what: str = "", *, table: str | None = None, plot: str | None = None) -> None:
    """Refuse output files of the wrong suffix, before any work; ``what`` is the content of the table, for the error.

    Raises:
        OutputError: the table is neither ``.csv`` nor ``.parquet``, or the figure neither ``.svg`` nor ``.png``.
    """
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.tables.score_table import WRITTEN
    from rbridge_traces.files import check_suffix

    if table is not None:
        check_suffix(table, WRITTEN, what)
    if plot is not None:
        check_plot_path(plot)


def deliver(
    result: Decision,
    show: Callable[[Any], None],
    *,
    as_json: bool,
    table: str | None = None,
    plot: str | None = None,
) -> None:
    """Write the table and the figure of a result, then print it: as JSON, or by ``show`` and its notes on stderr.

    ``check_outputs`` has accepted the files.
    """
    if table:
        from rbridge_tasks.tables.score_table import write_table

        write_table(result.to_frame(), table, "a table")
    if plot:
        result.plot(plot)
    if as_json:
        print_json(result.to_dict())
        return
    show(result)
    for text in getattr(result, "notes", ()):  # a plan has none
        note(text)


def console() -> Console:
    """A console as wide as the terminal; 200 columns where the output is not a terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers are aligned to the right. Control characters in it are spelled out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(title)) if title else None, title_justify="left")
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(encodable(cell))) for cell in row))
    console().print(table)


def shortened(rows: Sequence[Sequence[str]], *, whole: bool) -> tuple[list[Sequence[str]], int]:
    """The first and the last rows of a long table, with a row of dots between them, and the number of rows hidden.

    Args:
        rows: of the table.
        whole: keep them all, as tables of up to ``LONG`` rows are.
    """
    if whole or len(rows) <= LONG:
        return [*rows], 0
    return [*rows[:HEAD], ["..."] * len(rows[0]), *rows[-TAIL:]], len(rows) - HEAD - TAIL


def print_json(payload: object) -> None:
    """Print a value as JSON, with ``null`` for NaN and infinities; NumPy's numbers and arrays are taken as they are."""
    typer.echo(json.dumps(plain(payload), indent=2, allow_nan=False))


def say(text: str) -> None:
    """Print a text; control characters in names that it quotes are spelled out."""
    typer.echo(visible(text))


def note(text: str) -> None:
    """Print one line on stderr: what was left out, assumed or in doubt."""
    typer.echo(visible(" ".join(text.split())), err=True)


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, or stands for one, also with a unit or an error: ``1.3 ± 0.2``, ``25 %``."""
    try:
        return cell in _EMPTY or [float(word) for word in cell.replace("%", "").replace("±", " ").split()] != []
    except ValueError:
        return False
