"""Accuracies for the rows of a table, through the curves of a fit file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.decisions.fit_file import FitFile, FittedGroup
from rbridge_tasks.decisions.pairing import Values, as_numbers, cell_text, in_percent
from rbridge_tasks.decisions.score_pairs import SIZE_WITHIN
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.score_table import ScoreTableError, checked_scores, write_table
from rbridge_tasks.tables.settings import ITEMS, TRACES
from rbridge_tasks.tables.table_settings import check_rows

ADDED = ("predicted_accuracy_pct", "low_pct", "high_pct", "outside_fitted_range", "rank")


class PredictionError(RBridgeError):
    """A table that a fit file says nothing about."""


@dataclass(frozen=True)
class Predicted:
    """Rows of one group with what is predicted of them.

    Attributes:
        group: the curve used.
        name: of the rows; another than the group's where a curve is carried over to them.
        rows: the table's rows, with the columns ``ADDED``.
        scores: proxy scores, shape (rows,).
        actual: accuracies in percent, NaN where unknown, shape (rows,), or None.
    """

    group: FittedGroup
    name: str
    rows: pd.DataFrame
    scores: Values
    actual: Values | None

    @property
    def mae_pct(self) -> float:
        """Mean absolute error in points where the accuracy is known; NaN where it nowhere is."""
        known = self._known()
        errors = np.abs(self.rows["predicted_accuracy_pct"].to_numpy()[known] - self._actual()[known])
        return float(errors.mean()) if len(errors) else math.nan

    @property
    def coverage(self) -> float:
        """Share of known accuracies inside their interval; NaN where none is known."""
        known = self._known()
        actual, inside = self._actual()[known], self.rows[known]
        return (
            float(((inside["low_pct"] <= actual) & (actual <= inside["high_pct"])).mean()) if known.any() else math.nan
        )

    def _actual(self) -> Values:
        return np.full(len(self.rows), math.nan) if self.actual is None else self.actual

    def _known(self) -> npt.NDArray[np.bool_]:
        return np.asarray(np.isfinite(self._actual()) & np.isfinite(self.rows["predicted_accuracy_pct"].to_numpy()))


def predict_table(
    fit: FitFile,
    table: pd.DataFrame,
    *,
    x: str | None = None,
    y: str | None = None,
    use: Sequence[str] = (),
    level: float | None = None,
    unit: str = "auto",
    allow_incomparable: bool = False,
) -> tuple[list[Predicted], list[str]]:
    """Predict an accuracy for every row that a curve of the file is for.

    Args:
        fit: the file.
        table: as the one fitted: pairs without their accuracy, or a score table.
        x: column of the proxy score; by default the one of the fit.
        y: column of accuracies to compare with, if there is one.
        use: values of the one group whose curve to use for all rows, whatever they are.
        level: of the intervals; by default the file's.
        unit: of the accuracies, see ``pairing.in_percent``.
        allow_incomparable: predict from scores whose settings differ from those fitted, and note it.

    Returns:
        Predictions by group, and notes: rows skipped with the reason, and predictions outside the fitted scores.

    Raises:
        PredictionError: a column is missing, or no row can be predicted.
        IncomparableError: a row's settings differ from those of the scores fitted, such as other shots.
    """
    notes: list[str] = []
    skipped: Counter[str] = Counter()
    rows = _rows(fit, table, skipped)
    column = x or ("value" if fit.source["kind"] == "scores" else fit.source["x"])
    needed = [column, *([y] if y else []), *([] if use else fit.columns)]
    if missing := [name for name in needed if name not in rows.columns]:
        raise PredictionError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. Name the "
            "score with --x; to use one curve for every row, name its group with --use"
        )
    if taken := [name for name in ADDED if name in rows.columns]:
        raise PredictionError(f"the table has columns named {', '.join(taken)} already; rename or drop them")
    scores = as_numbers(rows[column])
    whole = np.isfinite(scores)
    skipped[f"without a finite {column}"] += int((~whole).sum())
    rows, scores = rows[whole], scores[whole]
    found = []
    for group, name, chosen in _groups(fit, rows, use, skipped):
        found.append(_predicted(fit, group, name, rows.iloc[chosen], scores.iloc[chosen].to_numpy(), level))
    notes += [f"{counted(count, 'row')} skipped: {why}" for why, count in skipped.items() if count]
    if not found:
        raise PredictionError(f"no row can be predicted by {fit.path}; {'; '.join(notes) or 'the table is empty'}")
    for one in found:
        beside = [measured for measured in fit.measured if [measured.benchmark] == [*one.group.key.values()]]
        if beside and "benchmark" in one.rows.columns:
            own = one.rows.assign(benchmark=beside[0].benchmark)  # another one's curve, with --use, is compared too
            notes += check_rows(own, allow=allow_incomparable, beside=beside, but=() if not use else (ITEMS, TRACES))
    if y:
        found = _with_actual(found, y, unit, notes)
    return found, [*notes, *_doubts(found)]


def _rows(fit: FitFile, table: pd.DataFrame, skipped: Counter[str]) -> pd.DataFrame:
    """The rows of the table that have scores of the proxy that was fitted."""
    if fit.source["kind"] != "scores":
        return table
    try:
        table = checked_scores(table)
    except ScoreTableError as error:
        raise PredictionError(f"{fit.path} was fitted to a score table, and {error}") from error
    metric = fit.source["proxy_metric"]
    of_metric = table["metric"] == metric
    skipped[f"of another metric than {metric}"] += int((~of_metric).sum())
    table = table[of_metric]
    sizes = np.array(fit.source["proxy_params"], dtype=np.float64)
    if not len(sizes):
        return table
    distance = np.abs(np.log(table["params"].to_numpy()[:, None] / sizes)).min(axis=1)
    other = distance > math.log(SIZE_WITHIN)  # an unknown size is not another one
    skipped[f"of another size than the proxy's {sizes[0]:g} parameters"] += int(other.sum())
    return table[~other]


def _groups(
    fit: FitFile, rows: pd.DataFrame, use: Sequence[str], skipped: Counter[str]
) -> list[tuple[FittedGroup, str, list[int]]]:
    """The curve to use, the name of the rows, and their places, for each group of rows that has a curve."""
    if use:
        return [(fit.group(*use), "all rows", [*range(len(rows))])] if len(rows) else []
    places: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows[fit.columns].itertuples(index=False, name=None)):
        places.setdefault(tuple(map(cell_text, row)), []).append(place)
    curves = {(*group.key.values(),): group for group in fit.groups}
    for key in places.keys() - curves.keys():
        skipped[f"{fit.path} has no curve for {', '.join(key)}"] += len(places[key])
    return [(curves[key], curves[key].name, chosen) for key, chosen in places.items() if key in curves]


def _predicted(
    fit: FitFile, group: FittedGroup, name: str, rows: pd.DataFrame, scores: Values, level: float | None
) -> Predicted:
    middle = group.model.predict(scores)
    low, high = group.model.predict_interval(scores, fit.level if level is None else level)
    added = {
        "predicted_accuracy_pct": middle,
        "low_pct": low,
        "high_pct": high,
        "outside_fitted_range": group.model.outside_range(scores),
        "rank": pd.Series(middle).rank(method="min", ascending=False).astype("Int64").to_numpy(),
    }
    return Predicted(group, name, rows.assign(**added), scores, None)


def _with_actual(found: list[Predicted], y: str, unit: str, notes: list[str]) -> list[Predicted]:
    """The predictions with the accuracies that the table holds, in percent."""
    actual = np.concatenate([as_numbers(one.rows[y]).to_numpy() for one in found])
    ends = np.cumsum([len(one.rows) for one in found])
    known = np.isfinite(actual)
    if known.any():
        names = np.repeat([one.name for one in found], [len(one.rows) for one in found])[known]
        rows: dict[tuple[str, ...], list[int]] = {
            (name,): np.flatnonzero(names == name).tolist() for name in dict.fromkeys(names.tolist())
        }
        actual[known], unit_notes = in_percent(actual[known], rows, unit, y)
        notes += unit_notes
    return [replace(one, actual=own) for one, own in zip(found, np.split(actual, ends[:-1]), strict=True)]


def _doubts(found: Sequence[Predicted]) -> list[str]:
    doubts = []
    for one in found:
        low, high = one.group.model.range_
        outside = int(one.rows["outside_fitted_range"].sum())
        if outside:
            doubts.append(
                f"{one.name}: {outside} of {counted(len(one.rows), 'row')} lie outside the fitted scores, {low:g} to "
                f"{high:g}; what is predicted there rests on the shape of the curve alone"
            )
        middle = one.rows["predicted_accuracy_pct"].to_numpy(dtype=np.float64)
        impossible = int((~((middle >= 0) & (middle <= 100))).sum())
        if impossible:
            doubts.append(
                f"{one.name}: {counted(impossible, 'prediction')} of the {one.group.model.recipe} recipe cannot be an "
                "accuracy, being outside 0..100 or undefined; the robust recipe gives none such"
            )
    return doubts


def write_predictions(found: Sequence[Predicted], path: str | Path) -> None:
    """Write the rows of all groups in the table's own order, atomically, as ``.csv`` or ``.parquet``."""
    table = pd.concat([one.rows for one in found]).sort_index()
    write_table(table, path, "a table of predictions")
