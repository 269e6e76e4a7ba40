"""``ladder``: what a model of any size will score, from a ladder of small ones, with a backtest and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rbridge_metrics.bootstrap import Interval
from rbridge_metrics.compute import training_flops
from rbridge_metrics.ladder import backtest, intervals
from rbridge_metrics.ladder.backtest import BacktestFit
from rbridge_metrics.ladder.methods import METHODS, Fitted
from rbridge_metrics.ladder.rungs import Rungs
from rbridge_tasks.decisions.candidates import as_names
from rbridge_tasks.decisions.decision import check_draws
from rbridge_tasks.decisions.ladder_result import Ladder, LadderBenchmark, LadderFold, LadderForecast, LadderGrid, Reach
from rbridge_tasks.decisions.ladder_rungs import LadderError, benchmark_rungs, check_reach
from rbridge_tasks.decisions.training_runs import Array, as_count
from rbridge_tasks.tables.averaging import average_last as mean_of_last
from rbridge_tasks.tables.directions import metric_called
from rbridge_tasks.tables.names import check_benchmarks, check_metrics
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.score_table import as_scores
from rbridge_tasks.tables.sizes import Size, count_text, parse_size
from rbridge_tasks.tables.table_settings import check_rows

_FOLD_RESAMPLES = 50
_FAR = 10.0  # times the largest size or compute of the ladder, for a warning
_SAME_SIZE, _SAME_TOKENS = 5e-3, 0.02  # relative, of a target and a run that measured it
_GRID, _FINE_GRID = 25, 120  # points along each side
_GRID_BEYOND = 12.0  # times the largest size
_UNTESTED_DRIFT = 2.0**2  # squared points for each unit of distance, where no benchmark has a backtest


def ladder(
    table: pd.DataFrame | str | Path,
    metric: str = "rbridge_nll",
    *,
    target_metric: str = "acc",
    predict: Sequence[str | tuple[float, float]] = (),
    benchmarks: Sequence[str] = (),
    up_to: float | str | None = None,
    least_ratio: float = 0.0,
    chance: float | Mapping[str, float] | None = None,
    reach: Sequence[float] = (),
    average_last: int | str | None = None,
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
    allow_incomparable: bool = False,
) -> Ladder:
    """Forecast the accuracy of larger models from runs of several sizes, each trained to several token counts.

    A law gives the metric at the target's size and tokens and a curve turns it into an accuracy; beside that a law
    gives the accuracy at once. All forms are weighed by their backtest on the ladder itself. See ``docs/ladder.md``.

    Args:
        table: a score table. A run of one size is a rung; its last checkpoint is its end.
        metric: the intermediate metric, ``METRIC``, ``METRIC:lower`` or ``METRIC:higher``.
        target_metric: the accuracy.
        predict: targets, ``"7B:4T"`` or (params, tokens).
        benchmarks: only these; by default all that have both metrics.
        up_to: fit runs up to this size only; by default all that are smaller than every target.
        least_ratio: fit runs of at least so many tokens per parameter.
        chance: accuracy of chance, a fraction, of all or by benchmark; by default from a list of known benchmarks.
        reach: accuracies, fractions, whose cheapest size and tokens are wanted.
        average_last: score every checkpoint by the mean of it and the ones before it: their number, or ``auto``. The
            end of a run is otherwise the trend over its last tenth, which takes part of the noise out already.
        level: of the intervals.
        resamples: refits to randomly weighted runs.
        seed: of these weights.
        allow_incomparable: use scores of different settings, and note it.

    Raises:
        LadderError: too few sizes or token counts, unknown sizes, a metric that does not improve, bad arguments.
        UnknownNameError: no such metric or benchmark.
        DirectionError: a metric of unknown direction, or fractions beside percentages.
        IncomparableError: scores of one benchmark and metric had different settings.
        SizeError: a target that cannot be read.
        NoiseError: ``average_last`` is no number, or ``auto`` and no run has enough checkpoints.

    >>> n, d = np.repeat([1e8, 3e8, 1e9], 3), np.tile([1.0, 4.0, 16.0], 3) * 20 * np.repeat([1e8, 3e8, 1e9], 3)
    >>> loss = 0.4 + 60 * n**-0.25 + 60 * d**-0.25
    >>> accuracy = 0.25 + 0.75 / (1 + np.exp(5 * (loss - 0.9)))
    >>> rows = [{"run": f"r{i}", "params": n[i], "tokens": d[i], "benchmark": "hellaswag", "metric": m, "value": v[i]}
    ...         for i in range(9) for m, v in (("bits_per_byte", loss), ("acc", accuracy))]
    >>> forecast = ladder(pd.DataFrame(rows), "bits_per_byte", predict=["3B:200B"], resamples=100)
    >>> forecast.benchmarks[0].forecasts[0].accuracy_pct > 60
    True
    """
    way, target = metric_called(metric), metric_called(target_metric)
    sizes = [parse_size(size if isinstance(size, str) else ":".join(map(str, size))) for size in predict]
    check_draws(seed=seed, level=level, resamples=resamples)
    check_reach(reach)
    scores, benchmarks = as_scores(table), [*dict.fromkeys(as_names(benchmarks))]
    check_metrics(scores, [way.name])
    check_metrics(scores, [target.name], option="--target-metric")
    check_benchmarks(scores, benchmarks)
    check_benchmarks(scores, chance if isinstance(chance, Mapping) else (), option="--chance")
    scores = scores[scores["metric"].isin([way.name, target.name])]
    names = [*benchmarks] or _with_both(scores, way.name, target.name)
    scores = scores[scores["benchmark"].isin(names)]
    averaged, _, lines = mean_of_last(scores, average_last, shared_trend=False)
    rows, notes = _rows_to_fit(averaged, sizes, up_to, least_ratio)
    notes += lines + check_rows(rows, allow=allow_incomparable)
    read = [benchmark_rungs(rows, name, way, target, chance) for name in names]
    notes += [note for each in read for note in each.notes]
    tests = [backtest.fit_folds(each.rungs) for each in read]
    squared = [test.squared_errors for test in tests]
    errors = [_fold_errors(test, of_fold) for test, of_fold in zip(tests, backtest.fold_weights(squared), strict=True)]
    drifts = [intervals.drift(*map(np.concatenate, zip(*part, strict=True))) if part else np.nan for part in errors]
    known = [drift for drift in drifts if np.isfinite(drift)]
    pooled = float(np.median(known)) if known else _UNTESTED_DRIFT
    results = []
    for name, each, test, weights, drift, of_folds in zip(
        names, read, tests, backtest.stack_weights(squared), drifts, errors, strict=True
    ):
        squared_drift = intervals.shrunk(drift, len(test.folds), pooled)
        forecaster = _Forecaster(
            each.rungs, test, weights, squared_drift, level, _refits(test, resamples, seed), resamples
        )
        truth = scores[(scores["benchmark"] == name) & (scores["metric"] == target.name)]
        measured = [100.0 * _measured(truth, size) / each.unit for size in sizes]
        results.append(
            LadderBenchmark(
                name, 100.0 * each.rungs.floor, each.names, each.rungs.params, each.rungs.tokens,
                100.0 * each.rungs.accuracy, {m.name: float(w) for m, w in zip(METHODS, weights, strict=True)},
                _law(test.fitted), forecaster.forecasts(sizes, measured), forecaster.folds(of_folds),
                forecaster.grid(_GRID, sizes), forecaster.reaches(reach, sizes),
            )
        )  # fmt: skip
    notes += _cannot_know(read[0].rungs, sizes)
    return Ladder(way.name, target.name, level, tuple(results), tuple(dict.fromkeys(notes)))


def _refits(test: BacktestFit, resamples: int, seed: int) -> Fitted:
    """Refits to random weights of the runs: ``resamples`` of all runs, then ``_FOLD_RESAMPLES`` of each fold."""
    draws = [intervals.run_weights(test.weights[:1], resamples, seed)]
    rows = [np.zeros(resamples, dtype=np.int64)]
    if test.folds:
        draws.append(intervals.run_weights(test.weights[1:], _FOLD_RESAMPLES, seed))
        rows.append(np.repeat(1 + np.arange(len(test.folds)), _FOLD_RESAMPLES))
    return test.fitted.refitted(np.concatenate(draws), np.concatenate(rows))


@dataclass(frozen=True)
class _Forecaster:
    """Forecasts and intervals on one benchmark: the stack of the methods and its spread.

    Attributes:
        weights: of the methods, shape (methods,).
        drift: squared points for each unit of distance.
        refits: to random weights: ``resamples`` rows of all runs, then those of the folds.
    """

    rungs: Rungs
    test: BacktestFit
    weights: Array
    drift: float
    level: float
    refits: Fitted
    resamples: int

    def accuracy(self, params: Array, tokens: Array) -> Array:
        """The stack fitted to all runs, fractions, shape (points,)."""
        return np.asarray(self.weights @ self.test.fitted.predict(params, tokens, rows=slice(0, 1))[:, 0])

    def interval(self, centre: Array, samples: Array, away: Array, drift: float, folds: int) -> Interval:
        """Intervals of forecasts, fractions; ``away`` is their distance from the runs fitted."""
        noise = np.full(centre.shape, 100.0 * self.rungs.scatter)
        return intervals.predictive_interval(
            centre, samples, self.weights, drift_squared=drift, distances=away, evaluation_pct=noise,
            freedom=folds + 2.0, level=self.level,
        )  # fmt: skip

    def forecasts(self, sizes: Sequence[Size], measured: Sequence[float]) -> tuple[LadderForecast, ...]:
        """A forecast for each target."""
        if not sizes:
            return ()
        params, tokens = np.array(sizes, dtype=np.float64).T
        flops, largest = training_flops(params, tokens), float(self.rungs.flops.max())
        away = intervals.distance(flops, largest)
        centre = self.accuracy(params, tokens)
        samples = self.refits.predict(params, tokens, rows=slice(0, self.resamples))
        low, high = self.interval(centre, samples, away, self.drift, len(self.test.folds))
        # One more size, as far above the largest as the largest two are apart, at its own compute.
        *_, second, first = np.unique(self.rungs.params)
        narrowed = np.sqrt(intervals.distance(flops, largest * float((first / second) ** 2)) / away)
        columns = (params, tokens, flops, 100 * centre, 100 * low, 100 * high, flops / largest, measured, narrowed)
        return tuple(LadderForecast(*map(float, row)) for row in zip(*columns, strict=True))

    def folds(self, errors: Sequence[tuple[Array, Array]]) -> tuple[LadderFold, ...]:
        """The backtest, with the coverage of intervals whose drift comes from the other folds."""
        results = []
        for row, (fold, (error, away)) in enumerate(zip(self.test.folds, errors, strict=True)):
            place = self.rungs.params[fold.held], self.rungs.tokens[fold.held]
            actual = self.rungs.accuracy[fold.held]
            others = [part for index, part in enumerate(errors) if index != row]
            drift = intervals.drift(*map(np.concatenate, zip(*others, strict=True))) if others else self.drift
            first = self.resamples + row * _FOLD_RESAMPLES
            samples = self.refits.predict(*place, rows=slice(first, first + _FOLD_RESAMPLES))
            centre = actual + 0.01 * error
            low, high = self.interval(centre, samples, away, drift, max(len(others), 1))
            means = {
                name: float(np.abs(100 * (backtest.baseline(name, self.rungs, fold.fitted, *place) - actual)).mean())
                for name in backtest.BASELINES
            }
            inside = float(((low <= actual) & (actual <= high)).mean())
            counts = int(fold.fitted.sum()), int(fold.held.sum())
            results.append(LadderFold(fold.by_size, fold.limit, *counts, float(np.abs(error).mean()), means, inside))
        return tuple(results)

    def grid(self, points: int, sizes: Sequence[Size]) -> LadderGrid:
        """From the smallest size to 12 times the largest and all targets, and the same for tokens."""
        farthest = np.array([*sizes, (0.0, 0.0)]).max(axis=0)
        params, tokens = (
            np.geomspace(rungs.min() / 1.2, max(_GRID_BEYOND * rungs.max(), 1.2 * far), points)
            for rungs, far in zip((self.rungs.params, self.rungs.tokens), farthest, strict=True)
        )
        mesh = [side.ravel() for side in np.meshgrid(params, tokens, indexing="ij")]
        return LadderGrid(params, tokens, 100.0 * self.accuracy(*mesh).reshape(points, points))

    def reaches(self, wanted: Sequence[float], sizes: Sequence[Size]) -> tuple[Reach, ...]:
        """The cheapest place of a fine grid for each accuracy, a fraction."""
        if not wanted:
            return ()
        fine = self.grid(_FINE_GRID, sizes)
        flops = training_flops(*np.meshgrid(fine.params, fine.tokens, indexing="ij"))
        results = []
        for accuracy in wanted:
            cost = np.where(fine.accuracy_pct >= 100.0 * accuracy, flops, np.inf)
            row, column = np.unravel_index(int(cost.argmin()), cost.shape)
            reached = np.isfinite(cost[row, column])
            place = (fine.params[row], fine.tokens[column], cost[row, column]) if reached else (np.nan,) * 3
            results.append(Reach(100.0 * accuracy, *map(float, place)))
        return tuple(results)


def _with_both(scores: pd.DataFrame, metric: str, target: str) -> list[str]:
    """Benchmarks with both metrics, in the table's order."""
    having = [set(scores.loc[scores["metric"] == name, "benchmark"]) for name in (metric, target)]
    if not having[0] & having[1]:
        raise LadderError(f"no benchmark has both {metric} and {target}; choose others with --metric, --target-metric")
    return [name for name in dict.fromkeys(scores["benchmark"]) if name in having[0] & having[1]]


