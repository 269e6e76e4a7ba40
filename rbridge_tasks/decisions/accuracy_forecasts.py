"""The target's accuracy later in training: a proxy's forecast put through the curves of a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rbridge_metrics import PowerLaw
from rbridge_metrics.forecast import accuracy_through_proxy
from rbridge_tasks.decisions.fit_file import Fit, FitFileError, FittedGroup
from rbridge_tasks.decisions.training_runs import Later, TrainingRun, later
from rbridge_tasks.tables.sizes import count_text

_SAME_SIZE = 0.05  # relative


def check_fits_metric(fit: Fit, metric: str) -> None:
    """Refuse a fit whose curves cannot be chosen by benchmark and metric, or that is of another metric.

    Raises:
        FitFileError: says which metric or which columns it has.
    """
    fitted = fit.source.score_name if fit.source.kind == "scores" else metric
    if fitted != metric:
        raise FitFileError(f"{fit.path} was fitted to {fitted}, not to {metric}; forecast with --metric {fitted}")
    if set(fit.columns) - {"benchmark", "metric"}:
        raise FitFileError(
            f"{fit.path} has fits by {', '.join(fit.columns)}; a forecast knows only benchmark and metric: "
            "fit with --group benchmark, or to a score table"
        )


def curve_of(fit: Fit, run: TrainingRun) -> FittedGroup | None:
    """The curve of a run's benchmark, or the only one of a fit without benchmarks; None without a match."""
    matching = (group for group in fit.groups if all(getattr(run, name) == group.key[name] for name in group.key))
    return next(matching, None)


def later_accuracy(
    fit: Fit, run: TrainingRun, law: PowerLaw, times: Sequence[float], level: float
) -> tuple[Later, ...]:
    """Accuracies in percent at these tokens; empty without a curve for the benchmark."""
    group = curve_of(fit, run)
    if group is None or not times:
        return ()
    return later(times, *accuracy_through_proxy(law, group.model, times, level=level))


def accuracy_doubts(fit: Fit, laws: Sequence[tuple[TrainingRun, PowerLaw]], times: Sequence[float]) -> list[str]:
    """Notes on runs without a curve, forecasts outside the fitted scores, and runs of another size than fitted.

    Raises:
        FitFileError: no run's benchmark has a curve; lists those that have.
    """
    curves = [(law, group) for run, law in laws if (group := curve_of(fit, run)) is not None]
    first = laws[0][0]
    if not curves:
        fit.group(*(getattr(first, name) for name in fit.columns))  # raises
    notes = []
    if lacking := sorted({run.benchmark for run, _ in laws if curve_of(fit, run) is None}):
        notes.append(f"{fit.path} has no fit of {', '.join(lacking)}: no accuracy there")
    if outside := sum(int(group.model.outside_range(law.predict(times)).sum()) for law, group in curves if times):
        notes.append(
            f"{outside} of {len(curves) * len(times)} forecasts of {first.metric} lie outside the scores fitted; "
            "the accuracy there rests on the shape of the curve alone"
        )
    sizes = fit.source.proxy_params
    if strange := {run.params for run, _ in laws if sizes and not np.isclose(run.params, sizes, _SAME_SIZE).any()}:
        notes.append(
            f"the fit is to proxies of {', '.join(map(count_text, sizes))} params, and runs of "
            f"{', '.join(map(count_text, sorted(strange)))} are put through it"
        )
    return notes
