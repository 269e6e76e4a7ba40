"""The column ``settings`` of a score table, JSON objects, and the check of rows that a command compares.

``rbridge collect`` writes the column. Without it, nothing in a table is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import pandas as pd

from rbridge_tasks.tables.comparable import Measured, check_comparable
from rbridge_tasks.tables.score_table import ScoreTableError
from rbridge_tasks.tables.settings import DEFAULTS, ITEMS
from rbridge_tasks.tables.settings_columns import SETTINGS, read_cell


def settings_text(settings: Mapping[str, str]) -> str:
    """A cell of the column; empty where only defaults are known. The number of items is in the column ``n``.

    >>> settings_text({"n-shot": "5", "number of items": "100"})
    '{"n-shot": "5"}'
    """
    noted = {name: value for name, value in settings.items() if name != ITEMS}
    return json.dumps(noted, ensure_ascii=False) if noted.items() - DEFAULTS.items() else ""


def measured_rows(table: pd.DataFrame) -> list[Measured]:
    """The settings of each row of a score table, equal rows of one benchmark and metric once.

    Raises:
        ScoreTableError: a cell of the column is neither empty nor a JSON object of texts.
    """
    if SETTINGS not in table.columns:
        return []
    columns = ["benchmark", "metric", SETTINGS, "n", "model", "run"]
    rows = table[columns].drop_duplicates(columns[:4])
    measured = []
    for benchmark, metric, cell, n, model, run in rows.itertuples(index=False):
        settings = read_cell(cell if isinstance(cell, str) else "")
        if settings is None:
            raise ScoreTableError(
                f"the column {SETTINGS} holds {cell[:60]!r}; rbridge collect writes a JSON object of texts there: "
                "rename a column of your own"
            )
        if settings and not math.isnan(n):
            settings = {**settings, ITEMS: f"{n:g}"}
        measured.append(Measured(benchmark, metric, model or run, settings))
    return measured


def shared_settings(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """For each benchmark the settings that have the same value in all rows that state them.

    Args:
        table: rows of one metric.
    """
    values: dict[str, dict[str, set[str]]] = {}
    for row in measured_rows(table):
        of_benchmark = values.setdefault(row.benchmark, {})
        for name, value in row.settings.items():
            of_benchmark.setdefault(name, set()).add(value)
    return {
        benchmark: {name: next(iter(texts)) for name, texts in settings.items() if len(texts) == 1}
        for benchmark, settings in values.items()
    }


def check_rows(
    table: pd.DataFrame,
    *,
    allow: bool,
    within: Sequence[str] = (),
    but: Sequence[str] = (),
    beside: Sequence[Measured] = (),
) -> list[str]:
    """Refuse rows of one benchmark and metric that were measured under different settings.

    Args:
        table: a checked score table, reduced to the rows that are compared.
        allow: see ``check_comparable``.
        within: columns; rows that differ in one of them are not compared with each other.
        but: settings that may differ.
        beside: further scores that the rows are compared with, such as those that a curve was fitted to.

    Returns:
        A line for each difference that is reported and not refused.

    Raises:
        IncomparableError: settings differ.
        ScoreTableError: see ``measured_rows``.
    """
    parts = [part for _, part in table.groupby([*within], dropna=False)] if within else [table]
    lines: dict[str, None] = {}
    for part in parts:
        rows = [_without(row, but) for row in (*beside, *measured_rows(part))]
        lines.update(dict.fromkeys(check_comparable(rows, allow=allow)))
    return [*lines]


def _without(row: Measured, names: Sequence[str]) -> Measured:
    kept = {name: value for name, value in row.settings.items() if name not in names}
    return Measured(row.benchmark, row.metric, row.model, kept)
