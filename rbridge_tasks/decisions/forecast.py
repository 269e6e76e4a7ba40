"""``forecast``: a metric later in training, from the first part of each run, and tests on checkpoints left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import ForecastError, PowerLaw, fit_power_law
from rbridge_metrics.forecast import Backtest
from rbridge_metrics.forecast import backtest as test_curve
from rbridge_metrics.power_law import Loss
from rbridge_tasks.decisions.accuracy_forecasts import accuracy_doubts, check_fits_metric, later_accuracy
from rbridge_tasks.decisions.candidates import as_names
from rbridge_tasks.decisions.decision import Decision
from rbridge_tasks.decisions.fit_file import Fit, load_fit
from rbridge_tasks.decisions.training_runs import Later, TrainingRun, as_count, later, training_runs
from rbridge_tasks.tables.directions import DirectionError, metric_called
from rbridge_tasks.tables.score_table import as_scores
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.table_settings import check_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FAR = 4.0  # times the tokens of the last checkpoint fitted


@dataclass(frozen=True)
class RunForecast:
    """The forecast of one run.

    Attributes:
        run: its checkpoints.
        shown: which of them were fitted, shape (checkpoints,).
        law: the curve through these.
        later: the metric at the tokens asked for.
        accuracy: the target's accuracy in percent there; empty without a fit.
        test: on the checkpoints that were not fitted; None without a backtest or without such checkpoints.
    """

    run: TrainingRun
    shown: npt.NDArray[np.bool_]
    law: PowerLaw
    later: tuple[Later, ...] = ()
    accuracy: tuple[Later, ...] = ()
    test: Backtest | None = None

    def to_dict(self) -> dict[str, Any]:
        """The run, its curve, and its forecasts."""
        run, law = self.run, self.law
        return {
            "benchmark": run.benchmark,
            "run": run.run,
            "params": run.params,
            "checkpoints": law.tokens.size,
            "from_tokens": law.tokens[0],
            "until_tokens": law.tokens[-1],
            "a": law.a,
            "b": law.b,
            "c": law.c,
            "exponent_at_limit": law.at_limit,
            "later": [point._asdict() for point in self.later],
            "accuracy_pct": [point._asdict() for point in self.accuracy],
        }


@dataclass(frozen=True)
class BacktestSummary:
    """Means over runs: absolute error by method (in units of the metric), and coverage of the intervals."""

    runs: int
    mean_absolute_error: dict[str, float]
    coverage: float
    beats_baselines: bool

    @property
    def verdict(self) -> str:
        """Whether the forecast beats the baselines, in words."""
        errors = self.mean_absolute_error
        best = min((name for name in errors if name != "power_law"), key=errors.__getitem__)
        name = best.replace("_", " ")
        figures = f"mean absolute error {errors['power_law']:.4g}, {name} {errors[best]:.4g}"
        if self.beats_baselines:
            return f"The forecast beats both baselines on the checkpoints left out ({figures})."
        return f"The forecast does NOT beat the baseline {name} on the checkpoints left out ({figures})."


@dataclass(frozen=True)
class Forecasts(Decision):
    """Forecasts of a metric along training.

    Attributes:
        metric: forecast.
        level: of the intervals.
        times: tokens of the forecasts.
        runs: their forecasts.
        notes: checkpoints and runs left out, and doubtful forecasts.
    """

    metric: str
    level: float
    times: tuple[float, ...]
    runs: tuple[RunForecast, ...]
    notes: tuple[str, ...]

    @property
    def tested(self) -> list[tuple[TrainingRun, Backtest]]:
        """Runs with a backtest."""
        return [(forecast.run, forecast.test) for forecast in self.runs if forecast.test is not None]

    @property
    def summary(self) -> BacktestSummary | None:
        """Of the backtests; None without any. Each run has the same weight."""
        tests = [test for _, test in self.tested]
        if not tests:
            return None
        errors = [test.mean_absolute_error for test in tests]
        means = {name: float(np.mean([error[name] for error in errors])) for name in errors[0]}
        beats = all(means["power_law"] < error for name, error in means.items() if name != "power_law")
        return BacktestSummary(len(tests), means, float(np.mean([test.coverage for test in tests])), beats)

    def to_frame(self) -> pd.DataFrame:
        """A row per run and time: the curve, the metric with its interval, and the accuracy with its interval."""
        rows = []
        for forecast in self.runs:
            curve = forecast.to_dict()
            accuracies = curve.pop("accuracy_pct")
            for at, point in enumerate(curve.pop("later") or [{}]):
                row = {**curve, **point}
                if accuracies:
                    accuracy = accuracies[at]
                    row |= {f"accuracy_{name}": accuracy[name] for name in ("value", "low", "high")}
                if forecast.test is not None:
                    row |= {f"mae_{name}": error for name, error in forecast.test.mean_absolute_error.items()}
                rows.append(row)
        return pd.DataFrame(rows)

    def _content(self) -> dict[str, Any]:
        tests = [
            {
                "benchmark": run.benchmark, "run": run.run, "params": run.params, "shown": test.shown,
                "tokens": test.tokens, "actual": test.actual, "forecast": test.forecast,
                "interval": list(test.interval), "mean_absolute_error": test.mean_absolute_error,
                "coverage": test.coverage, "beats_baselines": test.beats_baselines,
            }
            for run, test in self.tested
        ]  # fmt: skip
        return {
            "metric": self.metric,
            "level": self.level,
            "forecasts": [forecast.to_dict() for forecast in self.runs],
            "backtest": {"runs": tests, "summary": asdict(self.summary)} if self.summary else None,
            "notes": self.notes,
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the forecast of the only run; with a path, also write the figure as ``.svg`` or ``.png``.

        Raises:
            ForecastError: there are several runs.
        """
        from rbridge_tasks.charts.forecast import draw_forecast

        if len(self.runs) > 1:
            raise ForecastError(
                f"--plot draws one run, not {len(self.runs)}; choose with --run, --benchmark and --params"
            )
        return draw_forecast(self, path)


