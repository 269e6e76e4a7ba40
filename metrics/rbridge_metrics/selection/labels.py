"""Accuracies in the forms that scorers are trained on, as observed and under permutations of the models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.ranking import ranks
from rbridge_metrics.selection.population import unit_ranks


class Labels(NamedTuple):
    """The order of the models by accuracy, in two forms, for several draws.

    Attributes:
        ranked: centred ranks of length 1, shape (draws, tasks, models): rho is their product with other such ranks.
        normal: normal scores, the same shape, the target of least squares: they depend on the order of accuracies only,
            so that a task with accuracies near 0 or 1 weighs like any other.
        known: 1 for a model in the training set, 0 for one left out, shape (draws, models).
    """

    ranked: FloatArray
    normal: FloatArray
    known: FloatArray

    def draws(self, at: npt.NDArray[np.intp]) -> Labels:
        """A subset of the draws."""
        return Labels(self.ranked[at], self.normal[at], self.known[at])

    def permuted(self, draws: int, seed: int) -> Labels:
        """These labels, and ``draws`` permutations of the models, each the same in all tasks.

        A model that is good on one task is good on others, and its proxies are similar on all tasks. Permuting each
        task separately would destroy that, and make the distribution under chance too narrow.
        """
        rng = np.random.default_rng(seed)
        models = self.ranked.shape[-1]
        orders = np.stack([np.arange(models), *(rng.permutation(models) for _ in range(draws))])
        ranked, normal = (form[0][:, orders].transpose(1, 0, 2) for form in (self.ranked, self.normal))
        return Labels(ranked, normal, np.ones((draws + 1, models)))

    def without(self, folds: Sequence[npt.NDArray[np.intp]]) -> Labels:
        """A draw for each fold of models, with the accuracies of that fold hidden."""
        known = np.ones((len(folds), self.ranked.shape[-1]))
        for draw, fold in enumerate(folds):
            known[draw, fold] = 0.0
        shape = (len(folds), *self.ranked.shape[1:])
        hidden = np.broadcast_to(self.ranked[0], shape) * known[:, None]
        return Labels(hidden, np.broadcast_to(self.normal[0], shape) * known[:, None], known)


def labels_of(accuracies: FloatArray) -> Labels:
    """Labels of one draw from accuracies of shape (tasks, models)."""
    models = accuracies.shape[1]
    normal = ndtri((models + 1 - ranks(accuracies, lower_is_better=False)) / (models + 1))
    centred = normal - normal.mean(axis=1, keepdims=True)
    return Labels(unit_ranks(accuracies)[None], centred[None], np.ones((1, models)))


def splits(tasks: int) -> npt.NDArray[np.intp]:
    """All pairs of tasks, each left out together, shape (splits, 2).

    >>> splits(3).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    return np.array(list(combinations(range(tasks), 2)))


def others(tasks: int, out: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The tasks that are not left out."""
    return np.setdiff1d(np.arange(tasks), np.asarray(out))


def spearman_of(scores: FloatArray, ranked: FloatArray) -> FloatArray:
    """Spearman's rho along the last axis of scores with ``Labels.ranked``."""
    rho: FloatArray = np.einsum("...m,...m->...", unit_ranks(scores), ranked)
    return rho
