"""Metrics compared on the same points: how they order and predict the target, which is best, which are as good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rbridge_metrics import cross_validate
from rbridge_metrics.errors import FitError
from rbridge_metrics.paired_comparison import (
    MIN_UNITS,
    compare_with_best,
    drawn_counts,
    resampled_agreement,
    resampled_weighted_means,
)
from rbridge_metrics.ranking import agreement
from rbridge_metrics.validation import CrossValidation
from rbridge_tasks.decisions.comparison_points import PointKey, Points
from rbridge_tasks.decisions.target_agreement import MEAN, interval_of_known
from rbridge_tasks.decisions.target_agreement import MEASURES as ORDER_MEASURES
from rbridge_tasks.tables.rows import counted

Values = npt.NDArray[np.float64]

MEASURES = ("mae", *ORDER_MEASURES)
BASELINES = ("log(tokens)", "last value", "mean", "chance")
_CHANCE = {"decision_accuracy": 0.5, "kendall_tau_b": 0.0, "spearman": 0.0}


@dataclass(frozen=True)
class FitSettings:
    """Settings of ``cross_validate``."""

    cv: str = "blocked"
    folds: int = 5
    min_train: int = 4


@dataclass(frozen=True)
class ComparisonSettings:
    """The measure that decides which metric is best (``by``), the fits (None for no fits), and the bootstrap."""

    by: str = "decision_accuracy"
    fits: FitSettings | None = field(default_factory=FitSettings)
    resamples: int = 2000
    level: float = 0.9
    seed: int = 0


@dataclass
class _Measured:
    """Values and resamples of one metric by measure, while they are gathered."""

    train_r2: float = math.nan
    value: dict[str, float] = field(default_factory=dict)
    resampled: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparedMetric:
    """One metric or baseline, on one benchmark or in the mean.

    Attributes:
        name: of the metric or baseline.
        baseline: it uses no proxy score.
        train_r2: mean over folds of R^2 of the fit; NaN without fits.
        value, low, high: value and interval by measure; NaN if undefined. ``mae`` is in percentage points.
        resampled: by measure, shape (resamples,).
        best: by the measure asked for.
        alike: no significant difference to the best.
        ahead: a baseline that is significantly better than the best.
    """

    name: str
    baseline: bool
    train_r2: float
    value: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    resampled: dict[str, Values] = field(repr=False)
    best: bool = False
    alike: bool = False
    ahead: bool = False

    @property
    def wrong_way(self) -> bool:
        """Whether its decision accuracy is below 1/2, interval included."""
        return not self.baseline and self.high.get("decision_accuracy", math.nan) < 0.5


@dataclass(frozen=True)
class BenchmarkComparison:
    """All metrics and baselines on one benchmark, or of ``MEAN``: the best first, the baselines last.

    Attributes:
        benchmark: name.
        points: number of points.
        flops: training compute, see ``Points``.
        rows: of metrics and baselines.
        critical: number of standard errors that makes a difference significant; NaN if none was tested.
    """

    benchmark: str
    points: int
    flops: float
    rows: tuple[ComparedMetric, ...]
    critical: float = math.nan


def compare_metrics(
    points: Sequence[Points], settings: ComparisonSettings
) -> tuple[list[BenchmarkComparison], list[str]]:
    """Compare metrics on every benchmark and in the mean over benchmarks.

    The bootstrap draws runs (candidates, or whole runs with all their checkpoints) with replacement, the same for all
    metrics and benchmarks. With fewer than 5 runs it draws blocks of neighbouring checkpoints, as long as the cube root
    of their number; with fewer than 5 checkpoints there are no intervals and no tests. A metric whose decision accuracy
    is below 1/2, interval included, is never the best, however well a falling curve fits it.

    Returns:
        A comparison for each benchmark, and one of their means if there are several; and notes.
    """
    notes: list[str] = []
    units, counts = _draws(points, settings, notes)
    parts = [_compared(part, counts, units, settings, notes) for part in points]
    if len(parts) > 1:
        parts.append(_mean(parts, settings.level, notes))
    for part in parts:
        if wrong := [row.name for row in part.rows if row.wrong_way]:
            notes.append(
                f"{part.benchmark}: {counted(len(wrong), 'metric')} running the wrong way, not to predict or decide "
                f"with: {', '.join(wrong[:5])}{', ...' if len(wrong) > 5 else ''}"
            )
    return [_judged(part, settings) for part in parts], notes


def _draws(
    points: Sequence[Points], settings: ComparisonSettings, notes: list[str]
) -> tuple[dict[str | PointKey, int], Values | None]:
    """Position of every unit (run or point), and how often each was drawn; None if there are too few."""
    if min(len(part.keys) for part in points) < MIN_UNITS:
        notes.append(f"fewer than {MIN_UNITS} points on a benchmark: no intervals, and no metric is told from another")
        return {}, None
    runs = list(dict.fromkeys(run for part in points for run in part.runs))
    units: list[str | PointKey] = [*runs]
    block = 1
    if min(len(set(part.runs)) for part in points) < MIN_UNITS:
        keys = {key for part in points for key in part.keys}
        units = [*sorted(keys, key=lambda key: (key.run, key.tokens or 0.0))]
        block = round(len(units) ** (1 / 3))
        notes.append(
            f"{counted(len(runs), 'run')}: the bootstrap draws {block} neighbouring checkpoints at a time; errors of a "
            "run may hang together for longer, and other runs may differ, so differences look surer than they are"
        )
    counts = drawn_counts(len(units), resamples=settings.resamples, seed=settings.seed, block=block)
    return {unit: place for place, unit in enumerate(units)}, counts


def _compared(
    points: Points,
    counts: Values | None,
    units: Mapping[str | PointKey, int],
    settings: ComparisonSettings,
    notes: list[str],
) -> BenchmarkComparison:
    drawn = None
    if counts is not None:
        drawn = counts[:, [units[key if key in units else key.run] for key in points.keys]]
    names = [metric.name for metric in points.metrics]
    signs = np.array([-1.0 if metric.lower_is_better else 1.0 for metric in points.metrics])
    ordering = signs[:, None] * points.scores
    if points.tokens is not None:
        names.append("log(tokens)")
        ordering = np.vstack([ordering, points.tokens])
    measured = {name: _Measured() for name in (*names, *BASELINES)}
    target = points.target * (-1.0 if points.target_metric.lower_is_better else 1.0)
    _measure_order(measured, names, ordering, target, drawn)
    if points.is_accuracy and settings.fits is not None:
        _measure_fits(measured, points, drawn, settings.fits, notes)
    rows = [_row(name, values, settings.level) for name, values in measured.items() if values.value]
    return BenchmarkComparison(points.benchmark, len(points.target), points.flops, tuple(rows))


def _measure_order(
    measured: Mapping[str, _Measured], names: Sequence[str], ordering: Values, target: Values, drawn: Values | None
) -> None:
    """Fill in decision accuracy, tau-b and rho of every row of ``ordering``, and those of chance."""
    observed = agreement(ordering, target, lower_is_better=False)
    resampled = None if drawn is None else resampled_agreement(ordering, target, drawn)
    for measure, chance in _CHANCE.items():
        for place, name in enumerate(names):
            measured[name].value[measure] = float(getattr(observed, measure)[place])
            if resampled is not None:
                measured[name].resampled[measure] = getattr(resampled, measure)[place]
        measured["chance"].value[measure] = chance
        if drawn is not None:
            measured["chance"].resampled[measure] = np.full(len(drawn), chance)


def _measure_fits(
    measured: Mapping[str, _Measured], points: Points, drawn: Values | None, settings: FitSettings, notes: list[str]
) -> None:
    """Fill in cross-validated errors of every metric on the same folds, and of the baselines."""
    failed: dict[str, str] = {}
    with_log = True  # the baselines are the same for every metric: the slow one is fitted once
    for place, metric in enumerate(points.metrics):
        try:
            validation = cross_validate(
                points.scores[place],
                points.target,
                scheme=settings.cv,
                order=points.tokens,
                order_name="tokens",
                run=points.runs,
                n_folds=min(settings.folds, len(points.target)),
                min_train=settings.min_train,
                log_baseline=with_log,
            )
        except FitError as error:
            failed[metric.name] = str(error)
            continue
        if validation.skipped:
            failed[metric.name] = validation.skipped[0]
            continue
        measured[metric.name].train_r2 = validation.train_r2
        baselines = [name for name in validation.baselines if name != "last value" or points.tokens is not None]
        for name in (metric.name, *baselines):
            errors, weights = _errors(validation, "proxy" if name == metric.name else name, len(points.target))
            measured[name].value["mae"] = float(errors @ weights)
            if drawn is not None:
                measured[name].resampled["mae"] = resampled_weighted_means(errors[None], weights, drawn)[0]
        with_log = False
    if failed:
        name, reason = next(iter(failed.items()))
        notes.append(f"{points.benchmark}: {counted(len(failed), 'metric')} not fitted, such as {name}: {reason}")


def _errors(validation: CrossValidation, name: str, points: int) -> tuple[Values, Values]:
    """Absolute error and weight of each point; the weighted mean is the mean over folds of the folds' means."""
    errors, weights = np.zeros(points), np.zeros(points)
    for fold in validation.folds:
        errors[fold.test] = fold.errors[name]
        weights[fold.test] = 1.0 / (len(fold.test) * len(validation.folds))
    return errors, weights


