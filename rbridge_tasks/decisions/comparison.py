"""Every metric side by side: fit and decisions, how sure they are, the best and what cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rbridge_metrics.paired_comparison import MIN_UNITS, compare_with_best, drawn_counts
from rbridge_tasks.decisions.comparison_measures import FitSettings, Measured, measure_decisions, measure_fits
from rbridge_tasks.decisions.comparison_points import Points
from rbridge_tasks.tables.rows import counted

Values = npt.NDArray[np.float64]

MEAN = "mean of benchmarks"
MEASURES = ("mae", "decision_accuracy", "kendall_tau_b", "spearman")
BASELINES = ("log(tokens)", "last value", "mean", "chance")


@dataclass(frozen=True)
class Settings:
    """Of the fits, none where None; of the bootstrap over points; and which measure tells the best (``by``)."""

    by: str = "decision_accuracy"
    fits: FitSettings | None = field(default_factory=FitSettings)
    resamples: int = 2000
    level: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One metric, or one baseline, on one benchmark or over all.

    Attributes:
        name: of the metric or baseline.
        baseline: needs no proxy score.
        train_r2: mean over folds of R^2 of the fit; NaN without.
        value, low, high: by measure; NaN where it is not defined. ``mae`` is in percentage points.
        resampled: by measure, shape (resamples,).
        best: by the measure asked for.
        alike: neither it nor the best is shown to be better.
        ahead: a baseline that is shown to be better than the best.
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
        """Whether it orders pairs against its direction more often than not, beyond its interval."""
        return not self.baseline and self.high.get("decision_accuracy", math.nan) < 0.5


@dataclass(frozen=True)
class Section:
    """All rows of one benchmark, or of ``MEAN``, the best first and the baselines last.

    Attributes:
        benchmark: whose.
        points: how many.
        flops: training compute of what is scored, see ``Points``.
        rows: of metrics and baselines.
        critical: standard errors that a difference had to exceed; NaN where none was tested.
    """

    benchmark: str
    points: int
    flops: float
    rows: tuple[Row, ...]
    critical: float = math.nan


def compare_metrics(points: Sequence[Points], settings: Settings) -> tuple[list[Section], list[str]]:
    """Compare on every benchmark and over them.

    The bootstrap draws runs (candidates, or whole runs with all their checkpoints) with replacement, the same for all
    metrics and benchmarks; where there are fewer than 5 runs it draws blocks of neighbouring checkpoints, as many as
    the cube root of their number; with fewer than 5 of these there are no intervals, and nothing is told apart. A
    metric that orders pairs the wrong way, beyond its interval, is never the best, however well a falling curve fits.

    Returns:
        A section a benchmark, and one of their means where there are several; and notes.
    """
    notes: list[str] = []
    units, counts = _draws(points, settings, notes)
    sections = [_section(one, counts, units, settings, notes) for one in points]
    if len(sections) > 1:
        sections.append(_mean(sections, settings, notes))
    for section in sections:
        if wrong := [row.name for row in section.rows if row.wrong_way]:
            notes.append(
                f"{section.benchmark}: {counted(len(wrong), 'metric')} running the wrong way, not to predict or decide "
                f"with: {', '.join(wrong[:5])}{', ...' if len(wrong) > 5 else ''}"
            )
    return [_judged(section, settings) for section in sections], notes


def _draws(points: Sequence[Points], settings: Settings, notes: list[str]) -> tuple[dict[Hashable, int], Values | None]:
    """Place of every unit, by run or by point, and how often each was drawn; no draws where there are too few."""
    runs = list(dict.fromkeys(run for one in points for run in one.runs))
    keys = list(dict.fromkeys(key for one in points for key in one.keys))
    fewest = min(len(set(one.runs)) for one in points)
    if min(len(one.keys) for one in points) < MIN_UNITS:
        notes.append(f"fewer than {MIN_UNITS} points on a benchmark: no intervals, and no metric is told from another")
        return {}, None
    units: list[Hashable] = [*runs]
    block = 1
    if fewest < MIN_UNITS:
        units = sorted(keys, key=_in_training)
        block = round(len(units) ** (1 / 3))
        notes.append(
            f"{counted(len(runs), 'run')}: the bootstrap draws {block} neighbouring checkpoints at a time; errors of a "
            "run may hang together for longer, and other runs may differ, so differences look surer than they are"
        )
    counts = drawn_counts(len(units), resamples=settings.resamples, seed=settings.seed, block=block)
    return {unit: at for at, unit in enumerate(units)}, counts


def _in_training(key: Hashable) -> tuple[str, float]:
    """Checkpoints of a run follow each other."""
    return (str(key[0]), float(key[1])) if isinstance(key, tuple) and len(key) > 1 else (str(key), 0.0)


def _section(
    points: Points, counts: Values | None, units: dict[Hashable, int], settings: Settings, notes: list[str]
) -> Section:
    by_run = bool(units) and points.keys[0] not in units
    own = None if counts is None else counts[:, [units[key] for key in (points.runs if by_run else points.keys)]]
    names = [metric.name for metric in points.metrics]
    signs = np.array([-1.0 if metric.lower_is_better else 1.0 for metric in points.metrics])
    ordering = signs[:, None] * points.scores
    if points.tokens is not None:
        names.append("log(tokens)")
        ordering = np.vstack([ordering, points.tokens])
    sign = -1.0 if points.target_metric.lower_is_better else 1.0
    rows = dict.fromkeys([*names, *(name for name in BASELINES if name not in names)])
    found = {name: Measured() for name in rows}
    measure_decisions(found, names, ordering, sign * points.target, own)
    if points.is_accuracy and settings.fits is not None:
        measure_fits(found, points, own, settings.fits, notes)
    kept = {name: one for name, one in found.items() if one.value}
    return Section(
        points.benchmark,
        len(points.target),
        points.flops,
        tuple(_row(name, one, settings.level) for name, one in kept.items()),
    )


def _row(name: str, measured: Measured, level: float) -> Row:
    low, high = {}, {}
    for measure, value in measured.value.items():
        draws = measured.resampled.get(measure, np.array([]))
        draws = draws[np.isfinite(draws)]
        known = draws.size > 0 and math.isfinite(value)
        low[measure], high[measure] = (
            np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist() if known else (math.nan, math.nan)
        )
    return Row(name, name in BASELINES, measured.train_r2, measured.value, low, high, measured.resampled)


def _mean(sections: Sequence[Section], settings: Settings, notes: list[str]) -> Section:
    """Of the rows that every benchmark has."""
    tables = [{row.name: row for row in section.rows} for section in sections]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    lost = {name for table in tables for name in table if name not in shared and name not in BASELINES}
    if lost:
        notes.append(
            f"{counted(len(lost), 'metric')} not in the mean, a benchmark lacks them: {', '.join(sorted(lost))}"
        )
    rows = []
    for name in shared:
        own = [table[name] for table in tables]
        measured = Measured(float(np.mean([row.train_r2 for row in own])))
        for measure in MEASURES:
            if all(measure in row.value for row in own):
                measured.value[measure] = float(np.mean([row.value[measure] for row in own]))
            if all(measure in row.resampled for row in own):
                measured.resampled[measure] = np.mean([row.resampled[measure] for row in own], axis=0)
        rows.append(_row(name, measured, settings.level))
    flops = {section.flops for section in sections}
    return Section(
        MEAN, min(section.points for section in sections), flops.pop() if len(flops) == 1 else math.nan, tuple(rows)
    )


def _judged(section: Section, settings: Settings) -> Section:
    """The best metric, what cannot be told from it, and all in order."""
    rows = section.rows
    sign = -1.0 if settings.by == "mae" else 1.0
    values = np.array([sign * row.value.get(settings.by, math.nan) for row in rows])
    eligible = np.isfinite(values) & ~np.array([row.baseline or row.wrong_way for row in rows], dtype=bool)
    critical = math.nan
    if eligible.any():
        best = int(np.where(eligible, values, -np.inf).argmax())
        alike, ahead = np.isfinite(values), np.zeros(len(rows), dtype=bool)
        lengths = {row.resampled[settings.by].size for row in rows if settings.by in row.resampled}
        if lengths:
            nothing = np.full(lengths.pop(), math.nan)
            table = np.stack([sign * row.resampled.get(settings.by, nothing) for row in rows])
            found = compare_with_best(values, table, may_be_best=eligible, level=settings.level)
            best, alike, ahead, critical = found
        rows = tuple(
            replace(row, best=at == best, alike=bool(alike[at]), ahead=bool(ahead[at])) for at, row in enumerate(rows)
        )
    order = sorted(
        range(len(rows)),
        key=lambda at: (rows[at].baseline, rows[at].wrong_way, -values[at] if math.isfinite(values[at]) else math.inf),
    )
    return replace(section, rows=tuple(rows[at] for at in order), critical=critical)
