"""What the page is built of: sections of charts and tables, as the templates take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rbridge_tasks.charts.chart_parts import Chart
from rbridge_tasks.report.cells import REASONS, Cell


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        caption: what it holds.
        columns: their names.
        rows: cells; the first ``headers`` of a row name it.
        headers: how many cells at the start of a row are its names.
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
        """Over how many rows the first cell of each reaches: 0 where the cell above holds the same name."""
        found = [1] * len(self.rows)
        if self.headers > 1:
            first = 0
            for at in range(1, len(self.rows)):
                if self.rows[at][0] == self.rows[first][0]:
                    found[first], found[at] = found[first] + 1, 0
                else:
                    first = at
        return found

    @property
    def reasons(self) -> dict[str, str]:
        """What the dashes mean, by letter."""
        letters = {cell.missing for row in self.rows for cell in row if cell.missing}
        return {letter: REASONS[letter] for letter in sorted(letters)}


@dataclass(frozen=True)
class Panel:
    """A chart and the table of its numbers."""

    title: str
    subtitle: str
    chart: Chart
    table: Table


@dataclass(frozen=True)
class Remark:
    """A sentence set apart: ``tone`` is ``good``, ``doubt`` or ``plain``."""

    label: str
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        lede: what it shows and how to read it, in plain words.
        remarks: what was found.
        panels, tables: the evidence.
        missing: one line on what would fill it; empty where it is filled.
        notes: what was left out, assumed or in doubt.
    """

    key: str
    title: str
    lede: str = ""
    remarks: Sequence[Remark] = ()
    panels: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    missing: str = ""
    notes: Sequence[str] = field(default=())
