"""Rows and notes of a collected table, in a form that tests compare."""

from __future__ import annotations

from typing import Any

from rbridge_tasks.tables.collect import Collected

DATED = "results_2024-05-01T10-00-00.000000.json"


def rows(collected: Collected) -> list[tuple[Any, ...]]:
    """Benchmark, metric, value, stderr and n of each row, None for NaN."""
    part = collected.table[["benchmark", "metric", "value", "stderr", "n"]].astype(object)
    return [tuple(part.where(part.notna(), None).iloc[i]) for i in range(len(part))]


def note(collected: Collected, kind: str) -> str:
    """The text of the only note of a kind."""
    (text,) = (note.text for note in collected.notes if note.kind == kind)
    return text


def kinds(collected: Collected) -> list[str]:
    """The kind of each note."""
    return [note.kind for note in collected.notes]
