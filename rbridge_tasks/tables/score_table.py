"""Score tables: what ``rbridge collect`` writes and every later command reads. One row is one number.

Columns:
    run: what was trained: a training run or candidate data set, the same name for every size and checkpoint of it.
    model: the checkpoint, as lm-eval was given it.
    params: parameters of the model (a count), NaN where unknown.
    tokens: tokens it was trained on (a count), NaN where unknown.
    benchmark: ``gsm8k``, ``arc_challenge``, ...; any lm-eval task.
    metric: ``rbridge_nll``, ``acc``, ...; with lm-eval's filter where it is not ``none``: ``exact_match,strict-match``.
    value: the score, never NaN: what was not measured has no row.
    stderr: its standard error over the items, NaN where unknown.
    n: items behind it (a count), NaN where unknown.
    settings: how it was measured, a JSON object of texts; empty where nothing is known (see ``table_settings``).

A Parquet file has a text column for each setting in place of the last: ``settings.n-shot``, null where not stated.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import zlib
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.settings_columns import with_one_settings_column, with_settings_columns
from rbridge_tasks.visible_text import encodable
from rbridge_traces.files import check_suffix, write_file

TEXT = ("run", "model", "benchmark", "metric")
NUMBERS = ("params", "tokens", "value", "stderr", "n")
COLUMNS = ("run", "model", "params", "tokens", "benchmark", "metric", "value", "stderr", "n")
REQUIRED = ("run", "benchmark", "metric", "value")
KEY = ("run", "model", "params", "tokens", "benchmark", "metric")
WRITTEN = (".csv", ".parquet")
READ = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


def is_score_table(path: str | Path) -> bool:
    """Whether the name of a file is that of a score table. A file of token scores begins with ``samples_``."""
    name = Path(path).name
    return name.lower().endswith(READ) and not name.startswith("samples_")


_NOTHING = frozenset(("", "NA", "N/A", "n/a", "nan", "NaN", "null", "None", "-"))  # in columns of numbers
_NO_NUMBERS = (bool, np.bool_, complex, np.complexfloating, date, timedelta, pd.Period)  # pandas casts them to numbers


class ScoreTableError(RBridgeError, ValueError):
    """A table that cannot be read or does not hold scores. The message is always one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def as_scores(table: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
    """A checked score table from a DataFrame or from the path of a file.

    Raises:
        ScoreTableError: see :func:`read_scores`.
    """
    if isinstance(table, pd.DataFrame):
        return checked_scores(table)
    if isinstance(table, (str, os.PathLike)):
        return read_scores(table)
    raise ScoreTableError(f"a {type(table).__name__} is not a score table; give a DataFrame or the path of a file")


def read_scores(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read and check a score table; see this module for its columns.

    ``model``, ``params``, ``tokens``, ``stderr`` and ``n`` may be missing: they are then unknown. Other columns stay.

    Raises:
        ScoreTableError: the file cannot be read, or :func:`checked_scores` finds something wrong in it.
    """
    return checked_scores(read_table(path, text=TEXT), name=str(path))


def checked_scores(frame: pd.DataFrame, *, name: str = "the score table") -> pd.DataFrame:
    """The table with the columns of this module first, text as ``str`` and numbers as ``float64``.

    Raises:
        ScoreTableError: a column is missing or there twice; a name is empty; a value is not a finite number; a count is
            not positive; two rows are of the same run, model, size, tokens, benchmark and metric.

    >>> table = checked_scores(pd.DataFrame({"run": ["a"], "benchmark": ["gsm8k"], "metric": ["acc"], "value": [0.5]}))
    >>> [*table.columns]
    ['run', 'model', 'params', 'tokens', 'benchmark', 'metric', 'value', 'stderr', 'n']
    """
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise ScoreTableError(
            f"{name} has no column {', '.join(missing)} (it has {', '.join(map(str, frame.columns)) or 'none'}); a "
            f"score table needs {', '.join(REQUIRED)}: write one with rbridge collect"
        )
    if not frame.columns.is_unique:
        twice = ", ".join(map(str, frame.columns[frame.columns.duplicated()].unique()))
        raise ScoreTableError(f"{name} has the column {twice} more than once; keep one of them")
    if frame.empty:
        raise ScoreTableError(f"{name} has no rows; a score table needs at least one score")
    columns: dict[str, Any] = {}
    for column in COLUMNS:
        cells = frame[column] if column in frame.columns else pd.Series(np.nan, index=frame.index)
        columns[column] = _texts(cells) if column in TEXT else numbers(cells, name=name)
    extra = [column for column in frame.columns if column not in COLUMNS]
    table = pd.concat([pd.DataFrame(columns), frame[extra]], axis=1).reset_index(drop=True)
    _check_rows(table, name)
    return table


def numbers(column: pd.Series, *, name: str) -> pd.Series:
    """A column as ``float64``; cells that are empty, or hold a word for nothing such as ``N/A``, as NaN.

    Raises:
        ScoreTableError: a cell is neither a number nor empty; names the column, the row and the cell.
    """
    if pd.api.types.is_bool_dtype(column) or pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        raise ScoreTableError(f"{name} has true and false in the column {column.name}; it should hold numbers")
    blank = column.isna() | column.astype(str).str.strip().isin(_NOTHING)
    usable = ~blank
    if not pd.api.types.is_any_real_numeric_dtype(column):
        column = column.astype(object)
        usable &= ~column.map(lambda cell: isinstance(cell, _NO_NUMBERS)).astype(bool)
    result = pd.to_numeric(column.where(usable), errors="coerce").astype("float64")
    wrong = np.flatnonzero((result.isna() & ~blank).to_numpy())
    if wrong.size:
        raise ScoreTableError(
            f"{name} has {str(column.iloc[wrong[0]])!r} in the column {column.name}, row {wrong[0] + 1}; it should be "
            "a number, or empty where unknown"
        )
    return result


def read_table(path: str | os.PathLike[str], *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read any table from a ``.csv`` or ``.tsv`` file, plain or gzipped, or from a ``.parquet`` file.

    Args:
        path: the file.
        text: columns of a CSV file to read as text: a run named ``007`` or ``NA`` keeps its name.

    Raises:
        ScoreTableError: the file is missing, of another kind, empty or damaged, or names a column twice.
    """
    name = Path(path).name.lower()
    if not name.endswith(READ):
        raise ScoreTableError(f"{str(path)!r} is not a table that can be read; it should end in {', '.join(READ)}")
    suffix = Path(name.removesuffix(".gz")).suffix
    try:
        data = Path(path).read_bytes()
        if suffix != ".parquet":
            return _read_csv(gzip.decompress(data) if name.endswith(".gz") else data, suffix, text)
        table = pd.read_parquet(io.BytesIO(data), use_threads=False, pre_buffer=False)
        return with_one_settings_column(table) if {*REQUIRED} <= {*table.columns} else table
    except FileNotFoundError as error:
        raise ScoreTableError(f"there is no file {str(path)!r}; name an existing table") from error
    except OSError as error:
        raise ScoreTableError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except (ValueError, csv.Error, EOFError, zlib.error) as error:  # pyarrow's errors are ValueErrors too
        raise ScoreTableError(f"cannot read {path} as {suffix[1:]}: {error}; check the file") from error


def _read_csv(data: bytes, suffix: str, text: Sequence[str]) -> pd.DataFrame:
    """Rows with exactly as many cells as the header: none is shifted, padded or dropped.

    The strict reader of the standard library is used because those of pyarrow and pandas accept a quote that is never
    closed, and take the rest of the file for one cell.
    """
    separator = "\t" if suffix == ".tsv" else ","
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=separator, strict=True)
    header = [name.strip() for name in next(reader, [])]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"the header names {', '.join(map(repr, twice))} more than once")
    if not header or (len(header) == 1 and (";" in header[0] or "\t" in header[0])):
        raise ValueError(f"its header is {header or 'missing'}; columns should be separated by {separator!r}")
    rows = []
    for row in reader:
        if row and len(row) != len(header):
            raise ValueError(f"line {reader.line_num} has {len(row)} cells and the header {len(header)}")
        if row:
            rows.append(row)
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return pd.DataFrame(
        {
            name: pd.Series(cells, dtype=object) if name in text else _typed(cells)
            for name, cells in zip(header, columns, strict=True)
        }
    )


