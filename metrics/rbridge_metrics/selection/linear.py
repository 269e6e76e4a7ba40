"""Scorers that are weighted sums of few proxies: the best single one, and the best three."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.selection.labels import Labels, others, splits
from rbridge_metrics.selection.population import Indices, unit_ranks

#: Added to the variance (1) of every proxy: near-copies would otherwise get huge weights of opposite signs.
RIDGE = 1e-3
_FEW_DRAWS = 8  # fewer are not worth a bound


class Weights(NamedTuple):
    """The proxies chosen for each draw and split, and their weights: both (draws, splits, proxies chosen)."""

    proxy: Indices
    weight: FloatArray

    def left_out_scores(self, features: FloatArray) -> FloatArray:
        """Scores of models on the tasks left out: features (tasks, models, proxies) to (draws, splits, 2, models)."""
        scores = []
        for at, out in enumerate(splits(features.shape[0])):
            taken = features[out][:, :, self.proxy[:, at]]  # (2, models, draws, proxies chosen)
            scores.append((taken * self.weight[:, at]).sum(axis=-1).transpose(2, 0, 1))
        return np.stack(scores, axis=1)


def proxy_correlations(features: FloatArray, labels: Labels) -> FloatArray:
    """Rho of every proxy with the accuracies: features (tasks, models, proxies) to (draws, tasks, proxies)."""
    ranked = unit_ranks(features.transpose(0, 2, 1))
    rho: FloatArray = np.einsum("tpm,btm->btp", ranked, labels.ranked, optimize=True)
    return rho


def single_left_out(features: FloatArray, labels: Labels) -> FloatArray:
    """Rho of every single proxy on tasks left out, its sign learnt on the others: (draws, splits, 2, proxies)."""
    pairs = splits(features.shape[0])
    rho, train = _left_out_and_trained(features, labels, pairs)
    return np.asarray(np.where(train < 0, -1.0, 1.0)[:, :, None] * rho[:, pairs])


def univariate(features: FloatArray, labels: Labels, left_out: Indices) -> Weights:
    """The proxy with the largest absolute mean rho on the training tasks, with weight 1 or -1.

    Of proxies that are equal up to rounding, the first.

    Args:
        features: shape (tasks, models, proxies).
        labels: for any number of draws.
        left_out: tasks that each split does not train on, shape (splits, n).
    """
    _, train = _left_out_and_trained(features, labels, left_out)
    best = np.abs(train).round(9).argmax(axis=-1, keepdims=True)
    return Weights(best, np.where(np.take_along_axis(train, best, -1) < 0, -1.0, 1.0))


def _left_out_and_trained(features: FloatArray, labels: Labels, left_out: Indices) -> tuple[FloatArray, FloatArray]:
    """Rho of every proxy on each task, (draws, tasks, proxies), and its sum over training tasks, for each split."""
    rho = proxy_correlations(features, labels)
    return rho, rho.sum(axis=1)[:, None] - rho[:, left_out].sum(axis=2)


def sparse(features: FloatArray, labels: Labels, left_out: Indices) -> Weights:
    """The three proxies that fit the training tasks best by least squares; arguments as for ``univariate``."""
    gram, moment = normal_equations(features, labels)
    trained = (others(len(features), out) for out in left_out)
    fits = [best_triples(gram[train].sum(axis=0), moment[:, train].sum(axis=1)) for train in trained]
    return Weights(*(np.stack(part, axis=1) for part in zip(*fits, strict=True)))


def normal_equations(features: FloatArray, labels: Labels) -> tuple[FloatArray, FloatArray]:
    """Least squares with an intercept for each task: Gram matrices (tasks, p, p), moments (draws, tasks, p)."""
    centred = features - features.mean(axis=1, keepdims=True)
    gram = centred.transpose(0, 2, 1) @ centred
    gram += RIDGE * features.shape[1] * np.eye(features.shape[2])
    return gram, np.einsum("tmp,btm->btp", centred, labels.normal, optimize=True)


def best_triples(gram: FloatArray, moment: FloatArray) -> tuple[Indices, FloatArray]:
    """The three proxies that explain most by least squares, of all triples.

    Three proxies explain ``c' G^-1 c``. For each first proxy, it is projected out of the others; the part that a pair
    of them then adds has a closed form, evaluated for all pairs and draws at once. With many draws, a bound in single
    precision first rules out most first proxies; the numbers that decide are always in double precision.

    Args:
        gram: shape (proxies, proxies), positive definite.
        moment: shape (draws, proxies).

    Returns:
        Triples, shape (draws, 3), in ascending order, and their weights, shape (draws, 3).
    """
    draws, proxies = moment.shape
    best = np.full(draws, -np.inf)
    triples = np.zeros((draws, 3), dtype=np.intp)
    possible = np.ones((proxies - 2, draws), bool) if draws < _FEW_DRAWS else _possible_firsts(gram, moment)
    for first in range(proxies - 2):
        tried = np.flatnonzero(possible[first])
        if not len(tried):
            continue
        freed, left, alone = _without(first, gram, moment[tried])
        second, third = _pairs(len(freed))
        variance = freed.diagonal()
        of_second, of_third = variance.take(second), variance.take(third)
        between = freed.take(second * len(freed) + third)
        scale = 1.0 / (of_second * of_third - between**2)
        u, v = left.take(second, axis=1), left.take(third, axis=1)
        explained = (of_third * scale * u - 2.0 * between * scale * v) * u
        v *= v
        v *= of_second * scale
        explained += v
        place = explained.argmax(axis=1)
        value = alone + np.take_along_axis(explained, place[:, None], 1)[:, 0]
        better = value > best[tried]
        tried, place = tried[better], place[better]
        best[tried] = value[better]
        triples[tried] = np.stack([np.full(len(tried), first), first + 1 + second[place], first + 1 + third[place]], 1)
    subgram = gram[triples[:, :, None], triples[:, None, :]]
    weights = np.linalg.solve(subgram, np.take_along_axis(moment, triples, 1)[..., None])[..., 0]
    return triples, np.asarray(weights, dtype=np.float64)


def _without(first: int, gram: FloatArray, moment: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gram matrix and moments of the proxies after one, with that one projected out; and what it explains alone."""
    rest = slice(first + 1, None)
    share = gram[rest, first] / gram[first, first]
    freed = gram[rest, rest] - np.outer(share, gram[first, rest])
    return freed, moment[:, rest] - moment[:, first, None] * share, moment[:, first] ** 2 / gram[first, first]


