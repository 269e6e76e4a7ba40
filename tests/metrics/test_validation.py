"""Cross-validation: folds, baselines on the same folds, and verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold

from rbridge_metrics import FitError, ProxyRegressor, cross_validate
from rbridge_metrics.folds import neighbour_blocks, splits

TOKENS = np.arange(1, 13) * 250e9


def run(seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Proxy scores and accuracies of twelve checkpoints, both with noise."""
    rng = np.random.default_rng(seed)
    x = -0.9 + 0.1 * np.log(np.arange(1, 13)) + 0.003 * rng.normal(size=12)
    return x, 30.0 + 150.0 * (x + 0.9) + noise * rng.normal(size=12)


def test_shuffled_folds_are_scikit_learns_over_the_ordered_checkpoints() -> None:
    """KFold with five folds and seed 42 over checkpoints ordered by tokens, for any order of the rows."""
    places = TOKENS[np.random.default_rng(3).permutation(12)]
    order = np.argsort(places)
    expected = [set(order[test]) for _, test in KFold(5, shuffle=True, random_state=42).split(np.arange(12))]
    assert [set(test) for _, test in splits(places, "shuffled")] == expected


def test_blocked_folds_are_neighbours_and_cover_everything_once() -> None:
    """Every fold is a contiguous range of checkpoints; together they cover all points."""
    places = TOKENS[np.random.default_rng(3).permutation(12)]
    ranks = np.argsort(np.argsort(places))
    tests = [test for _, test in splits(places, "blocked", n_folds=5)]
    assert sorted(np.concatenate(tests).tolist()) == [*range(12)]
    assert all(np.ptp(ranks[test]) == len(test) - 1 for test in tests)


def test_forward_folds_never_see_the_future() -> None:
    """Each checkpoint after the first four is predicted from all earlier checkpoints only."""
    places = TOKENS[np.random.default_rng(3).permutation(12)]
    folds = [*splits(places, "forward")]
    assert [len(train) for train, _ in folds] == [*range(4, 12)]
    assert all(places[train].max() < places[test].min() for train, test in folds)


def test_checkpoints_of_several_runs_at_one_place_stay_together() -> None:
    """With blocked and forward folds no checkpoint is predicted from another run's at the same tokens."""
    places = np.tile(np.arange(1.0, 7.0), 2)
    for scheme in ("blocked", "forward"):
        for train, test in splits(places, scheme, n_folds=3):
            assert not set(places[train]) & set(places[test])


@pytest.mark.parametrize("recipe", ["robust", "paper"])
@pytest.mark.parametrize("scheme", ["shuffled", "blocked", "forward"])
def test_errors_are_those_of_separate_fits(scheme: str, recipe: str) -> None:
    """The mean over folds of the mean error equals that of a loop over regressors on the same points."""
    x, y = run()
    validation = cross_validate(x, y, scheme=scheme, order=TOKENS, recipe=recipe)
    errors, r2, by_log = [], [], []
    for train, test in splits(TOKENS, scheme):
        blocks = neighbour_blocks(TOKENS[train])
        fit = ProxyRegressor(recipe=recipe).fit(x[train], y[train], blocks)
        errors.append(np.abs(fit.predict(x[test]) - y[test]).mean())
        r2.append(fit.train_r2_)
        log = ProxyRegressor(recipe=recipe).fit(np.log(TOKENS[train]), y[train], blocks)
        by_log.append(np.abs(log.predict(np.log(TOKENS[test])) - y[test]).mean())
    assert validation.test_mae == pytest.approx(np.mean(errors))
    assert validation.train_r2 == pytest.approx(np.mean(r2))
    assert validation.baselines["log(order)"] == pytest.approx(np.mean(by_log))


def test_last_value_and_mean_by_hand() -> None:
    """Accuracies 10, 20, 40, 50, 60: for the fifth the last value predicts 50 and the mean 30, instead of 60."""
    validation = cross_validate([1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 20.0, 40.0, 50.0, 60.0], scheme="forward")
    assert validation.baselines == {"last value": 10.0, "mean": 30.0}


def test_last_value_of_the_first_block_is_the_earliest_fitted_checkpoint() -> None:
    """The first block has no earlier checkpoint, so the earliest fitted one is used."""
    y = np.array([10.0, 20.0, 40.0, 50.0, 60.0, 70.0])
    validation = cross_validate(np.arange(6.0), y, scheme="blocked", n_folds=3)
    # Folds (10, 20), (40, 50), (60, 70): 40 - 10 and 40 - 20; 40 - 20 and 50 - 20; 60 - 50 and 70 - 50.
    assert validation.baselines["last value"] == pytest.approx(np.mean([25.0, 25.0, 15.0]))


