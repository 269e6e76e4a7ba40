"""The gate against a run's own forecast: false alarm rate, power, and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rbridge_metrics import ForecastError, PowerLaw, fit_power_law
from rbridge_metrics.forecast_gate import detectable_forecast_change, forecast_change
from rbridge_metrics.gate import paired_change

ALPHA, POWER = 0.05, 0.8


def past(rng: np.random.Generator, checkpoints: int = 13, noise: float = 0.004) -> tuple[PowerLaw, float, float]:
    """A law fitted to a simulated run without its last checkpoint, and the tokens and score of that checkpoint."""
    tokens = 250e9 * np.arange(1, checkpoints + 1)
    nll = 0.6 + 0.5 * np.arange(1, checkpoints + 1) ** -rng.uniform(0.1, 0.8) + noise * rng.normal(size=checkpoints)
    return fit_power_law(tokens[:-1], nll[:-1], bounds=(0, np.inf)), float(tokens[-1]), float(nll[-1])


def test_the_false_alarm_rate_is_alpha() -> None:
    """Of 1,000 runs without regression 5 % raise an alarm, within one point and a standard error of the count."""
    runs = (past(np.random.default_rng((seed, 1))) for seed in range(1000))
    p = [1 - law.probability_below(tokens, score) for law, tokens, score in runs]
    assert abs((np.array(p) <= ALPHA).mean() - ALPHA) <= 0.01 + 0.007


@pytest.mark.slow
def test_a_planted_regression_is_found_with_the_power_that_is_stated() -> None:
    """A regression of the size that is detectable with power 80 % raises an alarm in about 80 % of 250 runs."""
    p = []
    for seed in range(250):
        law, tokens, score = past(np.random.default_rng(seed))
        size = detectable_forecast_change(law, tokens, lower_is_better=True, alpha=ALPHA, power=POWER)
        p.append(1 - law.probability_below(tokens, score + size))
    assert abs((np.array(p) <= ALPHA).mean() - POWER) <= 0.06


def test_an_nll_and_its_negative_give_the_same_result() -> None:
    """The mirror image with the opposite direction has the same changes and probabilities."""
    law, tokens, score = past(np.random.default_rng(0))
    mirrored = fit_power_law(law.tokens, -law.values)
    change = forecast_change(law, tokens, score, lower_is_better=True, tolerated=0.01)
    mirrored_change = forecast_change(mirrored, tokens, -score, lower_is_better=False, tolerated=0.01)
    for name in ("change", "low", "high", "p_value"):
        assert getattr(change, name) == pytest.approx(getattr(mirrored_change, name), rel=1e-6, abs=1e-9)
    sizes = [
        detectable_forecast_change(fitted, tokens, lower_is_better=lower, alpha=ALPHA, power=POWER)
        for fitted, lower in ((law, True), (mirrored, False))
    ]
    assert sizes[0] == pytest.approx(sizes[1])


def test_the_interval_and_the_p_value_agree() -> None:
    """At the upper end of a 90 % prediction interval p = 0.05; a tolerance shifts that score by its size."""
    law, tokens, score = past(np.random.default_rng(1))
    p_value = forecast_change(law, tokens, score, lower_is_better=True).p_value
    assert p_value == 1 - law.probability_below(tokens, score)
    low, high = (float(end) for end in law.interval(tokens, level=0.9))
    assert forecast_change(law, tokens, high, lower_is_better=True).p_value == pytest.approx(0.05, abs=1e-6)
    assert forecast_change(law, tokens, low, lower_is_better=False).p_value == pytest.approx(0.05, abs=1e-6)
    moved = high + 0.01 * float(law.predict(tokens))
    assert forecast_change(law, tokens, moved, lower_is_better=True, tolerated=0.01).p_value == pytest.approx(0.05)


def test_items_that_all_checkpoints_share_cost_no_power() -> None:
    """Item difficulty is part of the curve, so the items' standard error does not limit what is detectable."""
    rng = np.random.default_rng(0)
    difficulty = rng.gamma(4.0, 0.25, 300)
    t = np.arange(1.0, 14.0)
    curve = 0.6 + 0.4 * t**-0.5
    items = difficulty * curve[:, None] + 0.05 * rng.normal(size=(13, 300))
    law = fit_power_law(t[:-1], items[:-1].mean(axis=1), bounds=(0, np.inf))
    detectable = detectable_forecast_change(law, 13.0, lower_is_better=True, alpha=ALPHA, power=POWER)
    assert detectable < items[-1].std() / math.sqrt(300) / 2
    worse = forecast_change(law, 13.0, 1.02 * items[-1].mean(), lower_is_better=True)
    assert worse.p_value < 0.01
    assert paired_change(items[-1], 1.02 * items[-1], lower_is_better=True).relative == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("tokens", "score", "options", "message"),
    [
        (5e12, math.nan, {}, "a score of nan"),
        (5e12, 0.8, {"tolerated": -0.1}, "a tolerance of -0.1"),
        (1e12, 0.8, {}, "fit what came before it"),
    ],
)
def test_bad_input_is_refused(tokens: float, score: float, options: dict[str, float], message: str) -> None:
    """The message says what is wrong."""
    law, _, _ = past(np.random.default_rng(0))
    with pytest.raises(ForecastError, match=message):
        forecast_change(law, tokens, score, lower_is_better=True, **options)
    with pytest.raises(ForecastError, match="1 test or more"):
        detectable_forecast_change(law, 5e12, lower_is_better=True, alpha=ALPHA, power=POWER, tests=0)
