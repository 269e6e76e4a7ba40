"""Selection of proxies: known combinations are found, noise is not, and left-out data are reported."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from rbridge_metrics import SelectionError
from rbridge_metrics.selection.labels import labels_of, splits
from rbridge_metrics.selection.linear import best_triples, normal_equations, single_left_out, univariate
from rbridge_metrics.selection.population import make_population, new_features, unit_ranks
from rbridge_metrics.selection.scorers import RBF, SCORERS, SPARSE, UNIVARIATE, Scorer, fit_scorer
from rbridge_metrics.selection.select import select

from .made_populations import by_itself, by_three, features
from .strategies import cases


def test_a_known_combination_of_three_is_found_and_beats_every_single_proxy() -> None:
    """On left-out tasks, and on models left out with them, by more than the paired spread."""
    rng = np.random.default_rng(0)
    values = features(rng, models=24, tasks=5, proxies=12)
    selection = select(make_population(values, by_three(rng, values)))
    trial = selection.trial(SPARSE)
    assert trial.scorer.proxies == (1, 4, 7)
    assert trial.chosen is not None
    assert np.array_equal(np.unique(np.sort(trial.chosen, axis=1), axis=0), [[1, 4, 7]])
    assert trial.mean > selection.single.by_task.mean(axis=1).max() + 0.1
    assert trial.new_models > selection.single.by_task.mean(axis=1).max() + 0.1
    assert trial.gain is not None
    assert trial.gain.clear
    assert trial.p_corrected == pytest.approx(1 / 200)
    assert selection.trusted == SPARSE
    assert np.sign(trial.scorer.weights).tolist() == [1, -1, 1]


def test_a_single_proxy_that_decides_alone_is_not_beaten() -> None:
    """Combinations add nothing to it: the univariate scorer is trusted."""
    rng = np.random.default_rng(1)
    values = features(rng, models=20, tasks=5, proxies=10)
    accuracies = -values[..., 3] + 0.4 * rng.normal(size=values.shape[:2])
    selection = select(make_population(values, accuracies), permutations=99)
    assert selection.trusted == UNIVARIATE
    assert selection.trial(UNIVARIATE).scorer.proxies == (3,)
    assert selection.trial(UNIVARIATE).scorer.weights.tolist() == [-1.0]
    assert selection.single.best == 3
    assert not any(trial.gain.clear for trial in selection.trials if trial.gain)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_the_false_alarm_rate_of_noise_is_at_most_alpha(shared: float) -> None:
    """Also where models differ equally on all tasks: then rho on left-out tasks is high, and so is chance."""
    alarms, populations = 0, 50
    for seed in range(populations):
        rng = np.random.default_rng(seed)
        values = features(rng, models=8, tasks=4, proxies=6)
        accuracies = by_itself(rng, 8, 4, shared)
        selection = select(make_population(values, accuracies), permutations=39, alpha=0.1, seed=seed)
        alarms += selection.trusted is not None
    # 0.1 is nominal; 50 populations give more than 11 alarms with probability 0.003.
    assert alarms <= 11


def test_the_best_single_proxy_is_corrected_for_the_number_of_proxies() -> None:
    """The best of many noise proxies looks good by chance: its p-value is that of the maximum."""
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = features(rng, models=8, tasks=3, proxies=40)
        population = make_population(values, by_itself(rng, 8, 3))
        p.append(select(population, scorers=[UNIVARIATE], permutations=19, alpha=0.1, seed=seed).single.p_corrected)
    assert np.mean(np.array(p) <= 0.1) <= 0.25  # 10 % nominal; 0.25 is beyond 3 standard errors
    assert np.mean(p) > 0.35


def test_recognising_models_is_not_mistaken_for_a_proxy() -> None:
    """Accuracies equal on all tasks and independent of the proxies: high rho on left-out tasks, none on new models."""
    trials = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        values = features(rng, models=24, tasks=4, proxies=30, alike=2.0)
        population = make_population(values, by_itself(rng, 24, 4, shared=2.0))
        trials.append(select(population, scorers=[RBF], permutations=19).trials[0])
    assert min(trial.mean for trial in trials) > 0.6
    assert abs(np.mean([trial.new_models for trial in trials])) < 0.25
    assert np.mean([trial.p for trial in trials]) > 0.2
    assert min(trial.chance.mean() for trial in trials) > 0.6


def test_exhaustive_search_equals_least_squares_one_by_one() -> None:
    """Against solving the linear equations of every triple."""
    rng = np.random.default_rng(2)
    values = features(rng, models=9, tasks=3, proxies=8).transpose(1, 0, 2)
    labels = labels_of(rng.normal(size=(3, 9))).permuted(5, 0)
    gram, moment = normal_equations(values, labels)
    triples, weights = best_triples(gram.sum(axis=0), moment.sum(axis=1))
    for draw in range(6):
        best = (-np.inf, (), None)
        for triple in itertools.combinations(range(8), 3):
            triple_gram = gram.sum(axis=0)[np.ix_(triple, triple)]
            c = moment[draw].sum(axis=0)[list(triple)]
            solved = np.linalg.solve(triple_gram, c)
            best = max(best, (float(c @ solved), triple, solved), key=lambda candidate: candidate[0])
        assert tuple(triples[draw]) == best[1]
        np.testing.assert_allclose(weights[draw], best[2], rtol=1e-9)


@pytest.mark.parametrize("copies", [False, True])
def test_the_bound_that_skips_proxies_changes_no_bit(copies: bool) -> None:
    """Many draws together, for which a bound skips most triples, equal each draw alone."""
    rng = np.random.default_rng(3)
    values = features(rng, models=12, tasks=3, proxies=14).transpose(1, 0, 2)
    if copies:
        values[..., 7:] = values[..., :7] + rng.choice([0, 1e-9, 1e-3], 7) * rng.normal(size=values[..., :7].shape)
    gram, moment = normal_equations(values, labels_of(rng.normal(size=(3, 12))).permuted(60, 0))
    gram, moment = gram.sum(axis=0), moment.sum(axis=1)
    triples, weights = best_triples(gram, moment)
    for draw, row in enumerate(moment):
        triple, weight = best_triples(gram, row[None])
        np.testing.assert_array_equal(triples[draw], triple[0])
        np.testing.assert_array_equal(weights[draw], weight[0])


def test_univariate_choice_equals_a_loop_over_splits() -> None:
    """The proxy with the largest mean rho on the training tasks, computed by SciPy."""
    rng = np.random.default_rng(4)
    values = features(rng, models=10, tasks=4, proxies=5).transpose(1, 0, 2)
    accuracies = rng.normal(size=(4, 10))
    rho = np.array([[spearmanr(values[t, :, p], accuracies[t])[0] for p in range(5)] for t in range(4)])
    chosen = univariate(values, labels_of(accuracies), splits(4))
    single = single_left_out(values, labels_of(accuracies))[0]
    for at, out in enumerate(splits(4)):
        train = np.delete(rho, out, axis=0).mean(axis=0)
        best = np.abs(train).round(9).argmax()
        assert chosen.proxy[0, at, 0] == best
        assert chosen.weight[0, at, 0] == np.sign(train[best])
        np.testing.assert_allclose(single[at], np.sign(train) * rho[out])


def test_permutations_move_models_together() -> None:
    """A permuted model keeps its accuracies of all tasks, so tasks stay correlated."""
    accuracies = np.array([[0.1, 0.2, 0.3, 0.4], [10, 20, 30, 40], [4, 3, 2, 1.0]])
    labels = labels_of(accuracies).permuted(20, 7)
    np.testing.assert_allclose(labels.ranked[:, 0], labels.ranked[:, 1])
    np.testing.assert_allclose(labels.ranked[:, 0], -labels.ranked[:, 2])
    np.testing.assert_allclose(labels.ranked[0], labels_of(accuracies).ranked[0])
    assert len(np.unique(labels.ranked[:, 0].round(6), axis=0)) > 5


def test_the_same_seed_gives_the_same_numbers_and_units_do_not_matter() -> None:
    """Scaling and shifting proxies and accuracies changes nothing, nor does a second run."""
    rng = np.random.default_rng(5)
    values = features(rng, models=8, tasks=4, proxies=4)
    accuracies = by_three(rng, np.concatenate([values, values], axis=2))
    first = select(make_population(values, accuracies), permutations=19)
    scaled = select(make_population(1e3 * values + 5, 100 * accuracies), permutations=19)
    for trial, scaled_trial in zip(first.trials, scaled.trials, strict=True):
        np.testing.assert_allclose(trial.by_split, scaled_trial.by_split, atol=1e-6)
        assert trial.p_corrected == scaled_trial.p_corrected


@given(st.lists(st.integers(0, 5), min_size=3, max_size=12), st.integers(0, 99))
@cases(60)
def test_unit_ranks_give_rho_ties_or_not(scores: list[int], seed: int) -> None:
    """A product of unit ranks is SciPy's rho; if one side is all ties, it is 0."""
    target = np.random.default_rng(seed).integers(0, 4, len(scores))
    rho = float(unit_ranks(scores) @ unit_ranks(target))
    if len(set(scores)) == 1 or len(set(target.tolist())) == 1:
        assert rho == 0
    else:
        assert rho == pytest.approx(spearmanr(scores, target)[0])