def test_last_value_is_the_runs_own() -> None:
    """With two runs the last value of a checkpoint comes from its own run."""
    order, runs = np.tile(np.arange(1.0, 7.0), 2), np.repeat(["a", "b"], 6)
    y = np.where(runs == "a", 10.0, 60.0) + order
    validation = cross_validate(y + 0.1 * order, y, scheme="forward", order=order, run=runs)
    assert validation.baselines["last value"] == pytest.approx(1.0)


def test_verdict_says_when_the_proxy_does_not_beat_a_baseline() -> None:
    """A proxy of pure noise does not beat the tokens."""
    rng = np.random.default_rng(0)
    y = 20.0 + 15.0 * np.log(np.arange(1, 13)) + 0.3 * rng.normal(size=12)
    verdict = cross_validate(rng.normal(size=12), y, scheme="forward", order=TOKENS, order_name="tokens").verdict()
    assert verdict.startswith("the proxy does not beat log(tokens): ")


def test_verdict_says_when_the_difference_is_within_chance() -> None:
    """A proxy that equals the tokens with little noise is not clearly better than the tokens."""
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(6):
        y = 20.0 + 15.0 * np.log(np.arange(1, 13)) + rng.normal(size=12)
        x = np.log(TOKENS) + 0.001 * rng.normal(size=12)
        verdicts.append(cross_validate(x, y, scheme="shuffled", order=TOKENS).verdict())
    assert sum("beats every baseline" in verdict for verdict in verdicts) <= 2
    assert any("within one standard error" in verdict for verdict in verdicts)


def test_verdict_says_when_the_proxy_is_better() -> None:
    """A proxy that follows an accuracy that rises and falls beats the tokens."""
    rng = np.random.default_rng(2)
    y = 40.0 + 3.0 * np.arange(12) ** 0.5 + 6.0 * rng.normal(size=12)
    verdict = cross_validate(0.01 * y, y, scheme="blocked", order=TOKENS).verdict()
    assert verdict.startswith("the proxy beats every baseline; ")


def test_a_perfect_proxy_of_a_line_errs_little() -> None:
    """On exact points errors vanish under every scheme."""
    x = np.linspace(-0.9, -0.6, 12)
    for scheme in ("shuffled", "blocked", "forward"):
        validation = cross_validate(x, 20.0 + 100.0 * (x + 0.9), scheme=scheme, order=TOKENS)
        assert validation.test_mae < 0.5


def test_a_fold_that_cannot_be_fitted_is_skipped_and_counted() -> None:
    """Accuracies of 0 at the first five checkpoints leave two forward folds without a fit."""
    x = np.linspace(0.0, 1.0, 10)
    y = np.array([0.0] * 5 + [5.0, 9.0, 13.0, 18.0, 24.0])
    validation = cross_validate(x, y, scheme="forward")
    assert len(validation.folds) == 4
    assert len(validation.skipped) == 2
    assert "every accuracy is 0" in validation.skipped[0]
    assert validation.skipped[1].startswith("fold 2, 5 points to fit")


def test_the_same_seed_gives_the_same_folds() -> None:
    """Shuffles repeat under a seed and change with it."""
    x, y = run()
    first, repeated, reseeded = (cross_validate(x, y, scheme="shuffled", seed=seed) for seed in (7, 7, 8))
    assert first.to_dict() == repeated.to_dict()
    assert first.test_mae != reseeded.test_mae


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "random"}, "expected one of shuffled, blocked, forward"),
        ({"order": [1, 2, 3, 4, 5, 5, 7, 8, 9, 10, 11, 12]}, "1 checkpoints occur more than once"),
        ({"order": [1, 2, 3]}, "have shapes"),
        ({"order": [float("nan")] * 12}, "12 of 12 order are missing"),
        ({"scheme": "forward", "min_train": 12}, "needs one more at least"),
        ({"scheme": "blocked", "n_folds": 13}, "12 checkpoints in 13 folds"),
        ({"recipe": "best"}, "expected one of robust, paper"),
        ({"level": 90.0}, "between 0 and 1"),
        ({"scheme": "shuffled", "seed": 2**32}, "seed is 4294967296"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    """The message names what was found and what was expected."""
    with pytest.raises(FitError, match=message):
        cross_validate(*run(), **arguments)


def test_no_checkpoints_are_refused() -> None:
    """Empty arrays are too few points, with an order or without."""
    for order in (None, []):
        with pytest.raises(FitError, match="0 checkpoints in 5 folds"):
            cross_validate([], [], order=order)


@pytest.mark.parametrize(
    ("value", "message"), [(float("nan"), "1 of 12 accuracies are missing"), (140.0, "expected percent")]
)
def test_bad_accuracies_are_refused(value: float, message: str) -> None:
    """Missing values and values that cannot be accuracies are errors."""
    x, y = run()
    y[3] = value
    with pytest.raises(FitError, match=message):
        cross_validate(x, y)
