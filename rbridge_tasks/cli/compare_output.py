"""Text output of ``rbridge compare``: for each benchmark a table and the best metric in words."""

from __future__ import annotations

import math

from rbridge_tasks.cli.output import note, print_table, say
from rbridge_tasks.decisions.compare import MEASURE_NAMES, Comparison
from rbridge_tasks.decisions.metric_comparison import MEASURES, ComparedMetric
from rbridge_tasks.tables.rows import counted

_MANY = 15


def show_comparison(comparison: Comparison, *, everything: bool) -> None:
    """Print a table and a verdict for each benchmark.

    Args:
        comparison: what to print.
        everything: print every metric, else the best of each benchmark.
    """
    percent = f"{100 * comparison.settings.level:g} %"
    for part in comparison.benchmarks:
        metrics = [row for row in part.rows if not row.baseline]
        shown = part.rows if everything else metrics[:_MANY] + [row for row in part.rows if row.baseline]
        measures = [name for name in MEASURES if any(name in row.value for row in part.rows)]
        columns = ["metric", "train R2", *(MEASURE_NAMES[name] for name in measures), ""]
        rows = [
            [
                row.name,
                "-" if math.isnan(row.train_r2) else f"{row.train_r2:.3f}",
                *(_with_interval(row, name) for name in measures),
                _mark(row),
            ]
            for row in shown
        ]
        flops = "?" if math.isnan(part.flops) else f"{part.flops:.3g}"
        title = f"{part.benchmark}: {counted(part.points, 'point')}, {flops} training FLOPs of what is scored"
        print_table(f"{title}; {percent} intervals over points; MAE in percentage points", columns, rows)
        say(comparison.verdict(part))
        if hidden := len(part.rows) - len(shown):
            note(f"{part.benchmark}: {counted(hidden, 'metric')} not shown; --all prints them")


def _mark(row: ComparedMetric) -> str:
    if row.best or row.wrong_way:
        return "best" if row.best else "wrong way"
    return "better" if row.ahead else "not distinguishable" if row.alike else ""


def _with_interval(row: ComparedMetric, measure: str) -> str:
    if measure not in row.value or math.isnan(row.value[measure]):
        return "-"
    value, low, high = row.value[measure], row.low[measure], row.high[measure]
    return f"{value:.3f}" + ("" if math.isnan(low) or low == high == value else f" ({low:.3f} to {high:.3f})")
