"""Figures of fits: the curve with its interval, the fitted points, predictions of points left out and of new rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics.regression import ProxyRegressor
from rbridge_tasks.charts.style import INK, PAPER, REST, SOFT, ChartError, look, panel_grid, save, series, shared_legend
from rbridge_tasks.charts.texts import axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 24


@look()
def draw_fits(report: Mapping[str, Any], path: str | Path | None = None) -> Figure:
    """Draw the content of a fit file, a panel for each group.

    Filled circles are the checkpoints that were fitted (squares where the accuracy was interpolated). Open triangles,
    joined to them, are what the curve fitted without their fold predicted.
    """
    fits = report["fits"]
    figure, panels = _panels(len(fits), path)
    for axes, fit in zip(panels, fits, strict=True):
        model = ProxyRegressor.from_dict(fit["model"])
        x, y = (np.array([point[name] for point in fit["points"]]) for name in ("x", "y"))
        _draw_curve(axes, model, x, report["level"])
        interpolated = np.array([point.get("interpolated", False) for point in fit["points"]])
        for chosen, marker, label in ((~interpolated, "o", "fitted"), (interpolated, "s", "fitted, interpolated")):
            if chosen.any():
                axes.plot(x[chosen], y[chosen], marker, color=INK, label=label)
        left_out = (fit["cross_validation"] or {}).get("left_out", [])
        pairs = [(row["point"], row["prediction"]) for row in left_out if row["prediction"] is not None]
        places, predictions = (list(column) for column in zip(*pairs, strict=True)) if pairs else ([], [])
        if pairs:
            axes.vlines(x[places], y[places], predictions, color=SOFT, linewidth=0.7)
            label = f"predicted when left out ({report['cv']})"
            axes.plot(x[places], predictions, "^", color=INK, markerfacecolor=PAPER, label=label)
        _finish(axes, fit["group"], model, report["source"], [*y, *predictions])
    shared_legend(figure, columns=2 if len(panels) == 1 else 4)
    return save(figure, path)


@look()
def draw_predictions(
    groups: Sequence[Mapping[str, Any]], source: Mapping[str, Any], level: float, path: str | Path | None = None
) -> Figure:
    """Draw predictions on their curves, a panel for each group.

    Args:
        groups: for each its ``key``, the fitted ``model``, and ``rows``: dicts of x, predicted, low, high, outside and,
            if it is known, actual.
        source: of the fit file, for the name of the score.
        level: of the intervals.
        path: ``.svg`` or ``.png``; None to write no file.
    """
    figure, panels = _panels(len(groups), path)
    for axes, group in zip(panels, groups, strict=True):
        rows, model = group["rows"], group["model"]
        x, low, middle, high = (np.array([row[name] for row in rows]) for name in ("x", "low", "predicted", "high"))
        _draw_curve(axes, model, np.concatenate([x, model.range_]), level)
        outside = np.array([row["outside"] for row in rows])
        for chosen, fill, label in (
            (~outside, INK, "predicted"),
            (outside, PAPER, "predicted, outside the fitted range"),
        ):
            if chosen.any():
                axes.vlines(x[chosen], low[chosen], high[chosen], color=INK, linewidth=0.7)
                axes.plot(x[chosen], middle[chosen], "^", color=INK, markerfacecolor=fill, label=label)
        actual = [(row["x"], row["actual"]) for row in rows if row.get("actual") is not None]
        if actual:
            axes.plot(*zip(*actual, strict=True), "x", color=INK, label="actual")
        _finish(axes, group["key"], model, source, [*middle, *(value for _, value in actual)])
    shared_legend(figure, columns=2 if len(panels) == 1 else 4)
    return save(figure, path)


def check_panels(count: int, path: str | Path) -> None:
    """Refuse a figure of more groups than it has room for; to be called before they are fitted.

    Raises:
        ChartError: names the most panels.
    """
    if count > MOST_PANELS:
        raise ChartError(f"{path} would have {count} panels, more than {MOST_PANELS}; fit fewer groups at a time")


def _panels(count: int, path: str | Path | None) -> tuple[Figure, list[Axes]]:
    check_panels(count, path or "the figure")
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


def _finish(
    axes: Axes, key: Mapping[str, str], model: ProxyRegressor, source: Mapping[str, Any], shown: Sequence[float]
) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(", ".join([*key.values(), f"{model.function_} curve"]))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(axis_label(str(source.get("proxy_metric") or source.get("x") or "proxy score")))
    axes.set_ylabel("target accuracy (%)")
    finite = [value for value in shown if math.isfinite(value)]
    margin = max(0.3 * (max(finite) - min(finite)), 1.0)
    axes.set_ylim(max(min(finite) - margin, -2.0), max(min(max(finite) + margin, 102.0), min(finite) + margin))
