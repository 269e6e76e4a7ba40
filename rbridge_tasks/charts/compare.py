"""Metrics in order, with intervals, the best and what cannot be told from it marked, baselines below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_tasks.charts.style import new_panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.metric_comparison import BenchmarkComparison, ComparedMetric, ComparisonSettings

_LABELS = {
    "mae": "test MAE (percentage points), lower is better",
    "decision_accuracy": "decision accuracy (% of pairs)",
    "kendall_tau_b": "Kendall's tau-b (-1 to 1)",
    "spearman": "Spearman's rho (-1 to 1)",
}
_LOOKS = (
    ("best", "D", "0.0"),
    ("not distinguishable from it", "o", "0.0"),
    ("worse", "o", "1.0"),
    ("wrong way", "x", "0.0"),
    ("better, without a proxy", "^", "1.0"),
)
_MOST = 15


def draw_comparison(
    sections: Sequence[BenchmarkComparison], settings: ComparisonSettings, path: str | Path | None
) -> Figure:
    """Draw a panel for each benchmark and their mean: the best metrics by the measure asked for, then the baselines.

    Raises:
        OutputError: the file is neither ``.svg`` nor ``.png``.
    """
    shown = [(section, _rows(section, settings.by)) for section in sections]
    columns = min(2, len(shown))
    lines = math.ceil(len(shown) / columns)
    tallest = max(len(rows) for _, rows in shown)
    figure, panels = new_panels(5.2 * columns, lines * (1.2 + 0.2 * tallest), rows=lines, columns=columns)
    for unused in panels[len(shown) :]:
        unused.set_visible(False)
    for axes, (section, rows) in zip(panels, shown, strict=False):
        _draw(axes, rows, settings)
        axes.set_title(f"{section.benchmark}, {section.points} points", loc="left", fontsize=9)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return save(figure, path)


def _rows(section: BenchmarkComparison, by: str) -> list[ComparedMetric]:
    known = [row for row in section.rows if math.isfinite(row.value.get(by, math.nan))]
    return [row for row in known if not row.baseline][:_MOST] + [row for row in known if row.baseline]


def _draw(axes: Axes, rows: Sequence[ComparedMetric], settings: ComparisonSettings) -> None:
    scale = 100.0 if settings.by == "decision_accuracy" else 1.0
    for at, row in enumerate(rows):
        low, high = row.low[settings.by], row.high[settings.by]
        if math.isfinite(low):
            axes.hlines(at, scale * low, scale * high, color="0.45", linewidth=1.4)
    for label, marker, fill in _LOOKS:
        own = [(scale * row.value[settings.by], at) for at, row in enumerate(rows) if _look(row) == label]
        if own:
            x, y = zip(*own, strict=True)
            axes.plot(
                x, y, linestyle="none", marker=marker, color="0.0", markerfacecolor=fill, markersize=4.5, label=label
            )
    metrics = sum(not row.baseline for row in rows)
    if 0 < metrics < len(rows):
        axes.axhline(metrics - 0.5, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    label = _LABELS[settings.by] + f"\nbars {100 * settings.level:g} % over points"
    axes.set_xlabel(label)


def _look(row: ComparedMetric) -> str:
    if row.best:
        return "best"
    if row.wrong_way:
        return "wrong way"
    if row.ahead:
        return "better, without a proxy"
    return "not distinguishable from it" if row.alike else "worse"
