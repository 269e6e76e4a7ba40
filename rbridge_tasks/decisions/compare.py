"""``compare``: every proxy metric and comparator of a score table against the same target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rbridge_metrics.folds import SCHEMES
from rbridge_tasks.decisions.candidates import as_names, as_size
from rbridge_tasks.decisions.comparison_points import CompareError, candidate_points, checkpoint_points
from rbridge_tasks.decisions.decision import Decision, check_draws
from rbridge_tasks.decisions.metric_comparison import (
    MEASURES,
    BenchmarkComparison,
    ComparedMetric,
    ComparisonSettings,
    FitSettings,
    compare_metrics,
)
from rbridge_tasks.decisions.pairing import UNITS
from rbridge_tasks.tables.averaging import average_last as mean_of_last
from rbridge_tasks.tables.directions import DirectionError, Metric, metric_called
from rbridge_tasks.tables.names import check_benchmarks, check_metrics, split_names
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.score_table import COLUMNS, KEY, as_scores, checked_scores
from rbridge_tasks.tables.settings_columns import SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.tables.sizes import Size

MEASURE_NAMES = {
    "mae": "test MAE",
    "decision_accuracy": "decision accuracy",
    "kendall_tau_b": "Kendall tau-b",
    "spearman": "Spearman",
}
_OF_BENCHMARK = ("benchmark", "points", "flops")


@dataclass(frozen=True)
class Comparison(Decision):
    """Metrics compared on every benchmark and in the mean.

    Attributes:
        benchmarks: a comparison for each benchmark, then that of the means if there are several.
        settings: of the comparison.
        notes: points and metrics left out, and assumptions, a line each.
    """

    benchmarks: tuple[BenchmarkComparison, ...]
    settings: ComparisonSettings
    notes: tuple[str, ...]

    def verdict(self, part: BenchmarkComparison) -> str:
        """One line: the best metric, the metrics as good as it, and the baselines."""
        by = self.settings.by
        best = next((row for row in part.rows if row.best), None)
        if best is None:
            return f"{part.benchmark}: no metric has a {MEASURE_NAMES[by]}"
        text = f"{part.benchmark}: best by {MEASURE_NAMES[by]}: {best.name}, {best.value[by]:.3f}"
        if math.isnan(part.critical):
            return f"{text}; too few points to tell it from the others"
        others = [row for row in part.rows if not (row.best or row.baseline or row.wrong_way) and by in row.value]
        alike = [row.name for row in others if row.alike]
        text += f"; not distinguishable from it: {len(alike)} of {counted(len(others), 'other metric')}"
        text += f" ({', '.join(alike[:5])}{', ...' if len(alike) > 5 else ''})" if alike else ""
        baselines = [row for row in part.rows if row.baseline and by in row.value]
        if ahead := [row.name for row in part.rows if row.ahead]:
            return f"{text}; the baseline {' or '.join(ahead)} is better"
        if level := [row.name for row in baselines if row.alike]:
            return f"{text}; nor can it be told from the baseline {' or '.join(level)}"
        names = ", ".join(row.name for row in baselines)
        return f"{text}; better than every baseline ({names})" if baselines else text

    def to_frame(self) -> pd.DataFrame:
        """One row for each benchmark and metric or baseline, the best first."""
        return pd.DataFrame([_cells(part, row) for part in self.benchmarks for row in part.rows])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the best metrics and the baselines of each benchmark with their intervals."""
        from rbridge_tasks.charts.compare import draw_comparison

        return draw_comparison(self.benchmarks, self.settings, path)

    def _content(self) -> dict[str, Any]:
        parts = []
        for part in self.benchmarks:
            rows = [_cells(part, row) for row in part.rows]
            parts.append(
                {
                    "benchmark": part.benchmark,
                    "points": part.points,
                    "flops": part.flops,
                    "critical_standard_errors": part.critical,
                    "verdict": self.verdict(part),
                    "rows": [{key: row[key] for key in row if key not in _OF_BENCHMARK} for row in rows],
                }
            )
        return {"settings": asdict(self.settings), "benchmarks": parts, "notes": self.notes}