def _row(name: str, measured: _Measured, level: float) -> ComparedMetric:
    low, high = {}, {}
    for measure, value in measured.value.items():
        draws = measured.resampled.get(measure, np.array([])) if math.isfinite(value) else np.array([])
        low[measure], high[measure] = interval_of_known(draws, level)
    return ComparedMetric(name, name in BASELINES, measured.train_r2, measured.value, low, high, measured.resampled)


def _mean(parts: Sequence[BenchmarkComparison], level: float, notes: list[str]) -> BenchmarkComparison:
    """Means of the rows that every benchmark has."""
    tables = [{row.name: row for row in part.rows} for part in parts]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    lost = {name for table in tables for name in table if name not in shared and name not in BASELINES}
    if lost:
        notes.append(
            f"{counted(len(lost), 'metric')} not in the mean, a benchmark lacks them: {', '.join(sorted(lost))}"
        )
    rows = []
    for name in shared:
        group = [table[name] for table in tables]
        measured = _Measured(float(np.mean([row.train_r2 for row in group])))
        for measure in MEASURES:
            if all(measure in row.value for row in group):
                measured.value[measure] = float(np.mean([row.value[measure] for row in group]))
            if all(measure in row.resampled for row in group):
                measured.resampled[measure] = np.mean([row.resampled[measure] for row in group], axis=0)
        rows.append(_row(name, measured, level))
    flops = {part.flops for part in parts}
    same_flops = flops.pop() if len(flops) == 1 else math.nan
    return BenchmarkComparison(MEAN, min(part.points for part in parts), same_flops, tuple(rows))


