"""The settings of scores in Parquet: a text column for each, which SQL can filter by, in place of JSON in a cell."""

from __future__ import annotations

import json

import pandas as pd

#: The column of a score table; in Parquet the first part of the names of several.
SETTINGS = "settings"


def with_settings_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A table with a text column for each setting. A column that holds other than JSON objects of texts stays."""
    if SETTINGS not in table.columns:
        return table
    rows = []
    for cell in table[SETTINGS]:
        try:
            row = json.loads(cell) if isinstance(cell, str) and cell.strip() else {}
        except ValueError:
            return table
        if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
            return table
        rows.append({_encodable(name): _encodable(value) for name, value in row.items()})
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


def _encodable(text: str) -> str:
    """A text without lone surrogates, which JSON can spell and Parquet cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()
