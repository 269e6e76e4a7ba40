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

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.selection.labels import Labels, others, spearman_of, splits
from rbridge_metrics.selection.population import Indices

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
    kernel: FloatArray, prefer: npt.NDArray[np.float32], cost: float, *, tolerance: float = TOLERANCE
) -> FloatArray:
    """Coefficients of the training cells, for every set of preferences.

    Args:
        kernel: shape (cells, cells), cells task by task.
        prefer: shape (draws, tasks, models, models), 1 if the first model of a pair is better; see ``Labels``.
        cost: of a violated pair.
        tolerance: largest change of a utility in the last step.

    Returns:
        Shape (draws, cells).
    """
    draws, tasks, models, _ = prefer.shape
    centre = np.kron(np.eye(tasks), np.eye(models) - 1.0 / models)
    system = np.linalg.inv(np.eye(len(kernel)) + 2.0 * cost * models * centre @ kernel).T.astype(np.float32)
    gram = kernel.astype(np.float32)
    coefficients = np.zeros((draws, len(kernel)), dtype=np.float32)
    for start in range(0, draws, _CHUNK):
        part = slice(start, start + _CHUNK)
        coefficients[part] = _descend(gram, system, prefer[part], np.float32(2.0 * cost), tolerance)
    return coefficients.astype(np.float64)


def _descend(
    gram: npt.NDArray[np.float32],
    system: npt.NDArray[np.float32],
    prefer: npt.NDArray[np.float32],
    weight: np.float32,
    tolerance: float,
) -> npt.NDArray[np.float32]:
    draws, tasks, models, _ = prefer.shape
    at = ahead = np.zeros((draws, tasks * models), dtype=np.float32)
    utility = utility_ahead = at
    momentum = np.ones((draws, 1), dtype=np.float32)
    for _ in range(_STEPS):
        task = utility_ahead.reshape(draws, tasks, models)
        short = task[..., None, :] - task[..., :, None]
        short += 1.0
        np.maximum(short, 0.0, out=short)
        short *= prefer
        pull = (short.sum(axis=-1) - short.sum(axis=-2)).reshape(draws, -1)
        new = ahead - (ahead - weight * pull) @ system
        new_utility = new @ gram
        change = np.abs(new_utility - utility_ahead).max()
        overshot = ((ahead - new) * (new_utility - utility)).sum(axis=1, keepdims=True) > 0
        following = np.where(overshot, 1.0, (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0).astype(np.float32)
        forward = np.where(overshot, 0.0, (momentum - 1.0) / following).astype(np.float32)
        ahead = new + forward * (new - at)
        utility_ahead = new_utility + forward * (new_utility - utility)
        at, utility, momentum = new, new_utility, following
        if change < tolerance:
            break
    return at


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
    cost = chosen_costs(kernel, labels)
    scores = np.empty((draws, *splits(tasks).shape, models))
    for at, out in enumerate(splits(tasks)):
        for choice in np.unique(cost[:, at]):
            some = np.flatnonzero(cost[:, at] == choice)
            scores[some, at] = _scores(kernel, labels.draws(some), others(tasks, out), out, COSTS[choice] / models)
    return scores


def chosen_costs(kernel: FloatArray, labels: Labels) -> Indices:
    """Position in ``COSTS`` of the best cost on the training tasks of every split: (draws, splits).

    With more than 6 tasks only every nth set of three tasks is left out, which leaves each split 1 to 5 training tasks
    to choose by. Models that are left out have ranked labels of 0, and do not count.
    """
    draws, tasks, models = labels.ranked.shape
    pairs = splits(tasks)
    if tasks == 3:
        return np.full((draws, len(pairs)), len(COSTS) // 2)
    place = {tuple(pair): at for at, pair in enumerate(pairs.tolist())}
    trios = [(*pair, last) for pair in pairs.tolist() for last in range(pair[1] + 1, tasks)]
    step = -(-(tasks - 2) // _INNER)
    total_rho = np.zeros((len(COSTS), draws, len(pairs)))
    # A fit without three tasks serves three splits: each of the three is the left-out training task of one split.
    for trio in np.array([trio for trio in trios if sum(trio) % step == 0]):
        for choice, cost in enumerate(COSTS):
            scores = _scores(kernel, labels, others(tasks, trio), trio, cost / models)
            rho = spearman_of(scores, labels.ranked[:, trio])
            for at, task in enumerate(trio):
                split = place[tuple(int(out) for out in trio if out != task)]
                total_rho[choice, :, split] += rho[:, at]
    return np.asarray(total_rho.argmax(axis=0))


def rank_svm_coefficients(kernel: FloatArray, labels: Labels) -> tuple[FloatArray, float]:
    """Coefficients of all cells for the first draw, and the cost, chosen by leaving out one task at a time."""
    observed = labels.draws(np.array([0]))
    _, tasks, models = observed.ranked.shape
    means = []
    for cost in COSTS:
        rho = 0.0
        for out in range(tasks):
            scores = _scores(kernel, observed, others(tasks, out), np.array([out]), cost / models)
            rho += float(spearman_of(scores, observed.ranked[:, [out]])[0, 0])
        means.append(rho)
    cost = COSTS[int(np.argmax(means))] / models
    return fit_rank_svm(kernel, observed.prefer(np.arange(tasks)), cost, tolerance=1e-5)[0], cost


def _scores(kernel: FloatArray, labels: Labels, train: Indices, test: Indices, cost: float) -> FloatArray:
    """Utilities of the models on the test tasks, trained on the others: (draws, test, models)."""
    draws, _, models = labels.ranked.shape
    trained, tested = (_cells(tasks, models) for tasks in (train, test))
    coefficients = fit_rank_svm(kernel[np.ix_(trained, trained)], labels.prefer(train), cost)
    scores: FloatArray = (coefficients @ kernel[np.ix_(trained, tested)]).reshape(draws, len(test), models)
    return scores


def _cells(tasks: Indices, models: int) -> Indices:
    cells: Indices = (tasks[:, None] * models + np.arange(models)).ravel()
    return cells
