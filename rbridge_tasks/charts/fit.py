"""Figures of fits: the curve with its interval, what it was fitted to, what it said of points left out, predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.regression import ProxyRegressor
from rbridge_tasks.charts.style import new_panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 24


class TooManyPanelsError(RBridgeError):
    """More groups than a figure has room for."""


def draw_fits(report: Mapping[str, Any], path: str) -> None:
    """Draw a report of ``fit_report``, a panel for each group.

    Filled circles are the checkpoints that were fitted (squares where the accuracy was interpolated); open triangles,
    joined to them, what the curve fitted without their fold predicted.
    """
    fits = report["fits"]
    figure, panels = _panels(len(fits), path)
    for panel, fit in zip(panels, fits, strict=False):
        model = ProxyRegressor.from_dict(fit["model"])
        x, y = (np.array([point[name] for point in fit["points"]]) for name in ("x", "y"))
        _curve(panel, model, x, report["level"])
        marked = np.array([point.get("interpolated", False) for point in fit["points"]])
        panel.plot(x[~marked], y[~marked], "o", color="0.0", label="fitted")
        if marked.any():
            panel.plot(x[marked], y[marked], "s", color="0.0", label="fitted, interpolated")
        left_out = (fit["cross_validation"] or {}).get("left_out", [])
        seen = [(one["point"], one["prediction"]) for one in left_out if one["prediction"] is not None]
        for point, prediction in seen:
            panel.plot([x[point]] * 2, [y[point], prediction], color="0.55", linewidth=0.7)
        if seen:
            at = [point for point, _ in seen]
            label = f"predicted when left out ({report['cv']})"
            panel.plot(x[at], [value for _, value in seen], "^", color="0.0", markerfacecolor="1.0", label=label)
        _finish(panel, fit["group"], model, _score_name(report["source"]), [*y, *(value for _, value in seen)])
    _save(figure, panels, path)


def draw_predictions(groups: Sequence[Mapping[str, Any]], source: Mapping[str, Any], level: float, path: str) -> None:
    """Draw predictions on their curves, a panel for each group.

    Args:
        groups: for each its ``key``, the fitted ``model``, and ``rows``: dicts of x, predicted, low, high, outside and,
            where it is known, actual.
        source: of the fit file, for the name of the score.
        level: of the intervals.
        path: ``.svg`` or ``.png``.
    """
    figure, panels = _panels(len(groups), path)
    for panel, group in zip(panels, groups, strict=False):
        rows, model = group["rows"], group["model"]
        x = np.array([row["x"] for row in rows])
        _curve(panel, model, np.concatenate([x, model.range_]), level)
        low, middle, high = (np.array([row[name] for row in rows]) for name in ("low", "predicted", "high"))
        outside = np.array([row["outside"] for row in rows])
        for chosen, fill, label in (
            (~outside, "0.0", "predicted"),
            (outside, "1.0", "predicted, outside the fitted range"),
        ):
            if chosen.any():
                bars = np.abs(np.stack([middle - low, high - middle]))[:, chosen]
                panel.errorbar(
                    x[chosen],
                    middle[chosen],
                    bars,
                    fmt="^",
                    color="0.0",
                    markerfacecolor=fill,
                    elinewidth=0.7,
                    label=label,
                )
        known = [(row["x"], row["actual"]) for row in rows if row.get("actual") is not None]
        if known:
            panel.plot(*zip(*known, strict=True), "x", color="0.0", label="actual")
        _finish(panel, group["key"], model, _score_name(source), [*middle, *(value for _, value in known)])
    _save(figure, panels, path)


def _save(figure: Figure, panels: Sequence[Axes], path: str) -> None:
    """Write the figure with one legend for all panels."""
    entries = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    columns = 2 if len(panels) == 1 else 4
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    save(figure, path)


def check_panels(count: int, path: str) -> None:
    """Refuse a figure of more groups than it has room for; to be called before they are fitted.

    Raises:
        TooManyPanelsError: says how many there is room for.
    """
    if count > MOST_PANELS:
        raise TooManyPanelsError(
            f"{path} would have {count} panels, more than {MOST_PANELS}; fit fewer groups at a time"
        )


def _panels(count: int, path: str) -> tuple[Figure, list[Axes]]:
    check_panels(count, path)
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


def _finish(panel: Axes, key: Mapping[str, str], model: ProxyRegressor, score: str, shown: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(", ".join([*key.values(), f"{model.function_} curve"]), fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.set_xlabel(score)
    panel.set_ylabel("target accuracy (%)")
    finite = [value for value in shown if math.isfinite(value)]
    room = max(0.3 * (max(finite) - min(finite)), 1.0)
    panel.set_ylim(max(min(finite) - room, -2.0), max(min(max(finite) + room, 102.0), min(finite) + room))


def _score_name(source: Mapping[str, Any]) -> str:
    """Name of the score with its unit, where the name is known."""
    name = str(source.get("proxy_metric") or source.get("x") or "proxy score")
    if name.startswith(("rbridge_nll", "rbridge_span_nll", "trace_nll")):
        return f"{name} (nats per token)"
    return f"{name} (bits per byte)".replace("_bits_per_byte (", " (") if name.endswith("bits_per_byte") else name
