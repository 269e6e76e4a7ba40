"""The column ``settings``, JSON objects of texts; in Parquet a text column for each setting, for SQL to filter by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

import pandas as pd

from rbridge_tasks.visible_text import encodable

#: The column of a score table; in Parquet the first part of the names of several.
SETTINGS = "settings"


@lru_cache(maxsize=4096)
def read_cell(cell: str) -> Mapping[str, str] | None:
    """The settings in a cell; None where it is neither empty nor a JSON object of texts."""
    try:
        settings = json.loads(cell) if cell.strip() else {}
    except ValueError:
        return None
    is_valid = isinstance(settings, dict) and all(isinstance(value, str) for value in settings.values())
    return settings if is_valid else None


def with_settings_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A table with a text column for each setting. A column that holds other than JSON objects of texts stays."""
    if SETTINGS not in table.columns:
        return table
    rows = []
    for cell in table[SETTINGS]:
        row = read_cell(cell if isinstance(cell, str) else "")
        if row is None:
            return table
        rows.append({encodable(name): encodable(value) for name, value in row.items()})
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {f"{SETTINGS}.{name}": pd.array([row.get(name) for row in rows], dtype="string") for name in names}
    if not columns or {*columns} & {*table.columns}:
        return table
    return pd.concat([table.drop(columns=SETTINGS), pd.DataFrame(columns, index=table.index)], axis=1)


def with_one_settings_column(table: pd.DataFrame) -> pd.DataFrame:
    """The reverse of ``with_settings_columns``. Columns of one's own that are no texts stay."""
    columns = [name for name in table.columns if str(name).startswith(f"{SETTINGS}.")]
    texts = all(pd.api.types.is_string_dtype(table[name].dropna()) for name in columns)
    if not columns or not texts or SETTINGS in table.columns:
        return table
    names = [name.removeprefix(f"{SETTINGS}.") for name in columns]
    rows = (
        {name: cell for name, cell in zip(names, cells, strict=True) if isinstance(cell, str)}
        for cells in table[columns].itertuples(index=False, name=None)
    )
    cells = [json.dumps(row, ensure_ascii=False) if row else "" for row in rows]
    return table.drop(columns=columns).assign(**{SETTINGS: cells})