def forecast(
    table: pd.DataFrame | str | Path,
    metric: str = "rbridge_nll",
    *,
    at: Sequence[float | str] = (),
    runs: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    params: float | str | None = None,
    until: float | str | None = None,
    use_first: float | None = None,
    start: float | str = 0.0,
    robust: bool = False,
    fit: Fit | str | Path | None = None,
    backtest: bool = False,
    level: float = 0.9,
    allow_incomparable: bool = False,
) -> Forecasts:
    """Forecast a metric later in training by a - b t^(-c), with intervals. Nothing in it is random.

    Counts of tokens and parameters are numbers or texts such as ``"4T"``.

    Args:
        table: a score table, as a DataFrame or the path of a file.
        metric: to forecast.
        at: tokens to forecast at.
        runs, benchmarks: only these; all if empty.
        params: only models of this size.
        until: fit checkpoints up to these tokens only.
        use_first: fit this part of each run's tokens only, such as 0.5.
        start: leave out checkpoints before these tokens (warm-up).
        robust: give less weight to checkpoints off the curve.
        fit: forecast the target's accuracy too, through this fit or its file.
        backtest: compare forecasts with the checkpoints that were not fitted: half of each run, unless ``until`` or
            ``use_first`` says otherwise.
        level: probability of the intervals.
        allow_incomparable: forecast from scores of different settings, and note it.

    Raises:
        ForecastError: arguments that contradict each other; no run can be fitted, or none has checkpoints to test on.
        CandidatesError: no such metric, run, benchmark or size.
        IncomparableError: checkpoints of a run, or those of the fit, had different settings, such as other shots.
        FitFileError: a fit of another metric, or without a curve for the benchmarks.
    """
    if until is not None and use_first is not None:
        raise ForecastError("--until and --use-first both say what to fit; give one of them")
    if not at and not backtest:
        raise ForecastError("nothing to forecast; give --at TOKENS, or --backtest")
    if backtest and until is None and use_first is None:
        use_first = 0.5
    times = sorted({as_count(value) for value in ([at] if isinstance(at, str) else at)})
    loss: Loss = "huber" if robust else "squared"
    selected, rows, notes = training_runs(
        as_scores(table),
        metric,
        runs=as_names(runs),
        benchmarks=as_names(benchmarks),
        params=None if params is None else as_count(params),
        start=as_count(start),
    )
    end = None if until is None else as_count(until)
    fitted, failed = _fitted(selected, end, use_first, loss)
    curves = [(run, law) for run, _, law in fitted]
    notes += failed + _doubts(curves, times)
    notes += check_rows(rows, allow=allow_incomparable, within=("run", "params"))
    if fit is not None:
        fit = fit if isinstance(fit, Fit) else load_fit(fit)
        check_fits_metric(fit, metric)
        for _, part in rows.groupby(["run", "params"], dropna=False):
            lines = check_rows(part, allow=allow_incomparable, beside=fit.measured)
            notes += [line for line in lines if line not in notes]
        notes += accuracy_doubts(fit, curves, times)
    forecasts = tuple(
        RunForecast(
            run,
            shown,
            law,
            later=later(times, law.predict(times), law.interval(times, level=level)) if times else (),
            accuracy=later_accuracy(fit, run, law, times, level) if fit is not None else (),
            test=test_curve(run.tokens, run.values, until=law.tokens[-1], loss=loss, bounds=run.bounds, level=level)
            if backtest and not shown.all()
            else None,
        )
        for run, shown, law in fitted
    )
    untested = sum(forecast.test is None for forecast in forecasts) if backtest else 0
    if untested == len(forecasts):
        raise ForecastError("every checkpoint was fitted, and none is left to test on; hide some with --use-first 0.5")
    if untested:
        notes.append(f"{untested} of {len(forecasts)} runs have no checkpoint left to test on")
    return Forecasts(metric, level, tuple(times), forecasts, tuple(notes))