def _typed(cells: Sequence[str]) -> pd.Series:
    """A column of numbers where every cell is a number or marks a missing one; else texts, None where missing."""
    stripped = [None if cell.strip() in _NOTHING else cell.strip() for cell in cells]
    for kind in (int, float):
        try:
            column = pd.Series([math.nan if cell is None else kind(cell) for cell in stripped])
        except ValueError:
            continue
        if column.dtype != object:  # whole numbers beyond 64 bits
            return column
    return pd.Series(stripped, dtype=object)


def write_scores(frame: pd.DataFrame, path: str | Path) -> None:
    """Check a score table and write it atomically, as ``.csv`` or ``.parquet``; reading gives the same numbers back.

    Raises:
        OutputError: another suffix.
        ScoreTableError: the table is not one of scores.
    """
    table = checked_scores(frame).astype({"n": "Int64"})
    if Path(path).suffix.lower() == ".parquet":
        table = with_settings_columns(table)
    write_table(table, path, "a score table")


def write_table(table: pd.DataFrame, path: str | Path, what: str) -> None:
    """Write any table atomically, as ``.csv`` or ``.parquet``; ``what`` it is, for the error.

    Raises:
        OutputError: another suffix.
    """
    suffix = check_suffix(path, WRITTEN, what)
    buffer = io.BytesIO()
    if suffix == ".parquet":
        table.to_parquet(buffer, index=False)
    else:
        table.to_csv(buffer, index=False)
    write_file(path, buffer.getvalue())


