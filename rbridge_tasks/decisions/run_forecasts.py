"""Forecasts of training runs: the curve of each, its values later on, and tests on checkpoints left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics import ForecastError, PowerLaw, fit_power_law
from rbridge_metrics.forecast import Backtest, backtest
from rbridge_metrics.power_law import Loss
from rbridge_tasks.decisions.training_runs import TrainingRun
from rbridge_tasks.tables.directions import DirectionError, metric_called
from rbridge_tasks.tables.sizes import count_text

_FAR = 4.0  # times the tokens of the last checkpoint fitted


class RunForecast(NamedTuple):
    """A run and the curve through the part of it that was shown."""

    run: TrainingRun
    shown: npt.NDArray[np.bool_]
    law: PowerLaw

    @property
    def hidden(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Tokens and values of the checkpoints that were not shown."""
        return self.run.tokens[~self.shown], self.run.values[~self.shown]


class Later(NamedTuple):
    """A metric later in training."""

    tokens: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """Which checkpoints to fit, and how.

    Attributes:
        until: up to these tokens; None for no limit.
        use_first: this part of each run's tokens; None for all.
        loss: of the fit.
    """

    until: float | None = None
    use_first: float | None = None
    loss: Loss = "squared"


def forecast_runs(runs: Sequence[TrainingRun], part: Part) -> tuple[list[RunForecast], list[str]]:
    """Fit every run that can be fitted.

    Returns:
        The curves, and a note on what could not be.

    Raises:
        ForecastError: none could be; says why the first could not.
    """
    found, failed = [], []
    for run in runs:
        shown = run.shown(part.until, part.use_first)
        try:
            law = fit_power_law(run.tokens[shown], run.values[shown], loss=part.loss, bounds=run.bounds)
        except ForecastError as error:
            failed.append(f"{run.name}: {error}")
        else:
            found.append(RunForecast(run, shown, law))
    if not found:
        raise ForecastError(failed[0] + (f" ({len(failed)} runs could not be fitted)" if len(failed) > 1 else ""))
    return found, [f"{len(failed)} of {len(runs)} runs could not be fitted: {failed[0]}"] if failed else []


def later(forecast: RunForecast, times: Sequence[float], level: float) -> list[Later]:
    """The metric at these tokens."""
    if not times:
        return []
    columns = (np.asarray(times), forecast.law.predict(times), *forecast.law.interval(times, level=level))
    return [Later(*row) for row in np.stack(columns, axis=1).tolist()]


def backtest_runs(
    forecasts: Sequence[RunForecast], part: Part, level: float
) -> tuple[list[tuple[TrainingRun, Backtest]], list[str]]:
    """Compare forecasts with the checkpoints not shown to them.

    Returns:
        A test of each run that has such checkpoints, and a note on those that have none.

    Raises:
        ForecastError: no run has any.
    """
    tested = [
        (run, backtest(run.tokens, run.values, until=law.tokens[-1], loss=part.loss, bounds=run.bounds, level=level))
        for run, shown, law in forecasts
        if not shown.all()
    ]
    if not tested:
        raise ForecastError("every checkpoint was fitted, and none is left to test on; hide some with --use-first 0.5")
    missing = len(forecasts) - len(tested)
    return tested, [f"{missing} of {len(forecasts)} runs have no checkpoint left to test on"] if missing else []


def doubts(forecasts: Sequence[RunForecast], times: Sequence[float]) -> list[str]:
    """What to be careful with: exponents at a limit, curves that run the wrong way, times far beyond the data."""
    metric = forecasts[0].run.metric
    flat = [run.name for run, _, law in forecasts if law.at_limit]
    notes = []
    if flat:
        notes.append(
            f"{len(flat)} of {len(forecasts)} curves have their exponent at a limit, such as {flat[0]}: the "
            "checkpoints do not say where the curve ends, and a is not to be read"
        )
    try:
        lower = metric_called(metric).lower_is_better
    except DirectionError:  # a forecast does not need to know
        lower = None
    wrong = [run.name for run, _, law in forecasts if lower is not None and (law.b > 0) == lower]
    if wrong:
        way = "rises" if lower else "falls"
        notes.append(f"{metric} {way}, and so gets worse, in {len(wrong)} of {len(forecasts)} runs, such as {wrong[0]}")
    far = [law.tokens[-1] for _, _, law in forecasts if times and max(times) > _FAR * law.tokens[-1]]
    if far:
        notes.append(
            f"{count_text(max(times))} tokens is {max(times) / min(far):.0f} times as far as the last checkpoint: "
            "nothing in the data speaks for the curve so far out"
        )
    return notes


def summary(tested: Sequence[tuple[TrainingRun, Backtest]]) -> dict[str, Any]:
    """Mean absolute errors and coverage over runs, each run counting once."""
    methods = list(tested[0][1].forecast)
    errors = {name: float(np.mean([test.mean_absolute_error[name] for _, test in tested])) for name in methods}
    return {
        "runs": len(tested),
        "mean_absolute_error": errors,
        "coverage": float(np.mean([test.coverage for _, test in tested])),
        "beats_baselines": all(errors["power_law"] < errors[name] for name in methods if name != "power_law"),
    }


def verdict(tested: Sequence[tuple[TrainingRun, Backtest]]) -> str:
    """In words, whether the forecast beat doing less."""
    overall = summary(tested)
    errors = overall["mean_absolute_error"]
    best = min((name for name in errors if name != "power_law"), key=errors.__getitem__)
    name = best.replace("_", " ")
    figures = f"mean absolute error {errors['power_law']:.4g}, {name} {errors[best]:.4g}"
    if overall["beats_baselines"]:
        return f"The forecast beats both baselines on the checkpoints left out ({figures})."
    return f"The forecast does NOT beat the baseline {name} on the checkpoints left out ({figures})."
