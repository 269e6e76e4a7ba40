"""Changes of a checkpoint by benchmark, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbridge_tasks.charts.style import INK, PAPER, REST, SOFT, look, name_rows, new_panels, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.gate_result import GateResult


@look()
def draw_gate(result: GateResult, path: str | Path | None = None) -> Figure:
    """Draw the change of each benchmark for the worse, a filled square for a regression; with a path, also write it.

    Changes are in per cent of the score compared with. A benchmark whose baseline is 0 has no such change.

    Raises:
        OutputError: the path is neither ``.svg`` nor ``.png``.
    """
    rows = np.arange(len(result.benchmarks))
    figure, (axes,) = new_panels(6.0, 1.2 + 0.3 * len(rows))
    changes = [row.change for row in result.benchmarks]
    bases = np.array([abs(change.baseline) or np.nan for change in changes]) / 100
    middle, low, high = (
        np.array([getattr(change, name) for change in changes]) / bases for name in ("change", "low", "high")
    )
    axes.hlines(rows, low, high, color=SOFT, linewidth=1.6)
    regressed = np.array([row.regressed for row in result.benchmarks])
    for chosen, marker, fill, label in ((~regressed, "o", PAPER, "passed"), (regressed, "s", INK, "regressed")):
        if chosen.any():
            axes.plot(middle[chosen], rows[chosen], marker, color=INK, markerfacecolor=fill, label=label)
    axes.axvline(100 * result.settings.max_regression, color=REST, linewidth=0.8, linestyle="--", label="tolerated")
    name_rows(axes, (row.benchmark for row in result.benchmarks))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    level = 100 * result.settings.level
    axes.set_xlabel(f"{result.metric.name} worse than the {result.reference} by (%), with {level:g} % interval")
    axes.legend(loc="best")
    return save(figure, path)
