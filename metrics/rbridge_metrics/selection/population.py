"""A population: models scored by the same proxies on the same tasks, on which scorers are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import SelectionError
from rbridge_metrics.ranking import ranks

#: A proxy or accuracy known for a smaller share of the models is left out; otherwise models that lack it are.
MIN_KNOWN = 0.8
MIN_TASKS, MIN_MODELS = 3, 4

Indices = npt.NDArray[np.intp]


class LeftOut(NamedTuple):
    """Items left out: ``kind`` is proxy, task or model; ``at`` are positions in the arrays given."""

    kind: str
    at: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Population:
    """Models with every proxy on every task, some of them with accuracies on every task.

    Attributes:
        features: shape (tasks, models, proxies), each proxy standardised within its task over the models.
        accuracies: shape (tasks, judged models).
        judged: positions among ``models`` of those with accuracies, shape (judged models,).
        models, tasks, proxies: positions in the arrays given.
        left_out: items left out, with reasons.
    """

    features: FloatArray
    accuracies: FloatArray
    judged: Indices
    models: Indices
    tasks: Indices
    proxies: Indices
    left_out: tuple[LeftOut, ...]

    @property
    def judged_features(self) -> FloatArray:
        """Features of the models with accuracies, shape (tasks, judged models, proxies)."""
        return self.features[:, self.judged]


def make_population(features: npt.ArrayLike, accuracies: npt.ArrayLike) -> Population:
    """Leave out what is incomplete, and standardise.

    Left out are, in this order: tasks without any proxy, with accuracies of fewer than 4 models or of less than
    ``MIN_KNOWN`` of those that have any, or with one accuracy for all models; proxies known for less than ``MIN_KNOWN``
    of the remaining models and tasks; models that lack a remaining proxy; proxies equal for all models in some task.
    Models without accuracies stay: they can be ranked, but scorers are not trained or tested on them.

    Proxies are standardised within each task over all models kept, because each task has its own level and range.
    This needs no accuracies.

    Args:
        features: shape (models, tasks, proxies), NaN where unknown.
        accuracies: shape (models, tasks), of any unit; NaN where unknown.

    Raises:
        SelectionError: shapes that do not fit, infinite numbers, or fewer than 3 tasks, 4 models with accuracies or 1
            proxy left.
    """
    values, truth = np.asarray(features, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if values.ndim != 3 or truth.shape != values.shape[:2]:
        raise SelectionError(
            f"features of shape {values.shape} and accuracies of {truth.shape}; expected (models, tasks, proxies) and "
            "(models, tasks)"
        )
    if np.isinf(values).any() or np.isinf(truth).any():
        raise SelectionError("a feature or an accuracy is infinite; give NaN for what is unknown")
    left_out: list[LeftOut] = []
    tasks = _tasks(values, truth, left_out)
    proxies, models = _complete(values[:, tasks], left_out)
    kept = values[np.ix_(models, tasks, proxies)].transpose(1, 0, 2)
    judged = np.flatnonzero(np.isfinite(truth[np.ix_(models, tasks)]).all(axis=1))
    if len(judged) < MIN_MODELS:
        raise SelectionError(
            f"{len(judged)} models have every proxy and accuracy on the {len(tasks)} tasks; at least {MIN_MODELS} are "
            "needed"
        )
    constant = _constant(kept[:, judged]).any(axis=0) | _constant(kept).any(axis=0)
    _note(left_out, "proxy", proxies[constant], "equal for all models on a task")
    if constant.all():
        raise SelectionError("every proxy is equal for all models on some task; there is nothing to order models by")
    kept, proxies = kept[:, :, ~constant], proxies[~constant]
    truths = truth[np.ix_(models[judged], tasks)].T
    if _constant(truths[:, :, None]).any():
        raise SelectionError("all models that are complete have one accuracy on some task; leave that task out")
    return Population(standardised(kept), truths, judged, models, tasks, proxies, tuple(left_out))


def standardised(features: FloatArray) -> FloatArray:
    """Each proxy of each task with mean 0 and standard deviation 1 over the models: (tasks, models, proxies)."""
    centred = features - features.mean(axis=1, keepdims=True)
    scale: FloatArray = centred / centred.std(axis=1, keepdims=True)
    return scale


def new_features(features: npt.ArrayLike) -> tuple[FloatArray, Indices]:
    """Standardised features of another population for a saved scorer; models that lack a proxy are left out.

    Args:
        features: shape (models, tasks, proxies), the proxies that the scorer needs.

    Returns:
        Features of shape (tasks, models, proxies), and the positions of those models.

    Raises:
        SelectionError: fewer than 3 complete models, or a proxy that is equal for all of them on a task.
    """
    values = np.asarray(features, dtype=np.float64)
    models = np.flatnonzero(np.isfinite(values).all(axis=(1, 2)))
    if len(models) < 3:
        raise SelectionError(
            f"{len(models)} of {len(values)} models have every proxy of the scorer on every task; at least 3 are "
            "needed, because proxies are standardised over the models"
        )
    kept = values[models].transpose(1, 0, 2)
    if (same := _constant(kept)).any():
        task, proxy = (int(at) for at in np.argwhere(same)[0])
        raise SelectionError(f"proxy {proxy} is equal for all models on task {task}; leave that task out")
    return standardised(kept), models


def _tasks(values: FloatArray, truth: FloatArray, left_out: list[LeftOut]) -> Indices:
    known = np.isfinite(truth)
    labelled = known.any(axis=1).sum()
    count = known.sum(axis=0)
    bare = ~np.isfinite(values).any(axis=(0, 2))
    few = ~bare & ((count < MIN_MODELS) | (count < MIN_KNOWN * labelled))
    tied = ~bare & ~few & np.array([len(np.unique(column[np.isfinite(column)])) < 2 for column in truth.T], bool)
    _note(left_out, "task", np.flatnonzero(bare), "no proxy is known")
    _note(left_out, "task", np.flatnonzero(few), "too few models have accuracies")
    _note(left_out, "task", np.flatnonzero(tied), "one accuracy for all models")
    tasks = np.flatnonzero(~(bare | few | tied))
    if len(tasks) < MIN_TASKS:
        reasons = "; ".join(f"{len(part.at)}: {part.reason}" for part in left_out)
        raise SelectionError(
            f"{len(tasks)} tasks with proxies and accuracies of {MIN_MODELS} models or more"
            f"{f' (left out {reasons})' if reasons else ''}; leaving two out and training on the rest needs at least "
            f"{MIN_TASKS}"
        )
    return tasks


def _complete(values: FloatArray, left_out: list[LeftOut]) -> tuple[Indices, Indices]:
    """Positions of the proxies that are mostly known, and of the models that have them all."""
    known = np.isfinite(values)
    scored = known.any(axis=(1, 2))
    mostly = known[scored].mean(axis=(0, 1)) >= MIN_KNOWN
    if not mostly.any():
        raise SelectionError(
            f"no proxy is known for {MIN_KNOWN:.0%} of the models and tasks; score the same proxies everywhere"
        )
    _note(left_out, "proxy", np.flatnonzero(~mostly), f"known for less than {MIN_KNOWN:.0%} of the models and tasks")
    complete = known[:, :, mostly].all(axis=(1, 2))
    _note(left_out, "model", np.flatnonzero(~complete), "a proxy is unknown on some task")
    return np.flatnonzero(mostly), np.flatnonzero(complete)


def _constant(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether all models are equal up to rounding: (tasks, models, proxies) to (tasks, proxies)."""
    same: npt.NDArray[np.bool_] = np.ptp(values, axis=1) <= 1e-9 * np.abs(values).max(axis=1)
    return same


def _note(left_out: list[LeftOut], kind: str, at: Sequence[int] | Indices, reason: str) -> None:
    if len(at):
        left_out.append(LeftOut(kind, tuple(int(place) for place in at), reason))


def unit_ranks(values: npt.ArrayLike) -> FloatArray:
    """Ranks along the last axis, centred and of length 1: the dot product of two is Spearman's rho.

    All zeros if all values are equal; rho is then 0.

    >>> float((unit_ranks([0.3, 0.1, 0.2]) @ unit_ranks([1.0, 3.0, 2.0])).round(9))
    -1.0
    """
    ranked = -ranks(values, lower_is_better=False)
    ranked -= ranked.mean(axis=-1, keepdims=True)
    length = np.sqrt((ranked**2).sum(axis=-1, keepdims=True))
    unit: FloatArray = np.divide(ranked, length, out=np.zeros_like(ranked), where=length > 0)
    return unit