def test_what_is_incomplete_is_left_out_and_counted() -> None:
    """Proxies mostly unknown or constant, a task without accuracies, a model without a proxy; the rest stays."""
    rng = np.random.default_rng(6)
    values = features(rng, models=10, tasks=5, proxies=6)
    accuracies = rng.random((10, 5))
    values[3:, :, 1] = np.nan  # proxy 1 known for 3 of 10 models
    values[:, 2, 4] = 0.5  # proxy 4 is constant on task 2
    values[7, 0, 0] = np.nan  # model 7 lacks proxy 0 on one task
    accuracies[:, 3] = np.nan
    accuracies[9] = np.nan  # model 9 is ranked but not used for training
    population = make_population(values, accuracies)
    assert [(part.kind, part.at) for part in population.left_out] == [
        ("task", (3,)), ("proxy", (1,)), ("model", (7,)), ("proxy", (4,)),
    ]  # fmt: skip
    assert population.proxies.tolist() == [0, 2, 3, 5]
    assert population.models.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert population.judged.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(population.features.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(population.features.std(axis=1), 1)


@pytest.mark.parametrize(
    ("models", "tasks", "message"),
    [(8, 2, "2 tasks with proxies"), (3, 4, "0 tasks"), (0, 4, "0 tasks")],
)
def test_too_few_tasks_or_models_are_an_error(models: int, tasks: int, message: str) -> None:
    """The message says how many there are and how many are needed."""
    rng = np.random.default_rng(0)
    with pytest.raises(SelectionError, match=message) as caught:
        make_population(rng.normal(size=(models, tasks, 5)), rng.random((models, tasks)))
    assert "at least 3" in str(caught.value)


def test_other_bad_input_is_an_error() -> None:
    """Shapes, infinities, proxies all constant, unknown scorers, too few permutations."""
    rng = np.random.default_rng(0)
    values, accuracies = rng.normal(size=(6, 3, 4)), rng.random((6, 3))
    with pytest.raises(SelectionError, match="expected \\(models, tasks, proxies\\)"):
        make_population(values, accuracies.T)
    with pytest.raises(SelectionError, match="infinite"):
        make_population(np.where(values > 0, np.inf, values), accuracies)
    with pytest.raises(SelectionError, match="every proxy is equal"):
        make_population(np.ones_like(values), accuracies)
    population = make_population(values, accuracies)
    with pytest.raises(SelectionError, match="no scorer 'best'"):
        select(population, scorers=["best"])
    with pytest.raises(SelectionError, match="at least 19"):
        select(population, permutations=10)
    two_proxies = make_population(values[..., :2], accuracies)
    assert SPARSE in select(two_proxies, permutations=19).skipped


@pytest.mark.parametrize("name", SCORERS)
def test_a_saved_scorer_scores_alike(name: str) -> None:
    """A scorer read back from JSON gives the same scores on another population."""
    rng = np.random.default_rng(8)
    values = features(rng, models=12, tasks=3, proxies=5)
    population = make_population(values, rng.random((12, 3)))
    scorer = fit_scorer(name, population.judged_features, labels_of(population.accuracies))
    new_values, models = new_features(features(rng, models=7, tasks=2, proxies=5)[..., list(scorer.proxies)])
    copy = Scorer.from_dict(json.loads(json.dumps(scorer.to_dict())))
    np.testing.assert_allclose(copy(new_values), scorer(new_values), rtol=1e-12)
    assert len(models) == 7


def test_damaged_scorers_are_refused() -> None:
    """A wrong or missing field is an error."""
    good = {"name": "univariate", "weights": [1.0], "support": None, "width": None}
    for wrong in (
        {"name": "other"}, {"weights": []}, {"weights": [None]}, {"weights": "x"}, {"name": RBF},
        {"support": [[1.0]], "width": 1.0}, {"support": [[1.0, 2.0], [3.0, 4.0]], "width": 1.0}, {"support": []},
        {"weights": [10**400]},
    ):  # fmt: skip
        with pytest.raises(SelectionError, match="damaged"):
            Scorer.from_dict({**good, **wrong})
    with pytest.raises(SelectionError, match="damaged"):
        Scorer.from_dict({"name": RBF, "weights": 1.0, "support": [[1.0], [2.0]], "width": 1.0})
    with pytest.raises(SelectionError, match="damaged"):
        Scorer.from_dict({"name": "univariate"})