def _texts(column: pd.Series) -> pd.Series:
    texts: pd.Series = column.astype(object).where(column.notna(), "").map(lambda cell: encodable(str(cell)).strip())
    return texts


def _check_rows(table: pd.DataFrame, name: str) -> None:
    """Refuse rows that no later command could use; names the first of them."""
    whole = table["n"].isna() | (table["n"] % 1 == 0)
    wrong = (
        *((table[column] == "", f"an empty {column}", "name it") for column in ("run", "benchmark", "metric")),
        (~np.isfinite(table["value"]), "a value that is missing, NaN or infinite", "leave out what was not measured"),
        (table["params"] <= 0, "params that are not positive", "give the number of parameters, or leave it empty"),
        (table["tokens"] < 0, "negative tokens", "give the number of training tokens, or leave it empty"),
        (table["stderr"] < 0, "a negative stderr", "give a standard error, or leave it empty"),
        ((table["n"] <= 0) | ~whole, "an n that is not a positive whole number", "give the number of items"),
        (table["n"] >= 2**63, "an n beyond 2^63", "give the number of items"),
        *(
            (np.isinf(table[column]), f"infinite {column}", "leave it empty")
            for column in ("params", "tokens", "stderr")
        ),
    )
    for mask, what, remedy in wrong:
        rows = np.flatnonzero(mask.to_numpy())
        if rows.size:
            raise ScoreTableError(f"{name} has {what} in row {rows[0] + 1} ({rows.size} such rows); {remedy}")
    twice = table.duplicated([*KEY], keep=False)
    if twice.any():
        first = table[twice].iloc[0]
        same = np.flatnonzero((table[[*KEY]].fillna(-1) == first[[*KEY]].fillna(-1)).all(axis=1).to_numpy())
        raise ScoreTableError(
            f"{name} has {first['metric']} of {first['benchmark']} twice for run {first['run']!r} at one checkpoint "
            f"(rows {same[0] + 1} and {same[1] + 1}); keep one, or give the runs different names"
        )
