"""The four scorers: tested on tasks left out, and trained on all tasks for use on other models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import SelectionError
from rbridge_metrics.selection import rank_svm
from rbridge_metrics.selection.labels import Labels, splits
from rbridge_metrics.selection.linear import Weights, sparse, univariate

UNIVARIATE, SPARSE, LINEAR, RBF = "univariate", "sparse_linear", "linear_ranksvm", "rbf_ranksvm"
SCORERS = (UNIVARIATE, SPARSE, LINEAR, RBF)
_FEW = {UNIVARIATE: univariate, SPARSE: sparse}  # sums of few proxies


@dataclass(frozen=True)
class Scorer:
    """A trained scorer: higher scores are better.

    Attributes:
        name: one of ``SCORERS``.
        proxies: positions, ascending, of the proxies that it needs in the array that it was trained on.
        weights: shape (proxies,), of a weighted sum; for an RBF the coefficients of ``support``.
        support: shape (cells, proxies), the standardised training features of an RBF; else None.
        width: of the RBF kernel ``exp(-d^2 / width)``.
    """

    name: str
    proxies: tuple[int, ...]
    weights: FloatArray
    support: FloatArray | None = None
    width: float | None = None

    def __call__(self, features: FloatArray) -> FloatArray:
        """Score models by standardised features, shape (tasks, models, len(proxies)): (tasks, models)."""
        if self.support is None or self.width is None:
            return np.asarray(features @ self.weights)
        tasks, models, proxies = features.shape
        kernel = rank_svm.rbf_kernel(features.reshape(-1, proxies), self.support, self.width)
        return np.asarray((kernel @ self.weights).reshape(tasks, models))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the positions of the proxies: a file names them."""
        support = None if self.support is None else self.support.tolist()
        return {"name": self.name, "weights": self.weights.tolist(), "support": support, "width": self.width}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Scorer:
        """The scorer from ``to_dict``, its proxies numbered from 0.

        Raises:
            SelectionError: a value is missing, of another shape, or not finite.
        """
        try:
            name, weights = str(saved["name"]), np.array(saved["weights"], dtype=np.float64)
            support = None if saved["support"] is None else np.array(saved["support"], dtype=np.float64)
            width = None if saved["width"] is None else float(saved["width"])
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise SelectionError(f"a saved scorer is damaged: {error!r}; save it again") from error
        numbers = weights if support is None else np.append(weights, support)
        if name not in SCORERS or weights.ndim != 1 or not len(weights) or not np.isfinite(numbers).all():
            raise SelectionError(f"a saved scorer is damaged: {name!r} with {weights.size} weights; save it again")
        rbf = support is not None and support.ndim == 2 and len(support) == len(weights) and (width or 0.0) > 0
        if not (rbf if name == RBF else support is None):
            raise SelectionError(f"a saved scorer is damaged: {name} and its support do not fit; save it again")
        count = len(weights) if support is None else support.shape[1]
        return cls(name, tuple(range(count)), weights, support, width)


def left_out_scores(name: str, features: FloatArray, labels: Labels) -> tuple[FloatArray, Weights | None]:
    """Scores of all models on every pair of tasks left out, trained on the other tasks.

    Args:
        name: one of ``SCORERS``.
        features: standardised, shape (tasks, models, proxies).
        labels: of all models, for any number of draws.

    Returns:
        Shape (draws, splits, 2, models); and the proxies chosen, for a sum of few proxies.
    """
    if name in _FEW:
        chosen = _FEW[name](features, labels, splits(len(features)))
        return chosen.left_out_scores(features), chosen
    return rank_svm.left_out_scores(_kernel(name, features), labels), None


def new_model_scores(name: str, features: FloatArray, labels: Labels, folds: list[np.ndarray]) -> FloatArray:
    """The same with models left out too, each scored by training on the other folds: (splits, 2, models)."""
    if name in _FEW:
        parts = []
        for fold in folds:
            seen = np.setdiff1d(np.arange(features.shape[1]), fold)
            trained = Labels(labels.ranked[:1, :, seen], labels.normal[:1, :, seen], labels.known[:1, seen])
            chosen = _FEW[name](features[:, seen], trained, splits(len(features)))
            parts.append(chosen.left_out_scores(features)[0])
        by_fold = np.stack(parts)
    else:
        by_fold = rank_svm.left_out_scores(_kernel(name, features), labels.without(folds))
    scores = np.empty(by_fold.shape[1:])
    for at, fold in enumerate(folds):
        scores[..., fold] = by_fold[at][..., fold]
    return scores


def fit_scorer(name: str, features: FloatArray, labels: Labels) -> Scorer:
    """The scorer trained on all tasks with the first draw of the labels."""
    all_proxies = tuple(range(features.shape[2]))
    if name in _FEW:
        nothing = np.empty((1, 0), dtype=np.intp)
        proxy, weights = (part[0, 0] for part in _FEW[name](features, labels.draws(np.array([0])), nothing))
        used = weights != 0
        return Scorer(name, tuple(proxy[used].tolist()), weights[used])
    coefficients, _ = rank_svm.rank_svm_coefficients(_kernel(name, features), labels)
    cells = features.reshape(-1, features.shape[2])
    if name == LINEAR:
        return Scorer(name, all_proxies, coefficients @ cells / cells.shape[1])
    return Scorer(name, all_proxies, coefficients, cells, rank_svm.rbf_width(features))


def _kernel(name: str, features: FloatArray) -> FloatArray:
    cells = features.reshape(-1, features.shape[2])
    if name == LINEAR:
        return rank_svm.linear_kernel(cells, cells)
    return rank_svm.rbf_kernel(cells, cells, rank_svm.rbf_width(features))