def compare(
    table: pd.DataFrame | str | Path,
    *,
    target: pd.DataFrame | str | Path | None = None,
    target_metric: str | Sequence[str] = "acc",
    metrics: str | Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    at: Size | str | None = None,
    target_at: Size | str | None = None,
    proxy: str | None = None,
    target_model: str | None = None,
    average_last: int | str | None = None,
    by: str | None = None,
    cv: str | None = None,
    folds: int = 5,
    min_train: int = 4,
    fits: bool = True,
    unit: str = "auto",
    resamples: int = 2000,
    level: float = 0.9,
    seed: int = 0,
    allow_incomparable: bool = False,
) -> Comparison:
    """Compare metrics by how well they order and predict a target, with intervals, baselines and tests.

    Candidate data sets are compared with ``target``: runs at one size, against the target model's scores of the same
    runs. Checkpoints are compared with ``proxy`` and ``target_model``: scores of a small model against a large one's
    accuracy in the same run at the same tokens.

    Args:
        table: a score table of the small models, as a DataFrame or a file.
        target: score table of the target; with ``proxy`` it may be left out.
        target_metric: metric of the target. Of several, a benchmark takes the first that it has.
        metrics: metrics to compare, ``METRIC:lower`` or ``METRIC:higher`` if the direction is unknown; all if empty.
        benchmarks: only these; all if empty.
        at, target_at: size of the candidates and of their target, ``PARAMS:TOKENS``. Default: the largest.
        proxy, target_model: size, name or run of the small and of the large model of checkpoints.
        average_last: score every checkpoint by the mean of it and the ones before it: their number, or ``auto``.
        by: measure that decides which is best, one of ``mae``, ``decision_accuracy``, ``kendall_tau_b``, ``spearman``.
            Default: ``mae`` for checkpoints, ``decision_accuracy`` for candidates.
        cv: folds: ``blocked``, ``forward`` or ``shuffled``. Default: ``blocked`` for checkpoints, else ``shuffled``.
        folds: number of folds of ``blocked`` and ``shuffled``.
        min_train: points before the first prediction of ``forward``.
        fits: fit accuracies, which takes most of the time.
        unit: of the accuracies: ``percent``, ``fraction`` or ``auto``.
        resamples: bootstrap resamples over points.
        level: probability of the intervals, and of all tests on a benchmark together.
        seed: seed of the bootstrap.
        allow_incomparable: compare scores whose settings differ, and note the differences.

    Raises:
        CompareError: arguments that do not fit together, or nothing to compare.
        CandidatesError, PairError: the tables lack the rows asked for.
        DirectionError: the direction of a metric is unknown.
        IncomparableError: scores were measured under different settings.
    """
    for option, value, allowed in (("--by", by, MEASURES), ("--cv", cv, SCHEMES), ("--unit", unit, UNITS)):
        if value is not None and value not in allowed:
            raise CompareError(f"{option} {value!r} is not known; expected one of {', '.join(allowed)}")
    check_draws(seed=seed, level=level)
    if by == "mae" and not fits:
        raise CompareError("--by mae needs fits; leave out --no-fits")
    if (proxy is None) != (target_model is None):
        raise CompareError("--proxy and --target-model name the two models of checkpoints; give both")
    scores, benchmarks = as_scores(table), as_names(benchmarks)
    targets = None if target is None else as_scores(target)
    truths = [metric_called(name) for name in as_names(target_metric)]
    if benchmarks:
        scores = _of_benchmarks(scores, benchmarks)
    chosen, notes = _metrics(scores, as_names(metrics))
    if proxy is not None and target_model is not None:
        if at or target_at:
            raise CompareError("--at and --target-at are for candidates, --proxy for checkpoints; give one of them")
        both = scores if targets is None else _joined(scores, targets)
        used = [metric.name for metric in (*chosen, *truths)]
        both, _, averaged = mean_of_last(both, average_last, shared_trend=False, metrics=used)
        points, lines = checkpoint_points(
            both, chosen, truths, proxy=proxy, target=target_model, unit=unit, allow=allow_incomparable
        )
        scheme, best_by = "blocked", "mae" if fits and all(part.is_accuracy for part in points) else MEASURES[1]
    elif targets is not None:
        used = [metric.name for metric in chosen]
        scores, _, averaged = mean_of_last(scores, average_last, shared_trend=True, metrics=used)
        points, lines = candidate_points(
            scores, targets, chosen, truths, at=as_size(at), target_at=as_size(target_at), unit=unit,
            allow=allow_incomparable,
        )  # fmt: skip
        scheme, best_by = "shuffled", MEASURES[1]
    else:
        raise CompareError(
            "nothing to compare with: give --target TABLE for candidate data sets, or --proxy and --target-model for "
            "checkpoints of one table"
        )
    settings = ComparisonSettings(
        by or best_by, FitSettings(cv or scheme, folds, min_train) if fits else None, resamples, level, seed
    )
    parts, doubts = compare_metrics(points, settings)
    return Comparison(tuple(parts), settings, (*notes, *averaged, *lines, *doubts))


def _metrics(table: pd.DataFrame, named: Sequence[str]) -> tuple[list[Metric], list[str]]:
    """The metrics named; else all of known direction, and a note on the others."""
    in_table = [*dict.fromkeys(table["metric"])]
    if named:
        chosen = [metric_called(name) for name in split_names(named, set(in_table))]
        names = [metric.name for metric in chosen]
        check_metrics(table, names, option="--metrics")
        if len(set(names)) < len(names):
            raise CompareError(f"--metrics names one metric twice: {', '.join(names)}; name each once")
        return chosen, []
    chosen, unknown = [], []
    for name in in_table:
        try:
            chosen.append(metric_called(name))
        except DirectionError:
            unknown.append(name)
    if not chosen:
        raise CompareError(
            f"nothing is known of {', '.join(unknown[:8])}: is lower or higher better? Write --metrics "
            f"{unknown[0]}:lower or {unknown[0]}:higher"
        )
    if not unknown:
        return chosen, []
    return chosen, [
        f"{counted(len(unknown), 'metric')} left out, which way they run is not known: {', '.join(unknown[:8])}; "
        f"name them as {unknown[0]}:lower or {unknown[0]}:higher in --metrics"
    ]


def _of_benchmarks(table: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    check_benchmarks(table, benchmarks)
    return table[table["benchmark"].isin(benchmarks)]


def _joined(scores: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """Both tables as one; a score in both is kept once."""
    parts = [table[[name for name in (*COLUMNS, SETTINGS) if name in table.columns]] for table in (scores, targets)]
    both = pd.concat(parts, ignore_index=True)
    return checked_scores(both.drop_duplicates([*KEY, "value"]), name="scores and targets together")


def _cells(part: BenchmarkComparison, row: ComparedMetric) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "benchmark": part.benchmark, "points": part.points, "flops": part.flops, "metric": row.name,
        "baseline": row.baseline, "best": row.best, "not_distinguishable": row.alike, "better_than_best": row.ahead,
        "wrong_way": row.wrong_way, "train_r2": row.train_r2,
    }  # fmt: skip
    for measure in MEASURES:
        name = "test_mae_pct" if measure == "mae" else measure
        for suffix, values in (("", row.value), ("_low", row.low), ("_high", row.high)):
            cells[name + suffix] = values.get(measure, math.nan)
    return cells
