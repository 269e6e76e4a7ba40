"""Noise of simulated runs is estimated correctly, and so is the noise of averages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics.noise import (
    NoiseError,
    TrainingNoise,
    implied_decision_accuracy,
    probability_of_chance,
    training_noise,
)


def runs(count: int, length: int, *, noise: float, correlation: float, slopes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Straight runs with AR(1) noise, shape (count, length)."""
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(count, length))
    for at in range(1, length):
        errors[:, at] = correlation * errors[:, at - 1] + np.sqrt(1 - correlation**2) * errors[:, at]
    return 1.0 + slopes[:, None] * np.arange(length) + noise * errors


def test_noise_by_hand() -> None:
    """0 1 0 1 0: sum of squares 1.2 about the mean; s^2 - 2 for s = -2..2 explains (-2)^2 / 14; 2 degrees are left."""
    result = training_noise([[0.0, 1.0, 0.0, 1.0, 0.0]])
    assert result.noise == pytest.approx(np.sqrt((1.2 - 4 / 14) / 2))
    assert (result.freedom, result.runs, result.checkpoints) == (2, 1, 5)


def test_a_trend_is_no_noise() -> None:
    """A straight run has no noise; its slope is the trend, and equal runs have equal slopes."""
    result = training_noise([[1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 6.0, 8.0, 10.0]])
    assert result.noise == pytest.approx(0.0, abs=1e-12)
    assert result.lag == pytest.approx([0.0, 1.0, 4.0, 9.0, 16.0])
    assert result.lag_spread == pytest.approx([0.0] * 5, abs=1e-12)
    assert result.best_average(shared_trend=False) == 1


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_noise_of_many_runs_is_recovered(correlation: float) -> None:
    """400 runs of 40: relative standard error of the noise 1 / sqrt(2 * 15,200) = 0.6 %; twice that for AR(1) at 0.5.

    A parabola through 40 points takes up noise of correlation r like (1 + r) / (1 - r) independent points: 3 * 2 / 37
    of the variance more at 0.5, 8 % of the noise.
    """
    made = runs(400, 40, noise=0.3, correlation=correlation, slopes=np.random.default_rng(1).normal(0.02, 0.05, 400))
    result = training_noise(list(made), last=40)
    assert result.noise == pytest.approx(0.3, rel=0.09)
    assert result.autocorrelation == pytest.approx(correlation, abs=0.08)
    assert result.lag_spread[20] == pytest.approx((10 * 0.05) ** 2, rel=0.2)


@pytest.mark.parametrize("curve", ["tokens", "logarithm"])
def test_a_curve_through_unequally_spaced_checkpoints_is_no_noise(curve: str) -> None:
    """A run with dense checkpoints at its end, and a run whose tokens grow by factors.

    300 runs with 7 - 3 degrees of freedom each: the standard error of the noise is 1 / sqrt(2 * 1,200) = 2 % of it, and
    four of these are allowed. If the checkpoints were equally spaced, the curve would add to the noise.
    """
    if curve == "tokens":
        tokens = np.array([2.0, 4.0, 4.8, 5.1, 5.4, 5.7, 6.0])
        trend = 3.0 - 1.2 * tokens + 0.15 * tokens**2
    else:
        tokens = np.array([1.0, 2.0, 4.0, 10.0, 20.0, 50.0, 100.0])
        trend = 3.0 - 0.6 * np.log(tokens) + 0.05 * np.log(tokens) ** 2
    made = list(trend + 0.02 * np.random.default_rng(2).normal(size=(300, 7)))
    assert training_noise(made, [tokens] * 300).noise == pytest.approx(0.02, rel=0.08)
    assert training_noise(made).noise > 0.025


def test_the_unit_of_tokens_does_not_matter() -> None:
    """Tokens, billions of tokens, and no tokens give the same noise of equally spaced checkpoints.

    Scores of up to 3 and noise of 0.3 in float64: sums of 12 terms are off by 12 * 10 eps = 3e-14.
    """
    made = list(runs(5, 12, noise=0.3, correlation=0.0, slopes=np.full(5, 0.1)))
    steps = [np.arange(1, 13)] * 5
    results = [training_noise(made, tokens) for tokens in (None, steps, [1e9 * places for places in steps])]
    assert [result.noise for result in results[1:]] == pytest.approx([results[0].noise] * 2, rel=1e-12)


@given(st.integers(1, 12), st.floats(0.0, 0.95))
def test_noise_of_a_mean_is_that_of_its_covariance(count: int, correlation: float) -> None:
    """The variance is the mean of all entries of the covariance matrix."""
    noise = TrainingNoise(2.0, correlation, (0.0,), (0.0,), 8, 1)
    places = np.arange(count)
    covariance = 4.0 * correlation ** np.abs(places[:, None] - places).astype(float)
    assert noise.of_mean(count) ** 2 == pytest.approx(covariance.mean())


def test_the_implied_decision_accuracy_is_that_of_drawn_candidates() -> None:
    """200,000 pairs: Monte Carlo error 0.001."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.8, (200_000, 2))
    shown = truth + rng.normal(0, 0.6, truth.shape)
    right = (np.sign(np.diff(truth)) == np.sign(np.diff(shown))).mean()
    assert implied_decision_accuracy(0.8, 0.6) == pytest.approx(right, abs=0.004)


def test_chance_is_that_of_drawn_noise() -> None:
    """The share of draws of noise alone, with an estimated noise, that spread as far: 50,000 draws."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(50_000, 6)).std(axis=1, ddof=1)
    noise = np.sqrt(rng.chisquare(20, 50_000) / 20)
    assert probability_of_chance(1.5, 1.0, 6, 20) == pytest.approx((spread / noise >= 1.5).mean(), abs=0.01)


@pytest.mark.parametrize(
    ("score", "tokens"),
    [
        (np.nan, [1.0, 2.0, 3.0, 4.0, 5.0]),
        (np.inf, [1.0, 2.0, 3.0, 4.0, 5.0]),
        (0.0, [1.0, 2.0, 2.0, 4.0, 5.0]),
        (0.0, [0.0, 2.0, 3.0, 4.0, 5.0]),
        (0.0, [5.0, 4.0, 3.0, 2.0, 1.0]),
        (0.0, [1.0, 2.0, 3.0, 4.0, np.inf]),
        (0.0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    ],
)
def test_scores_and_tokens_that_give_no_trend_are_refused(score: float, tokens: list[float]) -> None:
    """Scores must be finite; tokens must be positive and ascending, one for each score."""
    with pytest.raises(NoiseError, match="run 1 needs finite scores"):
        training_noise([[0.0, 1.0, 0.0, 1.0, 0.0], [1.0, score, 1.0, 0.0, 1.0]], [[1.0, 2.0, 3.0, 4.0, 5.0], tokens])


def test_arrays_of_runs_are_taken() -> None:
    """Two-dimensional arrays give what lists give."""
    values, tokens = np.array([[0.0, 1.0, 0.0, 1.0, 0.0]]), np.array([[1.0, 2.0, 4.0, 8.0, 16.0]])
    assert training_noise(values, tokens) == training_noise(values.tolist(), tokens.tolist())


@pytest.mark.parametrize(
    ("values", "last", "message"), [([[1.0, 2.0, 3.0]], 10, "longest has 3"), ([[1.0] * 9], 4, "at least 5")]
)
def test_too_few_checkpoints_are_refused(values: list[list[float]], last: int, message: str) -> None:
    """The message says how many checkpoints there are."""
    with pytest.raises(NoiseError, match=message):
        training_noise(values, last=last)
