"""What ``rbridge compare`` prints and writes: a table a benchmark, the best in words, everything as JSON or as rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import typer

from rbridge_tasks.cli.output import note, print_table
from rbridge_tasks.decisions.comparison import MEASURES, Row, Section, Settings
from rbridge_tasks.tables.rows import counted

NAMES = {
    "mae": "test MAE",
    "decision_accuracy": "decision accuracy",
    "kendall_tau_b": "Kendall tau-b",
    "spearman": "Spearman",
}
_MANY = 15


def show_sections(sections: Sequence[Section], settings: Settings, *, everything: bool) -> None:
    """A table and a verdict for each section."""
    for section in sections:
        metrics = [row for row in section.rows if not row.baseline]
        shown = [row for row in section.rows if everything or row.baseline or row in metrics[:_MANY]]
        measures = [name for name in MEASURES if any(name in row.value for row in section.rows)]
        columns = ["metric", "train R2", *(NAMES[name] for name in measures), ""]
        rows = [
            [row.name, _number(row.train_r2), *(_with_interval(row, name) for name in measures), _mark(row)]
            for row in shown
        ]
        flops = "?" if math.isnan(section.flops) else f"{section.flops:.3g}"
        title = f"{section.benchmark}: {counted(section.points, 'point')}, {flops} training FLOPs of what is scored"
        print_table(
            f"{title}; {100 * settings.level:g} % intervals over points; MAE in percentage points", columns, rows
        )
        typer.echo(verdict(section, settings))
        if len(shown) < len(section.rows):
            note(
                f"{section.benchmark}: {counted(len(section.rows) - len(shown), 'metric')} not shown; --all prints them"
            )


def verdict(section: Section, settings: Settings) -> str:
    """The best metric, those that cannot be told from it, and how the baselines stand, in a line."""
    best = next((row for row in section.rows if row.best), None)
    if best is None:
        return f"{section.benchmark}: no metric has a {NAMES[settings.by]}"
    text = f"{section.benchmark}: best by {NAMES[settings.by]}: {best.name}, {best.value[settings.by]:.3f}"
    if math.isnan(section.critical):
        return f"{text}; too few points to tell it from the others"
    alike = [row.name for row in section.rows if row.alike and not (row.best or row.baseline or row.wrong_way)]
    baselines = [row.name for row in section.rows if row.baseline and settings.by in row.value]
    level = [row.name for row in section.rows if row.alike and row.baseline]
    others = sum(not (row.baseline or row.wrong_way) and settings.by in row.value for row in section.rows) - 1
    text += f"; not distinguishable from it: {len(alike)} of {counted(others, 'other metric')}"
    text += f" ({', '.join(alike[:5])}{', ...' if len(alike) > 5 else ''})" if alike else ""
    if ahead := [row.name for row in section.rows if row.ahead]:
        return f"{text}; the baseline {' or '.join(ahead)} is better"
    if level:
        return f"{text}; nor can it be told from the baseline {' or '.join(level)}"
    return f"{text}; better than every baseline ({', '.join(baselines)})" if baselines else text


def comparison_table(sections: Sequence[Section]) -> pd.DataFrame:
    """All rows as one table."""
    return pd.DataFrame([_flat(section, row) for section in sections for row in section.rows])


def payload(sections: Sequence[Section], settings: Settings, notes: Sequence[str]) -> dict[str, Any]:
    """Everything, for ``print_json``."""
    return {
        "settings": asdict(settings),
        "benchmarks": [
            {
                "benchmark": section.benchmark,
                "points": section.points,
                "flops": section.flops,
                "critical_standard_errors": section.critical,
                "verdict": verdict(section, settings),
                "rows": [
                    {key: value for key, value in _flat(section, row).items() if key not in _OF_SECTION}
                    for row in section.rows
                ],
            }
            for section in sections
        ],
        "notes": [*notes],
    }


_OF_SECTION = ("benchmark", "points", "flops")


def _flat(section: Section, row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "benchmark": section.benchmark, "points": section.points, "flops": section.flops, "metric": row.name,
        "baseline": row.baseline, "best": row.best, "not_distinguishable": row.alike, "better_than_best": row.ahead,
        "wrong_way": row.wrong_way,
        "train_r2": row.train_r2,
    }  # fmt: skip
    for measure in MEASURES:
        name = "test_mae_pct" if measure == "mae" else measure
        for suffix, values in (("", row.value), ("_low", row.low), ("_high", row.high)):
            cells[name + suffix] = values.get(measure, math.nan)
    return cells


def _mark(row: Row) -> str:
    if row.best or row.wrong_way:
        return "best" if row.best else "wrong way"
    return "better" if row.ahead else "not distinguishable" if row.alike else ""


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _with_interval(row: Row, measure: str) -> str:
    if measure not in row.value or math.isnan(row.value[measure]):
        return "-"
    value, low, high = row.value[measure], row.low[measure], row.high[measure]
    return f"{value:.3f}" + ("" if math.isnan(low) or low == high == value else f" ({low:.3f} to {high:.3f})")
