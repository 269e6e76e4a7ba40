"""Power laws of training: known parameters, coverage of intervals, and independence of units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, curve_fit
from scipy.stats import t as student_t

from rbridge_metrics import ForecastError, PowerLaw, fit_power_law

from .strategies import cases

Array = npt.NDArray[np.float64]
STEPS = np.arange(1.0, 16.0)


@given(st.floats(-5, 5), st.floats(0.05, 3), st.sampled_from([-1.0, 1.0]), st.floats(0.05, 2.0))
@cases(60)
def test_parameters_are_recovered_without_noise(a: float, size: float, sign: float, c: float) -> None:
    """Rising or falling, any limit and exponent: a, b and c come back, and later values with them."""
    law = fit_power_law(STEPS, a - sign * size * STEPS**-c)
    assert (law.a, law.b, law.c) == pytest.approx((a, sign * size, c), rel=1e-3, abs=1e-3 * (1 + size / c))
    assert law.predict(100.0) == pytest.approx(a - sign * size * 100**-c, abs=1e-4 * size)


def test_least_squares_equals_scipy() -> None:
    """With noise the fit is that of SciPy's optimiser from a good start."""
    y = 0.6 - 0.4 * STEPS**-0.5 + np.random.default_rng(0).normal(0, 0.004, STEPS.size)
    expected, _ = curve_fit(lambda t, a, b, c: a - b * t**-c, STEPS, y, p0=[0.6, 0.4, 0.5])
    law = fit_power_law(STEPS, y)
    assert (law.a, law.b, law.c) == pytest.approx(expected, rel=1e-3)


@given(st.floats(1e-3, 1e12), st.floats(0.01, 100), st.floats(-10, 10))
@cases(40)
def test_units_do_not_matter(tokens: float, scale: float, shift: float) -> None:
    """Tokens, billions of tokens or steps; fractions or percent: the forecast is the same in the new unit."""
    y = 2 + STEPS**-0.4 + np.random.default_rng(1).normal(0, 0.01, STEPS.size)
    plain, scaled = fit_power_law(STEPS, y), fit_power_law(tokens * STEPS, scale * y + shift)
    tolerance = 1e-5 * scale
    assert scaled.predict(40 * tokens) == pytest.approx(scale * plain.predict(40) + shift, abs=tolerance)
    for scaled_bound, bound in zip(scaled.interval(40 * tokens), plain.interval(40), strict=True):
        assert scaled_bound == pytest.approx(scale * bound + shift, abs=10 * tolerance)


def test_order_of_checkpoints_does_not_matter() -> None:
    """A table sorted by name gives the same fit as the table sorted by tokens."""
    y = 2 + STEPS**-0.4 + np.random.default_rng(1).normal(0, 0.01, STEPS.size)
    order = np.random.default_rng(2).permutation(STEPS.size)
    assert fit_power_law(STEPS[order], y[order]).c == fit_power_law(STEPS, y).c


def test_a_spike_moves_the_robust_fit_less() -> None:
    """One checkpoint far off the curve: the robust loss gives it little weight and forecasts better."""
    y = 2 + STEPS**-0.4 + np.random.default_rng(3).normal(0, 0.002, STEPS.size)
    y[9] += 0.3
    plain, robust = fit_power_law(STEPS, y), fit_power_law(STEPS, y, loss="huber")
    truth = 2 + 60**-0.4
    assert robust.weights[9] < 0.1 < plain.weights[9]
    assert abs(robust.predict(60.0) - truth) < abs(plain.predict(60.0) - truth) / 3


def naive_quantile(law: PowerLaw, later: float, probability: float) -> float:
    """The predictive distribution component by component, with inverses of matrices and SciPy's own distributions."""
    t, y, n = law.tokens, law.values, law.tokens.size
    reference = np.exp(np.mean(np.log(t)))
    place = n - 1 + (later - t[-1]) / (t[-1] - t[-2])
    components = []
    for c in [*np.geomspace(0.01, 3.0, 61), law.c]:
        basis = (1 - (t / reference) ** -c) / c
        z, z_new = ((b - basis.mean()) / basis.std() for b in (basis, (1 - (later / reference) ** -c) / c))
        design, row = np.stack([np.ones(n), z], axis=1), np.array([1.0, z_new])
        for r in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9):
            covariance = np.array([[r ** abs(i - j) if r else float(i == j) for j in range(n)] for i in range(n)])
            covariance /= np.sqrt(law.weights[:, None] * law.weights)
            with_new = np.array([r ** abs(place - i) if r else 0.0 for i in range(n)]) / np.sqrt(law.weights)
            inverse = np.linalg.inv(covariance)
            normal = design.T @ inverse @ design
            beta = np.linalg.solve(normal, design.T @ inverse @ y)
            residual = y - design @ beta
            squares = residual @ inverse @ residual
            gap = row - with_new @ inverse @ design
            variance = 1 - with_new @ inverse @ with_new + gap @ np.linalg.solve(normal, gap)
            log_weight = (
                math.log(1 - r) - (n - 2) / 2 * math.log(squares)
                - np.linalg.slogdet(normal)[1] / 2 - np.linalg.slogdet(covariance)[1] / 2
            )  # fmt: skip
            centre = row @ beta + with_new @ inverse @ residual
            components.append((log_weight, centre, math.sqrt(variance * squares / (n - 2))))
    log_weights, centres, scales = np.array(components).T
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    reach = 100 * scales.max()

    def below(value: float) -> float:
        return float(weights @ student_t.cdf((value - centres) / scales, n - 2)) - probability

    return float(brentq(below, centres.min() - reach, centres.max() + reach, xtol=1e-10))


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_intervals_equal_the_naive_distribution(loss: Any) -> None:
    """The closed forms for all exponents at once give the quantiles of the mixture built one component at a time."""
    y = 2 + STEPS**-0.4 + np.random.default_rng(8).normal(0, 0.01, STEPS.size)
    law = fit_power_law(STEPS, y, loss=loss)
    low, high = law.interval([18.0, 40.0], level=0.8)
    for at, later in enumerate((18.0, 40.0)):
        assert low[at] == pytest.approx(naive_quantile(law, later, 0.1), abs=1e-6)
        assert high[at] == pytest.approx(naive_quantile(law, later, 0.9), abs=1e-6)


