"""Figures of fits: the curve with its interval, the points fitted, predictions of points left out, new predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.charts.style import new_panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rbridge_metrics.regression import ProxyRegressor
    from rbridge_tasks.decisions.fit_file import Fit, FittedGroup
    from rbridge_tasks.decisions.prediction import Predictions

MOST_PANELS = 24


class TooManyPanelsError(RBridgeError):
    """More groups than a figure has room for."""


def draw_fits(fit: Fit, path: str | Path | None = None) -> Figure:
    """Draw a fit, a panel for each group; with a path, also write the figure there.

    Filled circles are the checkpoints that were fitted (squares if the accuracy was interpolated). Open triangles,
    joined to them, are the predictions of the curve that was fitted without their fold.

    Raises:
        OutputError: the path is neither ``.svg`` nor ``.png``.
        TooManyPanelsError: more groups than ``MOST_PANELS``.
    """
    figure, panels = _panels(len(fit.groups))
    for panel, group in zip(panels, fit.groups, strict=True):
        x, y = (np.array([getattr(point, name) for point in group.points]) for name in ("x", "y"))
        _curve(panel, group.model, x, fit.level)
        marked = np.array([point.interpolated for point in group.points])
        panel.plot(x[~marked], y[~marked], "o", color="0.0", label="fitted")
        if marked.any():
            panel.plot(x[marked], y[marked], "s", color="0.0", label="fitted, interpolated")
        left_out = group.cross_validation.left_out if group.cross_validation else []
        predicted = [(row.point, row.prediction) for row in left_out if math.isfinite(row.prediction)]
        for point, prediction in predicted:
            panel.plot([x[point]] * 2, [y[point], prediction], color="0.55", linewidth=0.7)
        if predicted:
            at = [point for point, _ in predicted]
            label = f"predicted when left out ({fit.cv})"
            panel.plot(x[at], [value for _, value in predicted], "^", color="0.0", markerfacecolor="1.0", label=label)
        _finish(panel, group, fit.source.score_name, [*y, *(value for _, value in predicted)])
    return _finished(figure, panels, path)


def draw_predictions(predictions: Predictions, path: str | Path | None = None) -> Figure:
    """Draw predictions on their curves, a panel for each group; with a path, also write the figure there.

    Raises:
        OutputError: the path is neither ``.svg`` nor ``.png``.
        TooManyPanelsError: more groups than ``MOST_PANELS``.
    """
    figure, panels = _panels(len(predictions.groups))
    for panel, predicted in zip(panels, predictions.groups, strict=True):
        x, model = predicted.scores, predicted.group.model
        _curve(panel, model, np.concatenate([x, model.range_]), predictions.level)
        columns = ("low_pct", "predicted_accuracy_pct", "high_pct")
        low, middle, high = (predicted.rows[name].to_numpy(np.float64) for name in columns)
        outside = predicted.rows["outside_fitted_range"].to_numpy(bool)
        for chosen, fill, label in (
            (~outside, "0.0", "predicted"),
            (outside, "1.0", "predicted, outside the fitted range"),
        ):
            if chosen.any():
                bars = np.abs(np.stack([middle - low, high - middle]))[:, chosen]
                look: dict[str, Any] = {"fmt": "^", "color": "0.0", "markerfacecolor": fill, "elinewidth": 0.7}
                panel.errorbar(x[chosen], middle[chosen], bars, label=label, **look)
        known = np.isfinite(predicted.actual) if predicted.actual is not None else np.zeros(len(x), bool)
        actual = predicted.actual[known] if predicted.actual is not None else np.array([])
        if known.any():
            panel.plot(x[known], actual, "x", color="0.0", label="actual")
        _finish(panel, predicted.group, predictions.fit.source.score_name, [*middle, *actual])
    return _finished(figure, panels, path)


def _finished(figure: Figure, panels: Sequence[Axes], path: str | Path | None) -> Figure:
    """The figure with one legend for all panels, written if there is a path."""
    entries = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    columns = 2 if len(panels) == 1 else 4
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    if path is not None:
        save(figure, path)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    if count > MOST_PANELS:
        raise TooManyPanelsError(
            f"the figure would have {count} panels, more than {MOST_PANELS}; fit fewer groups at a time"
        )
    columns = min(count, 2 if count <= 4 else 4)
    rows = math.ceil(count / columns)
    figure, panels = new_panels(3.4 * columns + 0.4, 2.7 * rows + 0.6, rows=rows, columns=columns)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]


def _curve(panel: Axes, model: ProxyRegressor, x: Sequence[float] | np.ndarray[Any, Any], level: float) -> None:
    """The curve a little beyond the scores, its interval in grey, and the ends of the fitted range."""
    low, high = float(np.min(x)), float(np.max(x))
    room = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    scores = np.linspace(low - room, high + room, 200)
    lower, upper = model.predict_interval(scores, level)
    panel.fill_between(scores, lower, upper, color="0.85", linewidth=0, label=f"{level:.0%} interval")
    panel.plot(scores, model.predict(scores), color="0.0", label="curve")
    for end in model.range_:
        panel.axvline(end, color="0.7", linewidth=0.7, linestyle=":")


def _finish(panel: Axes, group: FittedGroup, score: str, shown: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(", ".join([*group.key.values(), f"{group.model.function_} curve"]), fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.set_xlabel(_score_label(score))
    panel.set_ylabel("target accuracy (%)")
    finite = [value for value in shown if math.isfinite(value)]
    room = max(0.3 * (max(finite) - min(finite)), 1.0)
    panel.set_ylim(max(min(finite) - room, -2.0), max(min(max(finite) + room, 102.0), min(finite) + room))


def _score_label(name: str) -> str:
    """Name of the score with its unit, if it is known."""
    if name.startswith(("rbridge_nll", "rbridge_span_nll", "trace_nll")):
        return f"{name} (nats per token)"
    return f"{name} (bits per byte)".replace("_bits_per_byte (", " (") if name.endswith("bits_per_byte") else name
