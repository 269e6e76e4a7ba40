"""What the page is built of: cells, tables, charts and sections, as the templates take them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rbridge_tasks.charts.texts import MINUS, interval_text, number_text
from rbridge_tasks.tables.sizes import count_text

#: Why a cell is a dash, by the character that stands beside it.
REASONS = {
    "a": "one checkpoint only, so there is no change to show",
    "b": "no standard error: lm-eval gave none, or the table leaves it empty",
    "c": "not in the score table for this run",
    "d": "which way the metric runs is not known by its name",
    "e": "the table does not say how many items",
    "f": "params or training tokens are unknown",
    "g": "too few resamples or no standard errors, so no interval",
    "j": "fewer than two runs of one size end at the same tokens",
    "i": "the samples carry no such number for it",
    "k": "no size and length on the chart reaches it",
    "h": "the fit holds no accuracy of this run to carry on from, or no training tokens to fit to",
}


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: for people.
        value: the number as Python writes it; None for text and for what is missing.
        missing: a key of ``REASONS`` where there is no number.
    """

    text: str
    value: str | None = None
    missing: str | None = None


def dash(reason: str) -> Cell:
    """A missing number with its reason."""
    return Cell("–", None, reason)


def number(value: float, missing: str = "c") -> Cell:
    """A number of the score table, exact for machines.

    >>> number(-0.123456), number(float("nan"), "b")
    (Cell(text='−0.1235', value='-0.123456', missing=None), Cell(text='–', value=None, missing='b'))
    """
    return Cell(number_text(value), repr(float(value))) if math.isfinite(value) else dash(missing)


def rounded(value: float, form: str, missing: str, exact: str = ".6g") -> Cell:
    """A number in a format for people and one for machines.

    >>> rounded(-12.3456, ".1f", "h")
    Cell(text='−12.3', value='-12.3456', missing=None)
    """
    return Cell(f"{value:{form}}".replace("-", MINUS), f"{value:{exact}}") if math.isfinite(value) else dash(missing)


def change(value: float) -> Cell:
    """A difference of two numbers, with its sign."""
    return dash("a") if math.isnan(value) else Cell(number_text(value, sign=True), f"{value:.6g}")


def count(value: float) -> Cell:
    """A count of parameters or tokens as people write it."""
    return dash("f") if math.isnan(value) else Cell(count_text(value), f"{value:.17g}")


def whole(value: float) -> Cell:
    """A number of items."""
    return rounded(value, ",.0f", "e", ".0f")


def percent(value: float, missing: str = "h") -> Cell:
    """A number of per cent, with one decimal."""
    return rounded(value, ".1f", missing)


def token_number(value: float) -> Cell:
    """Nats, a confidence or a weight of a token; an infinite NLL is shown."""
    return dash("i") if math.isnan(value) else Cell(f"{value:.2f}".replace("-", MINUS), f"{value:.6g}")


def interval(low: float, high: float, missing: str, form: str = "") -> Cell:
    """Two ends of an interval, in a format or in four digits."""
    if not math.isfinite(low):
        return dash(missing)
    return Cell(f"{low:{form}} to {high:{form}}" if form else interval_text(low, high))


@dataclass(frozen=True)
class PageTable:
    """A table of the page.

    Attributes:
        caption: what it holds.
        columns: their names.
        rows: cells; the first ``headers`` of a row name it.
        headers: number of cells at the start of a row that name it.
        folded: the line behind which it is hidden; empty where it stands open.
        opened: unfolded at first.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    headers: int = 1
    folded: str = ""
    opened: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, and dashes for missing ones."""
        return [any(row[at].value is not None for row in self.rows) for at in range(len(self.columns))]

    @property
    def spans(self) -> list[int]:
        """Number of rows that the first cell of each row spans: 0 below a cell of the same name."""
        spans = [1] * len(self.rows)
        if self.headers > 1:
            first = 0
            for at in range(1, len(self.rows)):
                if self.rows[at][0] == self.rows[first][0]:
                    spans[first], spans[at] = spans[first] + 1, 0
                else:
                    first = at
        return spans

    @property
    def reasons(self) -> dict[str, str]:
        """Explanations of the dashes."""
        keys = {cell.missing for row in self.rows for cell in row if cell.missing}
        return {key: REASONS[key] for key in sorted(keys)}


@dataclass(frozen=True)
class Panel:
    """A chart as SVG and the table of its numbers."""

    title: str
    subtitle: str
    chart: str
    table: PageTable


@dataclass(frozen=True)
class Remark:
    """A sentence set apart: ``tone`` is ``good``, ``doubt`` or ``plain``."""

    label: str
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class PageSection:
    """A section of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        lede: what it shows and how to read it, in plain words.
        remarks: results in words.
        panels, tables: the evidence.
        missing: one line on what would fill it; empty where it is filled.
        notes: what was left out, assumed or in doubt.
    """

    key: str
    title: str
    lede: str = ""
    remarks: Sequence[Remark] = ()
    panels: Sequence[Panel] = ()
    tables: Sequence[PageTable] = ()
    missing: str = ""
    notes: Sequence[str] = ()