def _rows_to_fit(
    scores: pd.DataFrame, sizes: Sequence[Size], up_to: float | str | None, least_ratio: float
) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the runs to fit, and a note on those left out."""
    if scores["params"].isna().all() or scores["tokens"].isna().all():
        lacking = "params" if scores["params"].isna().all() else "tokens"
        raise LadderError(f"the {lacking} of all runs are unknown; collect them with rbridge collect --runs TABLE")
    unknown = scores["params"].isna() | scores["tokens"].isna()
    notes = [f"{counted(int(unknown.sum()), 'score')} of unknown size or tokens left out"] if unknown.any() else []
    rows = scores[~unknown]
    if up_to is not None:
        fitted = rows["params"] <= as_count(up_to) * (1 + _SAME_SIZE)
    elif sizes:
        fitted = rows["params"] < min(size.params for size in sizes) * (1 - _SAME_SIZE)
    else:
        fitted = pd.Series(True, index=rows.index)
    last = rows.groupby(["run", "params"])["tokens"].transform("max")
    fitted &= last >= least_ratio * rows["params"]
    left_out = sorted(set(rows.loc[~fitted, "run"]))
    if left_out:
        notes.append(f"{counted(len(left_out), 'run')} not fitted: too large, or too few tokens per parameter")
    if not fitted.any():
        raise LadderError("no run is left to fit; raise --up-to, or lower --least-ratio")
    return rows[fitted], notes


def _fold_errors(test: BacktestFit, weights: Array) -> list[tuple[Array, Array]]:
    """Errors in points and distances of the runs that each fold holds out."""
    rungs, errors = test.fitted.rungs, []
    for row, fold in enumerate(test.folds):
        forecast = weights[:, row] @ test.predicted[:, 1 + row][:, fold.held]
        away = intervals.distance(rungs.flops[fold.held], float(rungs.flops[fold.fitted].max()))
        errors.append((100.0 * (forecast - rungs.accuracy[fold.held]), away))
    return errors


def _measured(truth: pd.DataFrame, size: Size) -> float:
    """Score of a run of this size at these tokens; NaN if there is none."""
    same = np.isclose(truth["params"], size.params, rtol=_SAME_SIZE)
    same &= np.isclose(truth["tokens"], size.tokens, rtol=_SAME_TOKENS)
    rows = truth[same]
    if rows.empty:
        return float("nan")
    nearest = (rows["tokens"] - size.tokens).abs()
    return float(rows.loc[nearest == nearest.min(), "value"].mean())


def _law(fitted: Fitted) -> dict[str, float]:
    """E, A, B, a and b of the loss, from the law of N and D."""
    law = fitted.losses["N and D"]
    level, of_n, of_d = law.params[0, :3]
    a, b = law.exponents[0]
    return {
        "E": float(np.exp(level)),
        "A": float(np.exp(of_n + a * law.centre[0])),
        "B": float(np.exp(of_d + b * law.centre[1])),
        "a": float(a),
        "b": float(b),
    }


def _cannot_know(rungs: Rungs, sizes: Sequence[Size]) -> list[str]:
    """Warnings on targets far outside the ladder, and on what no ladder shows."""
    notes, ratios = [], rungs.tokens / rungs.params
    for size in sizes:
        name = f"{count_text(size.params)} at {count_text(size.tokens)} tokens"
        if (times := size.params / rungs.params.max()) > _FAR:
            notes.append(f"{name}: {times:.0f} times the largest size of the ladder; nothing in it tests such a step")
        ratio = size.tokens / size.params
        if ratio > 1.02 * ratios.max():
            notes.append(
                f"{name}: {ratio:.0f} tokens per parameter, {ratio / ratios.max():.1f} times the most in the ladder"
            )
        elif ratio < 0.98 * ratios.min():
            notes.append(
                f"{name}: {ratio:.2g} tokens per parameter, {ratio / ratios.min():.2f} times the fewest in the ladder"
            )
    if sizes:
        notes.append(
            "the ladder assumes the target's data mix, tokenizer and learning-rate schedule to be its own; annealing "
            "on other data moves the accuracy that a loss goes with"
        )
    return notes
