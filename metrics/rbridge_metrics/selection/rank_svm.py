"""RankSVM on pairwise preferences within tasks, for one kernel and many sets of preferences at once.

The scorer is a utility of models, f(x) = sum of a_i k(x_i, x) over the training cells (a model on a task), that
minimises

    |f|^2 / 2 + cost * sum over pairs i > j of one task of max(0, 1 - (f(x_i) - f(x_j)))^2,

where i > j means that i has the higher accuracy. With a linear kernel this is scikit-learn's ``LinearSVC`` without
intercept on the differences x_i - x_j; with another kernel, the same on pairs with the kernel
K(i, k) - K(i, l) - K(j, k) + K(j, l). scikit-learn fits one set of preferences at a time, in milliseconds to seconds; a
permutation test needs tens of thousands. Here all sets share one matrix: the curvature of the loss is at most that with
every pair violated, so each step solves the same linear system for all sets, with Nesterov's momentum, restarted after
an overshoot. ``tests/metrics/test_selection_rank_svm.py`` compares it with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.selection.labels import Labels, others, spearman_of, splits
from rbridge_metrics.selection.population import Indices
from rbridge_metrics.selection.preferences import Float32, PairLoss, Preferences

#: Candidates for ``cost`` times the number of models; chosen by rho on left-out training tasks.
COSTS = (0.01, 0.1, 1.0)
TOLERANCE = 1e-2  # of a utility, in margins: changes the mean rho by less than 1e-3
_STEPS = 200
#: Training tasks left out, at most about, to choose a cost: with 12 tasks 76 fits instead of 220.
_INNER = 4
_CHUNK = 64


def linear_kernel(left: FloatArray, right: FloatArray) -> FloatArray:
    """Mean over proxies of the products of two sets of cells, (cells, proxies) each."""
    kernel: FloatArray = left @ right.T / left.shape[1]
    return kernel


def rbf_kernel(left: FloatArray, right: FloatArray, width: float) -> FloatArray:
    """``exp(-d^2 / width)`` with the squared distance d^2 between two sets of cells.

    scikit-learn's ``rbf_kernel`` differs in the last bit.
    """
    distance = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * left @ right.T
    kernel: FloatArray = np.exp(-np.maximum(distance, 0.0) / width)
    return kernel


def rbf_width(features: FloatArray) -> float:
    """Median squared distance of two models on a task, from features of shape (tasks, models, proxies)."""
    first, second = np.triu_indices(features.shape[1], k=1)
    return float(np.median(((features[:, first] - features[:, second]) ** 2).sum(axis=-1)))


def fit_rank_svm(
    kernel: FloatArray, preferences: Preferences, cost: float, *, tolerance: float = TOLERANCE
) -> FloatArray:
    """Coefficients of the training cells, for every set of preferences.

    Args:
        kernel: shape (cells, cells), cells task by task.
        preferences: of the models on the training tasks, for every draw.
        cost: of a violated pair.
        tolerance: largest change of a utility in the last step.

    Returns:
        Shape (draws, cells).
    """
    system = _inverse_system(kernel, preferences.order.shape[2], cost)
    coefficients = _fit(kernel.astype(np.float32), system, _losses(preferences), cost, tolerance)
    return coefficients.astype(np.float64)


def _inverse_system(kernel: FloatArray, models: int, cost: float) -> FloatArray:
    """Inverse of the curvature if every pair is violated, I + 2 cost models C K, where C centres within tasks."""
    centred = kernel.reshape(-1, models, len(kernel))
    centred = (centred - centred.mean(axis=1, keepdims=True)).reshape(kernel.shape)
    inverse: FloatArray = np.linalg.inv(np.eye(len(kernel)) + 2.0 * cost * models * centred)
    return inverse


def _losses(preferences: Preferences) -> list[PairLoss]:
    draws = len(preferences.order)
    return [PairLoss(preferences.draws(slice(start, start + _CHUNK))) for start in range(0, draws, _CHUNK)]


def _fit(gram: Float32, system: FloatArray, losses: list[PairLoss], cost: float, tolerance: float) -> Float32:
    step, weight = system.T.astype(np.float32), np.float32(2.0 * cost)
    return np.concatenate([_descend(gram, step, loss, weight, tolerance) for loss in losses])


def _descend(gram: Float32, system: Float32, loss: PairLoss, weight: np.float32, tolerance: float) -> Float32:
    at = ahead = utility = utility_ahead = np.zeros_like(loss.pull_at_zero)
    momentum = np.ones((len(at), 1), dtype=np.float32)
    pull = loss.pull_at_zero
    for _ in range(_STEPS):
        new: Float32 = ahead - (ahead - np.multiply(weight, pull)) @ system
        new_utility = new @ gram
        if np.abs(new_utility - utility_ahead).max() < tolerance:
            return new
        overshot = ((ahead - new) * (new_utility - utility)).sum(axis=1, keepdims=True) > 0
        following = np.where(overshot, 1.0, (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0).astype(np.float32)
        forward = np.where(overshot, 0.0, (momentum - 1.0) / following).astype(np.float32)
        ahead = new + forward * (new - at)
        utility_ahead = new_utility + forward * (new_utility - utility)
        at, utility, momentum = new, new_utility, following
        pull = loss.pull(utility_ahead)
    return at


class Trainer:
    """Trains on some tasks and scores on the others; what fits have in common is computed once."""

    def __init__(self, kernel: FloatArray, labels: Labels) -> None:
        self.labels = labels
        _, self.tasks, self.models = labels.ranked.shape
        self._kernel = kernel
        self._preferences = Preferences.of(labels)
        self._systems = [_inverse_system(kernel, self.models, cost / self.models) for cost in COSTS]

    def scores(
        self, test: Indices, choices: Sequence[int] = range(len(COSTS)), draws: Indices | slice = slice(None)
    ) -> Iterator[FloatArray]:
        """Utilities of the models on the test tasks, trained on the others at each cost: (draws, test, models)."""
        train = others(self.tasks, test)
        losses = _losses(self._preferences.of_tasks(train).draws(draws))
        gram, tested = self._block(self._kernel, train, train), self._block(self._kernel, train, test)
        for choice in choices:
            system = self._system(train, test, choice)
            coefficients = _fit(gram.astype(np.float32), system, losses, COSTS[choice] / self.models, TOLERANCE)
            yield (coefficients.astype(np.float64) @ tested).reshape(-1, len(test), self.models)

    def _system(self, train: Indices, test: Indices, choice: int) -> FloatArray:
        """``_inverse_system`` of the training cells, from that of all cells by the inverse of a partitioned matrix."""
        whole = self._systems[choice]
        below = np.linalg.solve(self._block(whole, test, test), self._block(whole, test, train))
        part: FloatArray = self._block(whole, train, train) - self._block(whole, train, test) @ below
        return part

    def _block(self, matrix: FloatArray, rows: Indices, columns: Indices) -> FloatArray:
        """The part of a matrix over all cells that belongs to some tasks."""
        by_task = matrix.reshape(self.tasks, self.models, self.tasks, self.models)
        return by_task[rows][:, :, columns].reshape(len(rows) * self.models, -1)


def left_out_scores(kernel: FloatArray, labels: Labels) -> FloatArray:
    """Utilities on tasks left out, by the RankSVM trained on the others with a cost chosen on them.

    The cost chosen has the highest mean rho on training tasks left out one by one; with a single training task, it is
    the middle one.

    Args:
        kernel: shape (cells, cells) over all cells, task by task.
        labels: of all tasks.

    Returns:
        Shape (draws, splits, 2, models).
    """
    draws, tasks, models = labels.ranked.shape
    trainer = Trainer(kernel, labels)
    cost = chosen_costs(trainer)
    scores = np.empty((draws, *splits(tasks).shape, models))
    for at, out in enumerate(splits(tasks)):
        for choice in np.unique(cost[:, at]):
            some = np.flatnonzero(cost[:, at] == choice)
            scores[some, at] = next(trainer.scores(out, [int(choice)], some))
    return scores


def chosen_costs(trainer: Trainer) -> Indices:
    """Position in ``COSTS`` of the best cost on the training tasks of every split: (draws, splits).

    With more than 6 tasks only every nth set of three tasks is left out, which leaves each split 1 to 5 training tasks
    to choose by. Models that are left out have ranked labels of 0, and do not count.
    """
    draws, tasks, _ = trainer.labels.ranked.shape
    pairs = splits(tasks)
    if tasks == 3:
        return np.full((draws, len(pairs)), len(COSTS) // 2)
    place = {tuple(pair): at for at, pair in enumerate(pairs.tolist())}
    trios = [(*pair, last) for pair in pairs.tolist() for last in range(pair[1] + 1, tasks)]
    step = -(-(tasks - 2) // _INNER)
    total_rho = np.zeros((len(COSTS), draws, len(pairs)))
    # A fit without three tasks serves three splits: each of the three is the left-out training task of one split.
    for trio in np.array([trio for trio in trios if sum(trio) % step == 0]):
        for choice, scores in enumerate(trainer.scores(trio)):
            rho = spearman_of(scores, trainer.labels.ranked[:, trio])
            for at, task in enumerate(trio):
                split = place[tuple(int(out) for out in trio if out != task)]
                total_rho[choice, :, split] += rho[:, at]
    return np.asarray(total_rho.argmax(axis=0))


def rank_svm_coefficients(kernel: FloatArray, labels: Labels) -> tuple[FloatArray, float]:
    """Coefficients of all cells for the first draw, and the cost, chosen by leaving out one task at a time."""
    observed = labels.draws(np.array([0]))
    _, tasks, models = observed.ranked.shape
    trainer = Trainer(kernel, observed)
    rho = np.zeros(len(COSTS))
    for out in range(tasks):
        scores = np.stack(list(trainer.scores(np.array([out]))))[:, 0, 0]
        rho += spearman_of(scores, observed.ranked[0, out])
    cost = COSTS[int(rho.argmax())] / models
    return fit_rank_svm(kernel, Preferences.of(observed), cost, tolerance=1e-5)[0], cost
