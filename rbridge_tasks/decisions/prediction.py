"""Accuracies predicted for the rows of a table, through the curves of a fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.decisions.decision import Decision
from rbridge_tasks.decisions.pairing import (
    PairsSource,
    Values,
    as_numbers,
    check_once,
    group_name,
    in_percent,
    rows_by_key,
)
from rbridge_tasks.decisions.score_pairs import SIZE_WITHIN
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.score_table import TEXT, ScoreTableError, checked_scores, read_table
from rbridge_tasks.tables.settings import ITEMS, TRACES
from rbridge_tasks.tables.table_settings import check_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.decisions.fit_file import Fit, FittedGroup

ADDED = ("predicted_accuracy_pct", "low_pct", "high_pct", "outside_fitted_range", "rank")


class PredictionError(RBridgeError):
    """A table that a fit has no curve for."""


@dataclass(frozen=True)
class Predicted:
    """Rows of one group with their predictions.

    Attributes:
        group: the curve used.
        name: of the rows; differs from the group's name when its curve is used for other rows.
        rows: the table's rows, with the columns ``ADDED``.
        scores: proxy scores, shape (rows,).
        actual: accuracies in percent, NaN where unknown, shape (rows,); None without a column of accuracies.
    """

    group: FittedGroup
    name: str
    rows: pd.DataFrame
    scores: Values
    actual: Values | None = None

    @property
    def mae_pct(self) -> float:
        """Mean absolute error in points over rows of known accuracy; NaN without any."""
        known, actual = self._known()
        errors = np.abs(self.rows["predicted_accuracy_pct"].to_numpy()[known] - actual)
        return float(errors.mean()) if len(errors) else math.nan

    @property
    def coverage(self) -> float:
        """Share of known accuracies inside their interval; NaN without any."""
        known, actual = self._known()
        rows = self.rows[known]
        return float(((rows["low_pct"] <= actual) & (actual <= rows["high_pct"])).mean()) if known.any() else math.nan

    @property
    def new_runs(self) -> list[str] | None:
        """Runs that the curve was not fitted to; None if runs are unknown."""
        if "run" not in self.rows.columns or not self.group.runs:
            return None
        return sorted({str(run) for run in self.rows["run"]} - self.group.runs)

    def _known(self) -> tuple[npt.NDArray[np.bool_], Values]:
        """Rows with a prediction and a known accuracy, shape (rows,), and those accuracies."""
        actual = np.full(len(self.rows), math.nan) if self.actual is None else self.actual
        known = np.isfinite(actual) & np.isfinite(self.rows["predicted_accuracy_pct"].to_numpy())
        return known, actual[known]

    def to_dict(self) -> dict[str, Any]:
        """The group as ``rbridge predict --json`` prints it."""
        return {
            "group": self.group.key,
            "rows_of": self.name,
            "function": self.group.model.function_,
            "mae_pct": self.mae_pct,
            "coverage": self.coverage,
            "new_runs": self.new_runs,
            "rows": self.rows.astype(object).where(self.rows.notna(), None).to_dict("records"),
        }


@dataclass(frozen=True)
class Predictions(Decision):
    """Predicted accuracies by group.

    Attributes:
        fit: that predicted them.
        level: of the intervals.
        groups: rows with their predictions.
        notes: rows skipped with the reason, and doubtful predictions.
    """

    fit: Fit
    level: float
    groups: list[Predicted]
    notes: list[str]

    def to_frame(self) -> pd.DataFrame:
        """All predicted rows in the order of the table."""
        return pd.concat([group.rows for group in self.groups]).sort_index()

    def _content(self) -> dict[str, Any]:
        groups = [group.to_dict() for group in self.groups]
        return {"fit": self.fit.path, "level": self.level, "groups": groups, "notes": self.notes}

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the predictions on their curves; with a path, also write the figure as ``.svg`` or ``.png``."""
        from rbridge_tasks.charts.fit import draw_predictions

        return draw_predictions(self, path)


def predict_rows(
    fit: Fit,
    table: pd.DataFrame | str | Path | npt.ArrayLike,
    *,
    x: str | None,
    y: str | None,
    use: Sequence[str],
    level: float | None,
    unit: str,
    allow_incomparable: bool,
) -> Predictions:
    """Predict an accuracy for every row that a curve is for; see ``Fit.predict``."""
    level = fit.level if level is None else level
    skipped: Counter[str] = Counter()
    if isinstance(table, (str, Path)):
        table = read_table(table, text=[*TEXT, *fit.columns])
    if isinstance(table, pd.DataFrame):
        rows = _rows_of_proxy(fit, table, skipped)
        column = x or (fit.source.x if isinstance(fit.source, PairsSource) else "value")
    else:
        scores = np.atleast_1d(table)
        if scores.ndim != 1:
            raise PredictionError(f"an array of shape {scores.shape}; expected scores in one dimension")
        rows, column = pd.DataFrame({"score": scores}), "score"
        use = use or ([*fit.groups[0].key.values()] if len(fit.groups) == 1 else [])
    _check_columns(rows, [column, *([y] if y else []), *([] if use else fit.columns)])
    finite = np.isfinite(as_numbers(rows[column]))
    skipped[f"without a finite {column}"] += int((~finite).sum())
    groups = [
        _predicted(group, name, part, as_numbers(part[column]).to_numpy(), level)
        for group, name, part in _groups(fit, rows[finite], use, skipped)
    ]
    notes = [f"{counted(count, 'row')} skipped: {why}" for why, count in skipped.items() if count]
    if not groups:
        raise PredictionError(f"no row can be predicted by {fit.path}; {'; '.join(notes) or 'the table is empty'}")
    for predicted in groups:
        fitted = [measured for measured in fit.measured if [measured.benchmark] == [*predicted.group.key.values()]]
        if fitted and "benchmark" in predicted.rows.columns:
            # With --use, rows of another benchmark are compared with the scores of the curve's benchmark.
            compared = predicted.rows.assign(benchmark=fitted[0].benchmark)
            exempt = (ITEMS, TRACES) if use else ()
            notes += check_rows(compared, allow=allow_incomparable, beside=fitted, but=exempt)
    if y:
        groups = _with_actual(groups, y, unit, notes)
    return Predictions(fit, level, groups, [*notes, *_doubts(groups)])


