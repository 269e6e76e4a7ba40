"""Backtests of forecasts on hidden checkpoints, and accuracies forecast through a proxy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from rbridge_metrics import ForecastError, ProxyRegressor, fit_power_law
from rbridge_metrics.forecast import accuracy_through_proxy, backtest

T = np.arange(1.0, 21.0)


def test_baselines_match_their_names() -> None:
    """Last value is the last value shown; linear in log tokens is NumPy's straight line through the values shown."""
    y = 3 - T**-0.5 + np.random.default_rng(0).normal(0, 0.01, T.size)
    report = backtest(T, y, until=8)
    assert report.shown == 8
    assert report.tokens.tolist() == T[8:].tolist()
    line = np.polyval(np.polyfit(np.log(T[:8]), y[:8], 1), np.log(T[8:]))
    assert report.forecast["linear_in_log_tokens"] == pytest.approx(line)
    assert report.forecast["last_value"] == pytest.approx(y[7])
    assert report.mean_absolute_error["last_value"] == pytest.approx(np.abs(y[8:] - y[7]).mean())


def test_nothing_hidden_is_used() -> None:
    """Changing the hidden checkpoints changes no forecast."""
    y = 3 - T**-0.5 + np.random.default_rng(0).normal(0, 0.01, T.size)
    changed = np.where(T > 8, 9.0, y)
    first, second = backtest(T, y, until=8), backtest(T, changed, until=8)
    for name, forecast in first.forecast.items():
        assert np.array_equal(forecast, second.forecast[name])
    assert np.array_equal(first.interval.low, second.interval.low)


def test_the_curve_beats_the_baselines_on_a_run_that_levels_off() -> None:
    """On a power law it beats both baselines; on a straight line in log tokens it cannot beat that line."""
    assert backtest(T, 3 - T**-0.8, until=10).beats_baselines
    assert not backtest(T, 3 + 0.2 * np.log(T), until=10).beats_baselines


def test_coverage_counts_hidden_checkpoints() -> None:
    """Moving half of the hidden checkpoints outside the interval halves the coverage."""
    y = 3 - T**-0.8 + np.random.default_rng(1).normal(0, 0.001, T.size)
    assert backtest(T, y, until=10, level=0.99).coverage == 1.0
    assert backtest(T, y + 5.0 * (T > 15), until=10, level=0.99).coverage == 0.5


def test_a_backtest_needs_something_hidden() -> None:
    """A backtest that ends at the last checkpoint has nothing to test on."""
    with pytest.raises(ForecastError, match="no checkpoint after 20 tokens"):
        backtest(T, 3 - T**-0.8, until=20)
    with pytest.raises(ForecastError, match="to test a forecast on"):
        backtest([], [], until=20)


def test_a_hidden_checkpoint_without_a_value_is_refused() -> None:
    """It would make every error of the backtest NaN."""
    values = 3 - T**-0.8
    values[-1] = np.nan
    with pytest.raises(ForecastError, match="value nan"):
        backtest(T, values, until=float(T[-3]))


@pytest.mark.parametrize("level", [-0.5, 0.0, 1.0])
def test_an_impossible_level_through_the_proxy_is_refused(level: float) -> None:
    """Half of the error goes to each step; half of an error of 1.5 is 0.75, which is a level of its own."""
    with pytest.raises(ForecastError, match=f"level {level:g}"):
        accuracy_through_proxy(fit_power_law(T, 3 - T**-0.8), Logistic(), [30.0], level=level)


class Logistic:
    """Accuracy known without error: a falling logistic curve of the score, in percent."""

    def predict(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        curve: npt.NDArray[np.float64] = 100 / (1 + np.exp(20 * (np.asarray(scores) - 1.0)))
        return curve

    def predict_interval(
        self,
        scores: npt.ArrayLike,
        level: float,  # noqa: ARG002  # nothing is uncertain here
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return self.predict(scores), self.predict(scores)


def test_an_accuracy_through_the_proxy_is_the_curve_of_its_forecast() -> None:
    """With a curve known without error, the accuracy's interval is the curve of the proxy's interval."""
    t = np.geomspace(1e9, 1e12, 12)
    law = fit_power_law(t, 0.9 + 60 * t**-0.25 + np.random.default_rng(0).normal(0, 0.004, 12))
    value, (low, high) = accuracy_through_proxy(law, Logistic(), [4e12], level=0.9)
    worst, best = law.interval(np.array([4e12]), level=0.95)[::-1]
    assert value == pytest.approx(Logistic().predict(law.predict([4e12])))
    assert (low, high) == (pytest.approx(Logistic().predict(worst)), pytest.approx(Logistic().predict(best)))


def test_an_interval_through_the_proxy_covers_the_error_of_both_steps() -> None:
    """Over 60 simulated runs, 80 % intervals hold the target's accuracy at least 80 % of the time."""
    t, covered = np.geomspace(1e10, 1e12, 14), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        score = 0.9 + 60 * np.append(t, 3e12) ** -0.25 + rng.normal(0, 0.003, 15)
        accuracy = Logistic().predict(score) + rng.normal(0, 1.0, 15)
        fit = ProxyRegressor().fit(score[:14], accuracy[:14])
        _, (low, high) = accuracy_through_proxy(fit_power_law(t, score[:14]), fit, [3e12], level=0.8)
        covered.append(low[0] <= accuracy[14] <= high[0])
    assert np.mean(covered) >= 0.8
