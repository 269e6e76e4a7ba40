"""RankSVM for many sets of preferences at once, against scikit-learn's for one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr
from sklearn.svm import LinearSVC

from rbridge_metrics.selection.labels import Labels, labels_of, splits
from rbridge_metrics.selection.population import standardised
from rbridge_metrics.selection.preferences import PairLoss, Preferences
from rbridge_metrics.selection.rank_svm import (
    COSTS,
    Trainer,
    chosen_costs,
    fit_rank_svm,
    left_out_scores,
    linear_kernel,
    rbf_kernel,
    rbf_width,
)

from .made_populations import features

Values = npt.NDArray[np.float64]


def population(seed: int, models: int = 8, tasks: int = 3, proxies: int = 5) -> tuple[Values, Labels]:
    """Standardised features, and labels with ties and two permutations."""
    rng = np.random.default_rng(seed)
    values = standardised(features(rng, models=models, tasks=tasks, proxies=proxies).transpose(1, 0, 2))
    accuracies = np.round(values[..., 0] + rng.normal(size=(tasks, models)), 0)
    return values, labels_of(accuracies).permuted(2, seed)


def preference_matrix(labels: Labels) -> npt.NDArray[np.float32]:
    """1 if the model of the third axis is better than that of the fourth and both are known, else 0."""
    known = labels.known[:, :, None] * labels.known[:, None, :]
    return ((labels.ranked[..., :, None] > labels.ranked[..., None, :]) * known[:, None]).astype(np.float32)


def labels_on(labels: Labels, tasks: list[int]) -> Labels:
    """The labels of some tasks."""
    return Labels(labels.ranked[:, tasks], labels.normal[:, tasks], labels.known)


def reference(cells: Values, prefer: npt.NDArray[np.float32], cost: float) -> Values:
    """Weights by scikit-learn on the differences of all pairs within a task, in both orders."""
    tasks, models, _ = prefer.shape
    differences = [
        cells[task * models + i] - cells[task * models + j]
        for task in range(tasks)
        for i in range(models)
        for j in range(models)
        if prefer[task, i, j]
    ]
    rows = np.array([*differences, *(-row for row in differences)])
    signs = np.repeat([1, -1], len(differences))
    # Every pair occurs twice, in both classes, so each has half the cost.
    svm = LinearSVC(C=cost / 2, loss="squared_hinge", fit_intercept=False, dual=False, tol=1e-10, max_iter=100_000)
    return np.asarray(svm.fit(rows, signs).coef_[0])


@pytest.mark.parametrize("cost", [0.001, 0.05, 1.0])
def test_linear_utilities_are_those_of_scikit_learn(cost: float) -> None:
    """For every draw and every cost."""
    values, labels = population(0)
    cells = values.reshape(-1, values.shape[2])
    prefer = preference_matrix(labels)
    kernel = linear_kernel(cells, cells)
    utility = fit_rank_svm(kernel, Preferences.of(labels), cost, tolerance=1e-6) @ kernel
    for draw in range(3):
        # The kernel is a mean over proxies, hence the root.
        scaled = cells / np.sqrt(cells.shape[1])
        np.testing.assert_allclose(utility[draw], scaled @ reference(scaled, prefer[draw], cost), atol=2e-3)


def test_rbf_utilities_are_those_of_the_pairwise_kernel() -> None:
    """A Cholesky factor of the kernel as features gives the same problem; the kernel of two pairs has four terms."""
    values, labels = population(1)
    cells = values.reshape(-1, values.shape[2])
    kernel = rbf_kernel(cells, cells, rbf_width(values))
    factor = np.linalg.cholesky(kernel + 1e-10 * np.eye(len(kernel)))
    i, j, k, m = 0, 3, 9, 12
    pair = (factor[i] - factor[j]) @ (factor[k] - factor[m])
    assert pair == pytest.approx(kernel[i, k] - kernel[i, m] - kernel[j, k] + kernel[j, m], abs=1e-6)
    prefer = preference_matrix(labels)
    utility = fit_rank_svm(kernel, Preferences.of(labels), 0.1, tolerance=1e-6) @ kernel
    for draw in range(3):
        np.testing.assert_allclose(utility[draw], factor @ reference(factor, prefer[draw], 0.1), atol=2e-3)


def test_ties_and_left_out_models_make_no_pairs() -> None:
    """Equal accuracies and left-out models make no pairs. At utility 0 each pair has a gradient of 1."""
    labels = labels_of(np.array([[1.0, 1.0, 2.0, 3.0]]))
    assert PairLoss(Preferences.of(labels)).pull_at_zero.tolist() == [[-2, -2, 1, 3]]
    assert PairLoss(Preferences.of(labels.without([np.array([3])]))).pull_at_zero.tolist() == [[-1, -1, 2, 0]]


@pytest.mark.parametrize("levels", [2, 5, 100])
def test_violations_are_those_of_a_loop_over_all_pairs(levels: int) -> None:
    """With many ties and without, with all models and with some left out, and on a subset of the tasks."""
    rng = np.random.default_rng(levels)
    labels = labels_of(rng.integers(0, levels, (3, 9)).astype(float) + np.arange(9) / 1e3 * (levels == 100))
    for case in (labels.permuted(3, 0), labels.without([np.array([0, 8]), np.array([4])])):
        utility = rng.normal(size=(len(case.ranked), 2, 9)).astype(np.float32)
        prefer = preference_matrix(labels_on(case, [0, 2]))
        short = np.maximum(1 - (utility[..., :, None] - utility[..., None, :]), 0) * prefer
        expected = (short.sum(axis=-1) - short.sum(axis=-2)).reshape(len(utility), -1)
        loss = PairLoss(Preferences.of(case).of_tasks(np.array([0, 2])))
        bound = 64 * np.finfo(np.float32).eps * np.abs(short).sum(axis=(-1, -2)).max()
        np.testing.assert_allclose(loss.pull(utility.reshape(len(utility), -1)), expected, rtol=0, atol=bound)


def test_training_on_some_tasks_equals_a_fit_of_these_alone() -> None:
    """Utilities computed from the shared kernel of all tasks equal those of a separate fit."""
    values, labels = population(4, tasks=4)
    cells = values.reshape(-1, values.shape[2])
    kernel = rbf_kernel(cells, cells, rbf_width(values))
    scores = left_out_scores(kernel, labels)
    cost = chosen_costs(Trainer(kernel, labels))
    trained, models = [2, 3], values.shape[1]
    rows = np.concatenate([np.arange(task * models, (task + 1) * models) for task in trained])
    for draw, choice in enumerate(cost[:, 0]):  # the first split leaves out tasks 0 and 1
        preferences = Preferences.of(labels_on(labels, trained).draws(np.flatnonzero(cost[:, 0] == choice)))
        weights = fit_rank_svm(kernel[np.ix_(rows, rows)], preferences, COSTS[choice] / models)
        utility = weights @ kernel[rows][:, : 2 * models]
        place = np.flatnonzero(np.flatnonzero(cost[:, 0] == choice) == draw)[0]
        np.testing.assert_allclose(scores[draw, 0].ravel(), utility[place], atol=1e-5)


def test_the_cost_is_chosen_inside_the_training_tasks() -> None:
    """Equal to a loop: leave out each training task, fit the others by scikit-learn, take the best mean rho."""
    values, labels = population(2, models=7, tasks=4)
    observed = labels.draws(np.array([0]))
    cells = values.reshape(-1, values.shape[2])
    kernel = linear_kernel(cells, cells)
    chosen = chosen_costs(Trainer(kernel, observed))[0]
    scaled = values / np.sqrt(values.shape[2])
    for at, out in enumerate(splits(4)):
        train = [task for task in range(4) if task not in out]
        means = []
        for cost in COSTS:
            rho = []
            for left in train:
                fitted = [task for task in train if task != left]
                prefer = preference_matrix(labels_on(observed, fitted))[0]
                weights = reference(scaled[fitted].reshape(-1, scaled.shape[2]), prefer, cost / 7)
                rho.append(spearmanr(scaled[left] @ weights, observed.ranked[0, left])[0])
            means.append(np.mean(rho))
        assert means[chosen[at]] == pytest.approx(max(means), abs=0.03)  # near-ties may differ


def test_labels_of_tasks_left_out_do_not_matter() -> None:
    """Scores on a left-out pair of tasks do not depend on its accuracies."""
    values, labels = population(3, tasks=4)
    cells = values.reshape(-1, values.shape[2])
    kernel = linear_kernel(cells, cells)
    before = left_out_scores(kernel, labels)
    changed = labels.ranked.copy()
    changed[:, [0, 1]] = -changed[:, [0, 1]]
    after = left_out_scores(kernel, labels._replace(ranked=changed))
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert not np.array_equal(before[:, -1], after[:, -1])