def _fitted(
    runs: Sequence[TrainingRun], until: float | None, use_first: float | None, loss: Loss
) -> tuple[list[tuple[TrainingRun, npt.NDArray[np.bool_], PowerLaw]], list[str]]:
    """Each run with the checkpoints fitted and the curve, and a note on runs that could not be fitted."""
    fitted, failed = [], []
    for run in runs:
        shown = run.shown(until, use_first)
        try:
            law = fit_power_law(run.tokens[shown], run.values[shown], loss=loss, bounds=run.bounds)
        except ForecastError as error:
            failed.append(f"{run.name}: {error}")
        else:
            fitted.append((run, shown, law))
    if not fitted:
        raise ForecastError(failed[0] + (f" ({len(failed)} runs could not be fitted)" if len(failed) > 1 else ""))
    return fitted, [f"{len(failed)} of {len(runs)} runs could not be fitted: {failed[0]}"] if failed else []


def _doubts(curves: Sequence[tuple[TrainingRun, PowerLaw]], times: Sequence[float]) -> list[str]:
    """Notes on exponents at a limit, metrics that get worse, and times far beyond the data."""
    metric, count, notes = curves[0][0].metric, len(curves), []
    flat = [run.name for run, law in curves if law.at_limit]
    if flat:
        notes.append(
            f"{len(flat)} of {count} curves have their exponent at a limit, such as {flat[0]}: the "
            "checkpoints do not say where the curve ends, and a is not to be read"
        )
    try:
        lower = metric_called(metric).lower_is_better
    except DirectionError:  # a metric of unknown direction can be forecast too
        lower = None
    wrong = [run.name for run, law in curves if lower is not None and (law.b > 0) == lower]
    if wrong:
        way = "rises" if lower else "falls"
        notes.append(f"{metric} {way}, and so gets worse, in {len(wrong)} of {count} runs, such as {wrong[0]}")
    far = [law.tokens[-1] for _, law in curves if times and max(times) > _FAR * law.tokens[-1]]
    if far:
        notes.append(
            f"{count_text(max(times))} tokens is {max(times) / min(far):.0f} times as far as the last checkpoint: "
            "nothing in the data speaks for the curve so far out"
        )
    return notes
