"""Figures of fits: the curve with its interval, the fitted points, predictions of points left out and of new rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbridge_tasks.charts.style import INK, PAPER, REST, SOFT, ChartError, look, panel_grid, save, series, shared_legend
from rbridge_tasks.tables.catalogue import axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_metrics.regression import ProxyRegressor
    from rbridge_tasks.decisions.fit_file import Fit, FittedGroup
    from rbridge_tasks.decisions.prediction import Predictions

MOST_PANELS = 24


@look()
def draw_fits(fit: Fit, path: str | Path | None = None) -> Figure:
    """Draw a fit, a panel for each group; with a path, also write the figure there.

    Filled circles are the checkpoints that were fitted (squares if one of the two values was interpolated). Open
    triangles, joined to them, are the predictions of the curve that was fitted without their fold.

    Raises:
        ChartError: more groups than ``MOST_PANELS``.
    """
    figure, panels = _panels(len(fit.groups))
    for axes, group in zip(panels, fit.groups, strict=True):
        x, y = (np.array([getattr(point, name) for point in group.points]) for name in ("x", "y"))
        _draw_curve(axes, group.model, x, fit.level)
        interpolated = np.array([point.interpolated for point in group.points])
        for chosen, marker, label in ((~interpolated, "o", "fitted"), (interpolated, "s", "fitted, interpolated")):
            if chosen.any():
                axes.plot(x[chosen], y[chosen], marker, color=INK, label=label)
        left_out = group.cross_validation.left_out if group.cross_validation else []
        pairs = [(row.point, row.prediction) for row in left_out if math.isfinite(row.prediction)]
        places, predictions = (list(column) for column in zip(*pairs, strict=True)) if pairs else ([], [])
        if pairs:
            axes.vlines(x[places], y[places], predictions, color=SOFT, linewidth=0.7)
            label = f"predicted when left out ({fit.cv})"
            axes.plot(x[places], predictions, "^", color=INK, markerfacecolor=PAPER, label=label)
        _finish(axes, group, fit.source.score_name, [*y, *predictions])
    shared_legend(figure, columns=2 if len(panels) == 1 else 4)
    return save(figure, path)


@look()
def draw_predictions(predictions: Predictions, path: str | Path | None = None) -> Figure:
    """Draw predictions on their curves, a panel for each group; with a path, also write the figure there.

    Raises:
        ChartError: more groups than ``MOST_PANELS``.
    """
    figure, panels = _panels(len(predictions.groups))
    for axes, predicted in zip(panels, predictions.groups, strict=True):
        x, model = predicted.scores, predicted.group.model
        columns = ("low_pct", "predicted_accuracy_pct", "high_pct")
        low, middle, high = (predicted.rows[name].to_numpy(np.float64) for name in columns)
        _draw_curve(axes, model, np.concatenate([x, model.range_]), predictions.level)
        outside = predicted.rows["outside_fitted_range"].to_numpy(bool)
        for chosen, fill, label in (
            (~outside, INK, "predicted"),
            (outside, PAPER, "predicted, outside the fitted range"),
        ):
            if chosen.any():
                axes.vlines(x[chosen], low[chosen], high[chosen], color=INK, linewidth=0.7)
                axes.plot(x[chosen], middle[chosen], "^", color=INK, markerfacecolor=fill, label=label)
        actual = np.full(len(x), math.nan) if predicted.actual is None else predicted.actual
        known = np.isfinite(actual)
        if known.any():
            axes.plot(x[known], actual[known], "x", color=INK, label="actual")
        _finish(axes, predicted.group, predictions.fit.source.score_name, [*middle, *actual[known]])
    shared_legend(figure, columns=2 if len(panels) == 1 else 4)
    return save(figure, path)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    if count > MOST_PANELS:
        raise ChartError(f"the figure would have {count} panels, more than {MOST_PANELS}; fit fewer groups at a time")
    return panel_grid(count, columns=2 if count <= 4 else 4, width_in=3.6, height_in=2.7, margin_in=0.6)


def _draw_curve(axes: Axes, model: ProxyRegressor, x: npt.NDArray[np.float64], level: float) -> None:
    """The curve a little beyond the scores, its interval, and the ends of the fitted range as dotted lines."""
    low, high = float(np.min(x)), float(np.max(x))
    margin = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    scores = np.linspace(low - margin, high + margin, 200)
    colour = series(0)["color"]
    interval = model.predict_interval(scores, level)
    axes.fill_between(scores, *interval, color=colour, alpha=0.16, linewidth=0, label=f"{level:.0%} interval")
    axes.plot(scores, model.predict(scores), color=colour, label="curve")
    for end in model.range_:
        axes.axvline(end, color=REST, linewidth=0.7, linestyle=":")


def _finish(axes: Axes, group: FittedGroup, score: str, shown: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(", ".join([*group.key.values(), f"{group.model.function_} curve"]))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(axis_label(score))
    axes.set_ylabel("target accuracy (%)")
    finite = [value for value in shown if math.isfinite(value)]
    margin = max(0.3 * (max(finite) - min(finite)), 1.0)
    axes.set_ylim(max(min(finite) - margin, -2.0), max(min(max(finite) + margin, 102.0), min(finite) + margin))
