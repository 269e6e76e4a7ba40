"""``--runs FILE``: run names, sizes and tokens that the user knows and names do not contain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rbridge_tasks.tables.evaluated_model import Model
from rbridge_tasks.tables.run_names import count
from rbridge_tasks.tables.score_table import ScoreTableError, read_table

KEYS = ("model", "path", "run")
_NUMBERS = ("params", "tokens", "tokens_per_step")
_KNOWN = (*KEYS, *_NUMBERS)


@dataclass(frozen=True)
class Known:
    """Facts on a checkpoint from the table; None where it has none."""

    run: str | None = None
    params: float | None = None
    tokens: float | None = None
    tokens_per_step: float | None = None


class RunsTable:
    """A table of facts by key. A row's key is its ``model``, else its ``path``, else its ``run``.

    Args:
        path: a table with at least one of the columns ``model``, ``path`` and ``run``, and any of ``run``, ``params``,
            ``tokens`` and ``tokens_per_step``. Numbers may be written as ``97.9M``.

    Raises:
        ScoreTableError: it cannot be read, has no key or no facts, holds a key twice, or a cell is no number.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._used: set[tuple[str, str]] = set()
        frame = read_table(path, text=_KNOWN)
        columns = [column for column in _KNOWN if column in frame.columns]
        keys = [column for column in KEYS if column in columns]
        if not keys or len(columns) < 2:
            raise ScoreTableError(
                f"{path} has the columns {', '.join(map(str, frame.columns)) or 'none'}; a table of runs needs a key "
                f"({', '.join(KEYS)}) and something known of it (run, {', '.join(_NUMBERS)})"
            )
        for number, cells in enumerate(frame[columns].itertuples(index=False, name=None), start=1):
            texts = {
                column: str(cell).strip() for column, cell in zip(columns, cells, strict=True) if not pd.isna(cell)
            }
            self._add(number, {column: text for column, text in texts.items() if text})

    def known(self, model: Model, file: Path, run: str) -> Known:
        """The facts on the model that a results file evaluated. For each fact the closest key wins.

        Args:
            model: what was evaluated.
            file: the results file.
            run: the run from the names.
        """
        keys = [key for key in _keys_of(model, file, run) if key in self._known]
        self._used.update(keys)
        facts: dict[str, Any] = {}
        for key in keys:
            facts = self._known[key] | facts
        return Known(**facts)

    def unused(self) -> list[str]:
        """Keys that no result matched, usually misspelled names."""
        return [key for kind, key in self._known if (kind, key) not in self._used]

    def _add(self, number: int, row: dict[str, str]) -> None:
        """Keep the facts of a row; ``row`` holds no empty cells."""
        kind = next((key for key in KEYS if key in row), None)
        if kind is None:
            raise ScoreTableError(f"row {number} of {self._path} has no key; fill in model, path or run")
        key = (kind, str(Path(row[kind]).absolute()) if kind == "path" else row[kind])
        if key in self._known:
            raise ScoreTableError(f"{self._path} has the {kind} {row[kind]!r} twice, again in row {number}; keep one")
        facts = {name: self._number(number, name, row[name]) for name in _NUMBERS if name in row}
        self._known[key] = facts | ({"run": row["run"]} if "run" in row else {})

    def _number(self, number: int, name: str, cell: str) -> float:
        try:
            value = count(cell)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf or (value == 0 and name != "tokens"):
            raise ScoreTableError(
                f"row {number} of {self._path} has {name} {cell!r}; write a positive count, such as 97.9M, or "
                "leave it empty"
            )
        return value


def _keys_of(model: Model, file: Path, run: str) -> Iterator[tuple[str, str]]:
    """Keys of a checkpoint, the closest first."""
    yield "model", model.label
    yield "model", model.label.partition("@")[0]
    yield "model", model.name
    yield "path", str(Path(model.name).absolute())
    path = file.absolute()
    for place in (path, *path.parents):
        yield "path", str(place)
    yield "run", run