def _judged(part: BenchmarkComparison, settings: ComparisonSettings) -> BenchmarkComparison:
    """With the best metric and those as good as it marked, all in order."""
    rows = part.rows
    sign = -1.0 if settings.by == "mae" else 1.0
    values = np.array([sign * row.value.get(settings.by, math.nan) for row in rows])
    eligible = np.isfinite(values) & ~np.array([row.baseline or row.wrong_way for row in rows], dtype=bool)
    critical = math.nan
    if eligible.any():
        best = int(np.where(eligible, values, -np.inf).argmax())
        alike, ahead = np.isfinite(values), np.zeros(len(rows), dtype=bool)
        draws = [row.resampled.get(settings.by) for row in rows]
        if known := [draw for draw in draws if draw is not None]:
            unknown = np.full(known[0].size, math.nan)
            table = np.stack([sign * (unknown if draw is None else draw) for draw in draws])
            best, alike, ahead, critical = compare_with_best(values, table, may_be_best=eligible, level=settings.level)
        rows = tuple(
            replace(row, best=place == best, alike=bool(alike[place]), ahead=bool(ahead[place]))
            for place, row in enumerate(rows)
        )
    places = sorted(
        range(len(rows)),
        key=lambda place: (
            rows[place].baseline,
            rows[place].wrong_way,
            -values[place] if math.isfinite(values[place]) else math.inf,
        ),
    )
    return replace(part, rows=tuple(rows[place] for place in places), critical=critical)
