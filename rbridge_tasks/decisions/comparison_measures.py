"""What one metric scores on one benchmark, by every measure, with its resamples: decisions and fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rbridge_metrics import cross_validate
from rbridge_metrics.errors import FitError
from rbridge_metrics.paired_comparison import resampled_agreement, resampled_weighted_means
from rbridge_metrics.ranking import agreement
from rbridge_metrics.validation import CrossValidation
from rbridge_tasks.decisions.comparison_points import Points
from rbridge_tasks.tables.rows import counted

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FitSettings:
    """Of the fits, see ``cross_validate``."""

    cv: str = "blocked"
    folds: int = 5
    min_train: int = 4


@dataclass
class Measured:
    """Values and resamples by measure, while they are gathered."""

    train_r2: float = math.nan
    value: dict[str, float] = field(default_factory=dict)
    resampled: dict[str, Values] = field(default_factory=dict)


def measure_decisions(
    found: dict[str, Measured], names: Sequence[str], ordering: Values, target: Values, counts: Values | None
) -> None:
    observed = agreement(ordering, target, lower_is_better=False)
    resampled = None if counts is None else resampled_agreement(ordering, target, counts)
    for measure in observed._fields:
        for at, name in enumerate(names):
            found[name].value[measure] = float(getattr(observed, measure)[at])
            if resampled is not None:
                found[name].resampled[measure] = getattr(resampled, measure)[at]
    chance = {"decision_accuracy": 0.5, "kendall_tau_b": 0.0, "spearman": 0.0}
    found["chance"].value.update(chance)
    if counts is not None:
        found["chance"].resampled.update({measure: np.full(len(counts), value) for measure, value in chance.items()})


def measure_fits(
    found: dict[str, Measured], points: Points, counts: Values | None, settings: FitSettings, notes: list[str]
) -> None:
    """Cross-validated errors of every metric on the same folds, and of the baselines."""
    failed: dict[str, str] = {}
    with_log = True
    for at, metric in enumerate(points.metrics):
        try:
            validation = cross_validate(
                points.scores[at],
                points.target,
                scheme=settings.cv,
                order=points.tokens,
                order_name="tokens",
                run=[*points.runs],
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
        found[metric.name].train_r2 = validation.train_r2
        baselines = [name for name in validation.baselines if name != "last value" or points.tokens is not None]
        for name in (metric.name, *baselines):
            errors, weights = _errors(validation, "proxy" if name == metric.name else name, len(points.target))
            found[name].value["mae"] = float(errors @ weights)
            if counts is not None:
                found[name].resampled["mae"] = resampled_weighted_means(errors[None], weights, counts)[0]
        with_log = False
    if failed:
        name, reason = next(iter(failed.items()))
        notes.append(f"{points.benchmark}: {counted(len(failed), 'metric')} not fitted, such as {name}: {reason}")


def _errors(validation: CrossValidation, name: str, points: int) -> tuple[Values, Values]:
    """Absolute error of each point and its weight, so that the weighted mean is the mean over folds of their means."""
    errors, weights = np.zeros(points), np.zeros(points)
    for fold in validation.folds:
        errors[fold.test] = fold.errors[name]
        weights[fold.test] = 1.0 / (len(fold.test) * len(validation.folds))
    return errors, weights
