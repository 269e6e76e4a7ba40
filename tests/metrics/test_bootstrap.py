"""The bootstrap over items: a naive reference, pairing, ties, and values known in closed form."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from rbridge_metrics import BootstrapError, bits_per_byte, bits_per_byte_stderr
from rbridge_metrics.bootstrap import drawn_scores, percentile_interval, rank_summary, resampled_means, resampled_ratios

from .strategies import cases

Array = npt.NDArray[np.float64]


def naive_means(items: Array, resamples: int, seed: int) -> list[list[float]]:
    """One resample and one candidate at a time. All draws fit into one chunk, so they are the same draws."""
    drawn = np.random.default_rng(seed).integers(0, items.shape[1], size=(resamples, items.shape[1]), dtype=np.int32)
    return [[sum(row[at] for at in draw) / len(draw) for row in items.tolist()] for draw in drawn.tolist()]


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
@cases(60)
def test_equals_the_naive_bootstrap(candidates: int, items: int, resamples: int, seed: int) -> None:
    """Counting draws and multiplying matrices gives the means of the items drawn, to rounding."""
    table = np.random.default_rng(seed + 1).normal(size=(candidates, items))
    means = resampled_means(table, resamples=resamples, seed=seed)
    assert means == pytest.approx(np.array(naive_means(table, resamples, seed)), abs=1e-12)


def test_chunks_do_not_change_resamples() -> None:
    """With so many items that draws come in several chunks, every resample still draws from all items."""
    items = 40_000
    sums = resampled_means(np.stack([np.ones(items), np.arange(items)]), resamples=40, seed=3)
    assert np.all(sums[:, 0] == 1.0)
    assert np.abs(sums[:, 1] - (items - 1) / 2).max() < 5 * items / math.sqrt(12 * items)
    assert np.unique(sums[:, 1]).size == 40


def test_spread_is_the_standard_error() -> None:
    """The standard deviation of resampled means is that of the items divided by the square root of their number."""
    items = np.random.default_rng(0).gamma(2.0, 1.0, (1, 500))
    spread = resampled_means(items, resamples=20_000, seed=1).std()
    assert spread == pytest.approx(items.std() / math.sqrt(500), rel=0.02)


def test_pairing_cancels_what_items_share() -> None:
    """Item difficulty, which all candidates share, hides a small difference unpaired and cancels paired."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1, 300)
    items = np.stack([difficulty + 0.02 + rng.normal(0, 0.02, 300), difficulty + rng.normal(0, 0.02, 300)])
    scores = items.mean(axis=1)
    paired = rank_summary(scores, resampled_means(items), lower_is_better=True)
    stderr = items.std(axis=1, ddof=1) / math.sqrt(300)
    unpaired = rank_summary(scores, drawn_scores(scores, stderr), lower_is_better=True)
    assert paired.order.tolist() == unpaired.order.tolist() == [1, 0]
    assert paired.ordered_right[0] > 0.999
    assert unpaired.ordered_right[0] < 0.7


def test_probability_of_an_order_is_the_normal_one() -> None:
    """Two candidates two standard errors of their difference apart: the better one wins with probability Phi(2)."""
    drawn = drawn_scores([0.0, 2.0], [1.0, 0.0], resamples=100_000, seed=5)
    summary = rank_summary([0.0, 2.0], drawn, lower_is_better=True)
    assert summary.ordered_right[0] == pytest.approx(norm.cdf(2), abs=0.002)


def test_identical_candidates_are_tied_everywhere() -> None:
    """Equal item scores give equal ranks in every resample and a probability of 0.5; position does not matter."""
    items = np.random.default_rng(0).normal(size=(1, 57)).repeat(3, axis=0)
    summary = rank_summary(items.mean(axis=1), resampled_means(items, resamples=500), lower_is_better=False)
    assert summary.rank.tolist() == [2.0, 2.0, 2.0]
    assert summary.ordered_right.tolist() == [0.5, 0.5]
    assert summary.rank_interval.low.tolist() == summary.rank_interval.high.tolist() == [2.0, 2.0, 2.0]


def test_rank_intervals_have_their_nominal_coverage() -> None:
    """Over 200 simulated populations with known ranks, 80 % intervals hold the true rank at least 80 % of the time."""
    rng, covered = np.random.default_rng(1), []
    truth = np.arange(6) * 0.1
    for world in range(200):
        items = truth[:, None] + rng.normal(0, 1, (6, 100))
        summary = rank_summary(
            items.mean(axis=1), resampled_means(items, resamples=400, seed=world), lower_is_better=True, level=0.8
        )
        covered += [low <= at + 1 <= high for at, low, high in zip(summary.order, *summary.rank_interval, strict=True)]
    assert np.mean(covered) > 0.8


def test_ratios_are_corpus_level_bits_per_byte() -> None:
    """A ratio of sums, not a mean of ratios: its mean and spread are the score and standard error of lm-eval."""
    rng = np.random.default_rng(2)
    n_bytes = rng.integers(50, 2000, (1, 400)).astype(float)
    nats = n_bytes * rng.gamma(4.0, 0.2, (1, 400))
    ratios = resampled_ratios(nats / math.log(2), n_bytes, resamples=20_000, seed=1)[:, 0]
    assert ratios.mean() == pytest.approx(bits_per_byte(nats[0], n_bytes[0]), rel=2e-3)
    assert ratios.std() == pytest.approx(bits_per_byte_stderr(nats[0], n_bytes[0]), rel=0.03)


def test_a_seed_gives_one_result() -> None:
    """The same seed gives the same numbers; another seed gives different numbers."""
    items = np.random.default_rng(0).normal(size=(3, 20))
    first, repeated, reseeded = (resampled_means(items, resamples=9, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first, repeated)
    assert not np.array_equal(first, reseeded)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resampled_means([1.0, 2.0]), "a row a candidate and a column an item"),
        (lambda: resampled_means(np.empty((2, 0))), "a row a candidate and a column an item"),
        (lambda: resampled_means([[1.0, math.nan]]), "nan of candidate 0, item 1"),
        (lambda: resampled_means([[1.0]], resamples=0), "0 resamples"),
        (lambda: resampled_ratios([[1.0, 2.0]], [[1.0, 0.0]]), "denominator of 0"),
        (lambda: resampled_ratios([[1.0, 2.0]], [[1.0]]), "one of each"),
        (lambda: drawn_scores([1.0, 2.0], [0.1]), "2 values but 1 standard errors"),
        (lambda: drawn_scores([1.0], [math.nan]), "missing or below 0"),
        (lambda: percentile_interval([1.0], level=90), "level 90"),
        (lambda: percentile_interval([]), "0 resamples"),
        (lambda: rank_summary([1.0, 2.0], [[1.0]], lower_is_better=True), "a column a candidate"),
    ],
)
def test_what_cannot_be_resampled_is_refused(call: object, message: str) -> None:
    """Missing scores and wrong shapes are errors, never numbers."""
    with pytest.raises(BootstrapError, match=message):
        call()  # type: ignore[operator]
