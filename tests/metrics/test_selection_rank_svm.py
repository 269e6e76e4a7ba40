"""RankSVM for many sets of preferences at once, against scikit-learn's for one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr
from sklearn.svm import LinearSVC

from rbridge_metrics.selection.labels import Labels, labels_of, splits
from rbridge_metrics.selection.population import standardised
from rbridge_metrics.selection.rank_svm import (
    COSTS,
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
    """Standardised features, and labels with ties and a permutation or two."""
    rng = np.random.default_rng(seed)
    values = standardised(features(rng, models=models, tasks=tasks, proxies=proxies).transpose(1, 0, 2))
    accuracies = np.round(values[..., 0] + rng.normal(size=(tasks, models)), 0)
    return values, labels_of(accuracies).permuted(2, seed)


def reference(cells: Values, prefer: npt.NDArray[np.float32], cost: float) -> Values:
    """Weights by scikit-learn, on the difference of every pair within a task, both ways round."""
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
    # Every pair is there twice, so that there are two classes: half the cost.
    svm = LinearSVC(C=cost / 2, loss="squared_hinge", fit_intercept=False, dual=False, tol=1e-10, max_iter=100_000)
    return np.asarray(svm.fit(rows, signs).coef_[0])


@pytest.mark.parametrize("cost", [0.001, 0.05, 1.0])
def test_linear_utilities_are_those_of_scikit_learn(cost: float) -> None:
    """For every draw, whatever the cost."""
    values, labels = population(0)
    cells = values.reshape(-1, values.shape[2])
    prefer = labels.prefer(np.arange(3))
    kernel = linear_kernel(cells, cells)
    found = fit_rank_svm(kernel, prefer, cost, tolerance=1e-6) @ kernel
    for draw in range(3):
        # The kernel is a mean over proxies, hence the root.
        scaled = cells / np.sqrt(cells.shape[1])
        np.testing.assert_allclose(found[draw], scaled @ reference(scaled, prefer[draw], cost), atol=2e-3)


def test_rbf_utilities_are_those_of_the_pairwise_kernel() -> None:
    """A factor of the kernel matrix as features makes it the same problem; its pairwise kernel has four terms."""
    values, labels = population(1)
    cells = values.reshape(-1, values.shape[2])
    kernel = rbf_kernel(cells, cells, rbf_width(values))
    factor = np.linalg.cholesky(kernel + 1e-10 * np.eye(len(kernel)))
    i, j, k, m = 0, 3, 9, 12
    pair = (factor[i] - factor[j]) @ (factor[k] - factor[m])
    assert pair == pytest.approx(kernel[i, k] - kernel[i, m] - kernel[j, k] + kernel[j, m], abs=1e-6)
    prefer = labels.prefer(np.arange(3))
    found = fit_rank_svm(kernel, prefer, 0.1, tolerance=1e-6) @ kernel
    for draw in range(3):
        np.testing.assert_allclose(found[draw], factor @ reference(factor, prefer[draw], 0.1), atol=2e-3)


def test_ties_and_hidden_models_prefer_nothing() -> None:
    """Equal accuracies make no pair; a model left out is in none."""
    labels = labels_of(np.array([[1.0, 1.0, 2.0, 3.0]]))
    prefer = labels.prefer(np.array([0]))[0, 0]
    assert prefer[0, 1] == prefer[1, 0] == 0
    assert prefer.sum() == 5
    hidden = labels.without([np.array([3])]).prefer(np.array([0]))[0, 0]
    assert hidden[3].sum() == hidden[:, 3].sum() == 0
    assert hidden.sum() == 2


def test_the_cost_is_chosen_inside_the_training_tasks() -> None:
    """Equal to a loop: leave out each training task, fit the others by scikit-learn, take the best mean rho."""
    values, labels = population(2, models=7, tasks=4)
    observed = labels.draws(np.array([0]))
    cells = values.reshape(-1, values.shape[2])
    kernel = linear_kernel(cells, cells)
    chosen = chosen_costs(kernel, observed)[0]
    scaled = values / np.sqrt(values.shape[2])
    for at, out in enumerate(splits(4)):
        train = [task for task in range(4) if task not in out]
        means = []
        for cost in COSTS:
            rho = []
            for left in train:
                fitted = [task for task in train if task != left]
                prefer = observed.prefer(np.array(fitted))[0]
                weights = reference(scaled[fitted].reshape(-1, scaled.shape[2]), prefer, cost / 7)
                rho.append(spearmanr(scaled[left] @ weights, observed.ranked[0, left])[0])
            means.append(np.mean(rho))
        assert means[chosen[at]] == pytest.approx(max(means), abs=0.03)  # near-ties may fall either way


def test_labels_of_tasks_left_out_do_not_matter() -> None:
    """Scores on a pair left out are the same whatever the accuracies there."""
    values, labels = population(3, tasks=4)
    cells = values.reshape(-1, values.shape[2])
    kernel = linear_kernel(cells, cells)
    before = left_out_scores(kernel, labels)
    changed = labels.ranked.copy()
    changed[:, [0, 1]] = -changed[:, [0, 1]]
    after = left_out_scores(kernel, labels._replace(ranked=changed))
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert not np.array_equal(before[:, -1], after[:, -1])