def _check_columns(rows: pd.DataFrame, needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in rows.columns]:
        raise PredictionError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, rows.columns))}. Name the "
            "score with --x; to use one curve for every row, name its group with --use"
        )
    check_once(rows, needed)
    if taken := [name for name in ADDED if name in rows.columns]:
        raise PredictionError(f"the table has columns named {', '.join(taken)} already; rename or drop them")


def _rows_of_proxy(fit: Fit, table: pd.DataFrame, skipped: Counter[str]) -> pd.DataFrame:
    """The rows of the table with scores of the proxy that was fitted; all rows of a table of pairs."""
    if isinstance(fit.source, PairsSource):
        return table
    try:
        table = checked_scores(table)
    except ScoreTableError as error:
        raise PredictionError(f"{fit.path} was fitted to a score table, and {error}") from error
    metric = fit.source.proxy_metric
    of_metric = table["metric"] == metric
    skipped[f"of another metric than {metric}"] += int((~of_metric).sum())
    table = table[of_metric]
    sizes = np.array(fit.source.proxy_params, dtype=np.float64)
    if not len(sizes):
        return table
    distance = np.abs(np.log(table["params"].to_numpy()[:, None] / sizes)).min(axis=1)
    too_far = distance > math.log(SIZE_WITHIN)  # False for rows of unknown size
    skipped[f"of another size than the proxy's {sizes[0]:g} parameters"] += int(too_far.sum())
    return table[~too_far]


def _groups(
    fit: Fit, rows: pd.DataFrame, use: Sequence[str], skipped: Counter[str]
) -> list[tuple[FittedGroup, str, pd.DataFrame]]:
    """For each group of rows that has a curve: the curve, the name of the rows, and the rows."""
    if use:
        return [(fit.group(*use), "all rows", rows)] if len(rows) else []
    curves = {(*group.key.values(),): group for group in fit.groups}
    parts = rows_by_key(rows, fit.columns)
    for key, part in parts.items():
        if key not in curves:
            name = group_name(dict(zip(fit.columns, key, strict=True)))
            skipped[f"{fit.path} has no curve for {name}"] += len(part)
    return [(curves[key], curves[key].name, part) for key, part in parts.items() if key in curves]


def _predicted(group: FittedGroup, name: str, rows: pd.DataFrame, scores: Values, level: float) -> Predicted:
    middle = group.model.predict(scores)
    low, high = group.model.predict_interval(scores, level)
    added = {
        "predicted_accuracy_pct": middle,
        "low_pct": low,
        "high_pct": high,
        "outside_fitted_range": group.model.outside_range(scores),
        "rank": pd.Series(middle).rank(method="min", ascending=False).astype("Int64").to_numpy(),
    }
    return Predicted(group, name, rows.assign(**added), scores)


def _with_actual(groups: list[Predicted], y: str, unit: str, notes: list[str]) -> list[Predicted]:
    """The predictions with the accuracies of column ``y``, in percent."""
    actual, unit_notes = in_percent([(group.name, as_numbers(group.rows[y]).to_numpy()) for group in groups], unit, y)
    notes += unit_notes
    return [replace(group, actual=part) for group, part in zip(groups, actual, strict=True)]


def _doubts(groups: Sequence[Predicted]) -> list[str]:
    doubts = []
    for group in groups:
        low, high = group.group.model.range_
        outside = int(group.rows["outside_fitted_range"].sum())
        if outside:
            doubts.append(
                f"{group.name}: {outside} of {counted(len(group.rows), 'row')} lie outside the fitted scores, {low:g} "
                f"to {high:g}; what is predicted there rests on the shape of the curve alone"
            )
        middle = group.rows["predicted_accuracy_pct"].to_numpy(dtype=np.float64)
        impossible = int((~((middle >= 0) & (middle <= 100))).sum())
        if impossible:
            doubts.append(
                f"{group.name}: {counted(impossible, 'prediction')} of the {group.group.model.recipe} recipe cannot be "
                "an accuracy, being outside 0..100 or undefined; the robust recipe gives none such"
            )
    return doubts
