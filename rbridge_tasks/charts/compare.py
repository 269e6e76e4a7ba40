"""Metrics in order with intervals: the best, those not distinguishable from it, and baselines below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_tasks.charts.intervals import IntervalRow, draw_intervals
from rbridge_tasks.charts.style import REST, look, panel_grid, save, shared_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.metric_comparison import BenchmarkComparison, ComparedMetric, ComparisonSettings

_LABELS = {
    "mae": "test MAE (percentage points), lower is better",
    "decision_accuracy": "decision accuracy (% of pairs)",
    "kendall_tau_b": "Kendall's tau-b (-1 to 1)",
    "spearman": "Spearman's rho (-1 to 1)",
}
_MARKS = {  # marker, and whether it is filled
    "best": ("D", True),
    "not distinguishable from it": ("o", True),
    "worse": ("o", False),
    "wrong way": ("x", True),
    "better, without a proxy": ("^", False),
}
_MOST = 15


@look()
def draw_comparison(
    sections: Sequence[BenchmarkComparison], settings: ComparisonSettings, path: str | Path | None = None
) -> Figure:
    """Draw a panel for each benchmark and their mean: the best metrics by the measure asked for, then the baselines.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    shown = [_shown(section, settings.by) for section in sections]
    height = 1.2 + 0.2 * max(map(len, shown))
    figure, panels = panel_grid(len(sections), columns=2, width_in=5.2, height_in=height)
    for axes, section, rows in zip(panels, sections, shown, strict=True):
        draw_intervals(axes, [_row(row, settings.by) for row in rows])
        metrics = sum(not row.baseline for row in rows)
        if 0 < metrics < len(rows):
            axes.axhline(metrics - 0.5, color=REST, linewidth=0.8, linestyle=":")
        axes.tick_params(axis="y", labelsize="small")
        axes.set_xlabel(f"{_LABELS[settings.by]}\nbars {100 * settings.level:g} % over points")
        axes.set_title(f"{section.benchmark}, {section.points} points")
    shared_legend(figure)
    return save(figure, path)


def _shown(section: BenchmarkComparison, by: str) -> list[ComparedMetric]:
    known = [row for row in section.rows if math.isfinite(row.value.get(by, math.nan))]
    return [row for row in known if not row.baseline][:_MOST] + [row for row in known if row.baseline]


def _row(row: ComparedMetric, by: str) -> IntervalRow:
    scale = 100.0 if by == "decision_accuracy" else 1.0
    label = "not distinguishable from it" if row.alike else "worse"
    if row.best:
        label = "best"
    elif row.wrong_way:
        label = "wrong way"
    elif row.ahead:
        label = "better, without a proxy"
    marker, filled = _MARKS[label]
    value, low, high = (scale * side[by] for side in (row.value, row.low, row.high))
    return IntervalRow(row.name, value, low, high, marker=marker, filled=filled, label=label)