def noise(correlation: float, size: int, rng: np.random.Generator) -> Array:
    """Unit normal deviations, each correlated with the previous one."""
    values = rng.normal(size=size)
    for at in range(1, size):
        values[at] = correlation * values[at - 1] + math.sqrt(1 - correlation**2) * values[at]
    return values


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_intervals_have_their_nominal_coverage(correlation: float) -> None:
    """Over 200 simulated runs, half of each hidden: 90 % intervals hold 85 to 95 % of the later values.

    Also where errors of neighbouring checkpoints are correlated.
    """
    t, covered = np.arange(1.0, 21.0), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = 3 + t ** -rng.uniform(0.1, 1.0) + 0.02 * noise(correlation, t.size, rng)
        low, high = fit_power_law(t[:10], y[:10]).interval(t[[10, 14, 19]], level=0.9)
        covered.append((low <= y[[10, 14, 19]]) & (y[[10, 14, 19]] <= high))
    assert 0.85 <= np.mean(covered) <= 0.95


def test_intervals_widen_with_the_distance_and_the_level() -> None:
    """A larger distance and a higher level give wider intervals; the forecast lies inside."""
    y = 2 + STEPS**-0.4 + np.random.default_rng(4).normal(0, 0.01, STEPS.size)
    law = fit_power_law(STEPS, y)
    later = np.array([16.0, 30.0, 100.0, 1000.0])
    low, high = law.interval(later, level=0.8)
    assert np.all(np.diff(high - low) > 0)
    assert np.all((low <= law.predict(later)) & (law.predict(later) <= high))
    lower, higher = law.interval(later, level=0.95)
    assert np.all((lower < low) & (high < higher))


@given(st.integers(0, 10**6))
@cases(20)
def test_a_forecast_accuracy_stays_in_its_bounds(seed: int) -> None:
    """Neither forecast nor interval leaves the bounds, however noisy the run and however far the forecast."""
    rng = np.random.default_rng(seed)
    law = fit_power_law(STEPS[:6], rng.uniform(0, 1, 6), bounds=(0.0, 1.0))
    later = np.array([7.0, 1e3, 1e9])
    values = np.concatenate([law.predict(later), *law.interval(later)])
    assert np.all((values >= 0) & (values <= 1))


def test_a_straight_line_in_log_tokens_is_at_the_limit() -> None:
    """Where the run does not level off the exponent is at its limit, and the law is marked."""
    law = fit_power_law(STEPS, 1 + 0.1 * np.log(STEPS))
    assert law.at_limit
    assert law.predict(30.0) == pytest.approx(1 + 0.1 * math.log(30), abs=0.002)
    assert not fit_power_law(STEPS, 1 - STEPS**-0.5).at_limit


@pytest.mark.parametrize(
    ("tokens", "values", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "3 checkpoints; .* needs at least 4"),
        ([1, 2, 3, 4], [1, 2, 3], "4 times but 3 values"),
        ([0, 1, 2, 3], [1, 2, 3, 4], "a checkpoint at 0 tokens"),
        ([1, 2, 2, 3], [1, 2, 3, 4], "two checkpoints at 2 tokens"),
        ([1, 2, 3, 4], [1, math.nan, 3, 4], "value nan"),
        ([1, 2, 3, 4], [1e300, 2e300, 3e300, 5e300], "5e.300"),
        ([1, 2, 3, 4], [0.5, 0.5, 0.5, 0.5], "0.5 at all 4 checkpoints"),
        ([1, 2, 3, 4], [0.5, 0.6, 0.7, 40.0], r"value 40 outside \[0, 1\]"),
    ],
)
def test_runs_without_a_forecast_are_refused(tokens: list[float], values: list[float], message: str) -> None:
    """A run that is too short, damaged or flat is an error that says why, never a number."""
    with pytest.raises(ForecastError, match=message):
        fit_power_law(tokens, values, bounds=(0, 1) if 40.0 in values else (-np.inf, np.inf))


def test_impossible_forecasts_are_refused() -> None:
    """A value at 0 tokens, and a level of 90 instead of 0.9."""
    law: PowerLaw = fit_power_law(STEPS, 1 - STEPS**-0.5)
    with pytest.raises(ForecastError, match="at 0 tokens"):
        law.predict(0.0)
    with pytest.raises(ForecastError, match="level 90"):
        law.interval(20.0, level=90)