@functools.cache
def _pairs(count: int) -> tuple[Indices, Indices]:
    second, third = np.triu_indices(count, k=1)
    return second, third


def _possible_firsts(gram: FloatArray, moment: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether a proxy can be the first of the best triple: (proxies - 2, draws).

    With proxies scaled to variance 1 after the first is projected out, a pair with correlation r and moments u and v
    explains ``u^2 + z^2``, where ``z = (v - r u) / sqrt(1 - r^2)``. All z are one matrix product, in single precision.
    u, v, and the two factors are rounded once each, and z is a sum of two products, rounded twice: its error is at most
    4 eps (|v| + |r u|) / sqrt(1 - r^2) in the first order; twice that is taken.
    """
    draws, proxies = moment.shape
    most = np.empty((proxies - 2, draws))
    error = np.empty_like(most)
    eps = np.finfo(np.float32).eps
    for first in range(proxies - 2):
        freed, left, alone = _without(first, gram, moment)
        deviation = np.sqrt(freed.diagonal())
        second, third = _pairs(len(freed))
        r = freed[second, third] / (deviation[second] * deviation[third])
        scale = 1.0 / np.sqrt(1.0 - r**2)
        factors = np.zeros((len(r), len(freed)), dtype=np.float32)
        row = np.arange(len(r))
        factors[row, third], factors[row, second] = scale, -r * scale
        u = (left / deviation).T
        z = factors @ u.astype(np.float32)
        np.abs(z, out=z)
        of_second = np.split(z, np.flatnonzero(np.diff(second)) + 1)
        largest = np.stack([rows.max(axis=0) for rows in of_second])
        most[first] = alone + (u[:-1] ** 2 + largest.astype(np.float64) ** 2).max(axis=0)
        z_error = 16.0 * eps * np.abs(u).max(axis=0) * scale.max()
        error[first] = z_error * (2.0 * largest.max(axis=0) + z_error) + eps * most[first]
    possible: npt.NDArray[np.bool_] = most + error >= (most - error).max(axis=0)
    return possible
