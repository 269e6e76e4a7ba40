"""Many scores of the same candidates: resampled agreement against a loop, and which scores differ significantly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import BootstrapError
from rbridge_metrics.paired_comparison import (
    compare_with_best,
    drawn_counts,
    resampled_agreement,
    resampled_weighted_means,
)
from rbridge_metrics.ranking import agreement

from .strategies import cases


@given(st.integers(5, 9), st.integers(0, 1000))
@cases(40)
def test_counts_give_the_agreement_of_repeated_candidates(candidates: int, seed: int) -> None:
    """With ties on both sides."""
    rng = np.random.default_rng(seed)
    scores, target = rng.integers(0, 4, (3, candidates)), rng.integers(0, 4, candidates)
    counts = drawn_counts(candidates, resamples=5, seed=seed)
    resampled = resampled_agreement(scores, target, counts)
    for draw, count in enumerate(counts.astype(int)):
        at = np.repeat(np.arange(candidates), count)
        with np.errstate(invalid="ignore"):
            expected = agreement(scores[:, at], target[at], lower_is_better=False)
        for values, reference in zip(resampled, expected, strict=True):
            np.testing.assert_allclose(values[:, draw], reference, atol=1e-12)


def test_blocks_are_neighbours() -> None:
    """Every draw has as many units as the data; with blocks of 3 of 9 they come in threes."""
    counts = drawn_counts(9, resamples=200, block=3)
    assert (counts.sum(axis=1) == 9).all()
    assert np.abs(counts.mean(axis=0) - 1).max() < 0.25
    for count in counts:
        alone = (count > 0) & (np.roll(count, 1) == 0) & (np.roll(count, -1) == 0)
        assert not alone.any()
    assert (drawn_counts(10, resamples=50, block=3).sum(axis=1) == 10).all()


def test_weighted_means_by_hand() -> None:
    """Errors 1, 2, 4 with weights 1, 1, 2; the second candidate drawn twice, the first not at all."""
    means = resampled_weighted_means([[1.0, 2.0, 4.0]], [1, 1, 2], [[1, 1, 1], [0, 2, 1]])
    np.testing.assert_allclose(means, [[11 / 4, 12 / 4]])


def test_a_clear_winner_differs_from_the_rest_and_not_from_its_copy() -> None:
    """A copy of the best score is always alike; a score of noise is not."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=30)
    scores = np.stack([target + 0.1 * rng.normal(size=30), target + 0.1 * rng.normal(size=30), rng.normal(size=30)])
    scores = np.vstack([scores, scores[0]])
    counts = drawn_counts(30, resamples=500)
    observed = agreement(scores, target, lower_is_better=False).decision_accuracy
    comparison = compare_with_best(observed, resampled_agreement(scores, target, counts).decision_accuracy)
    assert comparison.best == int(observed.argmax())
    assert comparison.alike[[0, 1, 3]].all()
    assert not comparison.alike[2]


def test_a_baseline_may_be_better_than_the_best() -> None:
    """The baseline is marked as ahead, and is never the best itself."""
    rng = np.random.default_rng(1)
    target = rng.normal(size=40)
    scores = np.stack([target + 3 * rng.normal(size=40), target + 0.01 * rng.normal(size=40)])
    counts = drawn_counts(40, resamples=500)
    observed = agreement(scores, target, lower_is_better=False).spearman
    resampled = resampled_agreement(scores, target, counts).spearman
    comparison = compare_with_best(observed, resampled, may_be_best=[True, False])
    assert comparison.best == 0
    assert comparison.ahead.tolist() == [False, True]


def test_equally_good_metrics_rarely_differ() -> None:
    """Twelve scores of equal quality, 15 candidates: at level 0.9 at most one comparison in ten has any difference."""
    differences, trials = 0, 60
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        target = rng.normal(size=15)
        scores = target + rng.normal(size=(12, 15))
        counts = drawn_counts(15, resamples=300, seed=seed)
        observed = agreement(scores, target, lower_is_better=False).spearman
        comparison = compare_with_best(observed, resampled_agreement(scores, target, counts).spearman)
        differences += not comparison.alike.all()
    assert differences <= 13  # 6 expected at most; 14 or more with probability 0.003


def test_missing_values_are_neither_best_nor_alike() -> None:
    """They do not change the comparison of the other scores."""
    values = [0.5, np.nan, 0.4]
    resampled = np.random.default_rng(0).normal(size=(3, 50))
    resampled[1] = np.nan
    comparison = compare_with_best(values, resampled)
    assert (comparison.best, comparison.alike.tolist()) == (0, [True, False, True])


def test_bad_input_is_an_error() -> None:
    """Few candidates, shapes that do not fit, nothing that may be best."""
    with pytest.raises(BootstrapError, match="4 candidates"):
        drawn_counts(4)
    with pytest.raises(BootstrapError, match="a block of 8 of 9"):
        drawn_counts(9, block=8)
    with pytest.raises(BootstrapError, match="a column a candidate"):
        resampled_agreement([[1.0, 2.0]], [1.0, 2.0, 3.0], [[1, 1]])
    with pytest.raises(BootstrapError, match="may be the best"):
        compare_with_best([1.0], [[1.0]], may_be_best=[False])
    with pytest.raises(BootstrapError, match="do not fit"):
        compare_with_best([1.0, 2.0], [[1.0]])
