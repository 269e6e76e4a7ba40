"""A wide CSV file: a row for each run, model and number of tokens, a column for each metric and its standard error."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rbridge_tasks.dashboards.histories import DashboardError, stderr_name
from rbridge_tasks.dashboards.log import Logged
from rbridge_tasks.tables.score_table import read_table
from rbridge_tasks.tables.sizes import count_text
from rbridge_traces.files import check_suffix, exists, write_file

_KEY = ("run", "model", "params", "tokens")
_Key = tuple[str, str, float | None, float | None]


def log_csv(table: pd.DataFrame, path: str | Path, *, replace: bool = False) -> Logged:
    """Add a checked score table to a wide CSV file. The new file replaces the old one in one step.

    Args:
        table: scores, with tokens or without.
        path: the file; created if it does not exist.
        replace: overwrite numbers in the file that differ from the table; by default they stay and are listed.

    Raises:
        DashboardError: the file exists and is no such table.
        ScoreTableError: it cannot be read.
        OutputError: its suffix is not ``.csv``.
    """
    check_suffix(path, (".csv",), "a wide table")
    done = Logged(f"wide table {path}")
    rows, columns = _read(Path(path))
    for key, name, value in _values(table):
        cells = rows.setdefault(key, {})
        columns.setdefault(name)
        if name not in cells:
            done.added += 1
            cells[name] = value
        elif cells[name] == value:
            done.known += 1
        else:
            tokens = "?" if key[3] is None else count_text(key[3])
            done.changed.append(
                f"{name} of {key[1] or key[0]} at {tokens} tokens: {cells[name]:.6g} there, {value:.6g} here"
            )
            if replace:
                cells[name] = value
                done.replaced.append(key[0])
    done.runs = sorted({key[0] for key in rows})
    done.replaced = sorted(set(done.replaced))
    if done.added or done.replaced:
        order = sorted(rows, key=lambda key: (key[0], _sortable(key[2]), _sortable(key[3]), key[1]))
        cells_of = [[*key, *(rows[key].get(name) for name in columns)] for key in order]
        frame = pd.DataFrame(cells_of, columns=[*_KEY, *columns])
        buffer = io.BytesIO()
        frame.to_csv(buffer, index=False)
        write_file(path, buffer.getvalue())
    return done


def _values(table: pd.DataFrame) -> Iterator[tuple[_Key, str, float]]:
    for row in table.itertuples(index=False):
        key = (row.run, row.model, _known(row.params), _known(row.tokens))
        yield key, f"{row.benchmark}/{row.metric}", row.value
        if not math.isnan(row.stderr):
            yield key, stderr_name(row.benchmark, row.metric), row.stderr


def _read(path: Path) -> tuple[dict[_Key, dict[str, float]], dict[str, None]]:
    """Cells of the file by row, and its columns in their order."""
    if not exists(path):
        return {}, {}
    frame = read_table(path, text=("run", "model"))
    columns = [name for name in frame.columns if name not in _KEY]
    wrong = [name for name in columns if not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()]
    if list(frame.columns[: len(_KEY)]) != [*_KEY] or wrong or not all("/" in name for name in columns):
        raise DashboardError(
            f"{path} is no wide table of rbridge log ({', '.join(_KEY)}, then benchmark/metric); give another file"
        )
    rows: dict[_Key, dict[str, float]] = {}
    for run, model, params, tokens, *cells in frame.itertuples(index=False, name=None):
        present = {name: float(cell) for name, cell in zip(columns, cells, strict=True) if not pd.isna(cell)}
        rows[run, model, _known(params), _known(tokens)] = present
    return rows, dict.fromkeys(columns)


def _known(number: float) -> float | None:
    return None if pd.isna(number) else float(number)


def _sortable(number: float | None) -> float:
    return math.inf if number is None else number
