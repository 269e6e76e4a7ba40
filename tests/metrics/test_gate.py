"""The gate's test of a regression: values by hand, false alarm rate, power."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import BootstrapError
from rbridge_metrics.gate import holm, minimum_detectable_change, paired_change

Floats = npt.NDArray[np.float64]


def nll(rng: np.random.Generator, items: int = 300) -> Floats:
    """Item scores, skewed as those of traces are."""
    return rng.gamma(4.0, 0.2, items)


def test_change_by_hand() -> None:
    """Means 2 and 2.5: worse by 0.5 for an NLL, better by 0.5 for an accuracy; standard error of (1, 0, 0.5)."""
    worse = paired_change([1.0, 2.0, 3.0], [2.0, 2.0, 3.5], lower_is_better=True)
    better = paired_change([1.0, 2.0, 3.0], [2.0, 2.0, 3.5], lower_is_better=False)
    assert (worse.baseline, worse.current, worse.change, worse.relative) == (2.0, 2.5, 0.5, 0.25)
    assert better.change == -0.5
    assert worse.stderr == pytest.approx(0.5 / math.sqrt(3))
    assert worse.low < worse.change < worse.high


def test_a_ratio_is_compared_as_a_ratio() -> None:
    """Bits per byte: sums of 6 over 6 and of 9 over 6, with the linearised standard error of their difference."""
    old, new, size = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0])
    change = paired_change(old, new, size, lower_is_better=True)
    assert (change.baseline, change.current, change.change) == (1.0, 1.5, 0.5)
    influence = (new - old - 0.5 * size) / 2
    assert change.stderr == pytest.approx(influence.std(ddof=1) / math.sqrt(3))


@pytest.mark.parametrize("skewed", [False, True])
def test_the_false_alarm_rate_is_the_level(skewed: bool) -> None:
    """Of 1,000 comparisons of checkpoints that differ by noise alone, 5 % raise an alarm, within sampling error."""
    alarms = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        old = nll(rng)
        noise = 1.0 - rng.exponential(size=300) if skewed else rng.normal(size=300)
        alarms += paired_change(old, old + 0.1 * noise, lower_is_better=True, resamples=400, seed=seed).p_value <= 0.05
    assert 0.04 - 0.007 <= alarms / 1000 <= 0.06 + 0.007  # a point, and a standard error of the count


def test_a_planted_regression_is_found_with_the_power_that_is_stated() -> None:
    """2 % worse on 300 traces: detected as often as the normal approximation predicts for that standard error."""
    from scipy.stats import norm

    detected, stderrs = 0, []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        old = nll(rng)
        change = paired_change(
            old, 1.02 * old + 0.11 * rng.normal(size=300), lower_is_better=True, resamples=400, seed=seed
        )
        detected += change.p_value <= 0.05
        stderrs.append(change.stderr)
    stated = float(norm.cdf(0.02 * 0.8 / np.mean(stderrs) - norm.ppf(0.95)))
    assert 0.5 < stated < 0.95
    assert detected / 400 == pytest.approx(stated, abs=0.06)


def test_a_change_within_the_tolerance_is_no_regression() -> None:
    """3 % worse: an alarm at a tolerance of 1 %, none at 5 %."""
    rng = np.random.default_rng(0)
    old = nll(rng)
    new = 1.03 * old + 0.02 * rng.normal(size=300)
    assert paired_change(old, new, lower_is_better=True, tolerated=0.01).p_value < 0.01
    assert paired_change(old, new, lower_is_better=True, tolerated=0.05).p_value > 0.99


def test_the_same_change_on_every_item_is_certain() -> None:
    """Without spread the p-value is 0 or 1: equal scores pass, a shift of all items fails."""
    old = np.array([1.0, 2.0, 3.0])
    assert paired_change(old, old, lower_is_better=True).p_value == 1.0
    assert paired_change(old, old + 0.1, lower_is_better=True).p_value == 0.0
    assert paired_change(old, old - 0.1, lower_is_better=True).p_value == 1.0


def test_the_same_seed_gives_the_same_numbers() -> None:
    """Another seed gives different numbers."""
    rng = np.random.default_rng(0)
    old, new = nll(rng), nll(rng)
    assert paired_change(old, new, lower_is_better=True, seed=1) == paired_change(
        old, new, lower_is_better=True, seed=1
    )
    assert paired_change(old, new, lower_is_better=True, seed=1) != paired_change(
        old, new, lower_is_better=True, seed=2
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_its_definition(p: list[float]) -> None:
    """The k-th smallest p-value times the number of tests left, and never below the one before."""
    expected, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        expected[place] = highest
    np.testing.assert_allclose(holm(p), expected)


def test_more_benchmarks_need_larger_changes() -> None:
    """By hand: z(0.95) + z(0.8) = 2.486; z(1 - 0.05 / 6) + z(0.8) = 3.236."""
    assert minimum_detectable_change(1.0, alpha=0.05, power=0.8) == pytest.approx(2.4865, abs=1e-4)
    assert minimum_detectable_change(1.0, alpha=0.05, power=0.8, tests=6) == pytest.approx(3.2356, abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        ([1.0], [1.0], {}, "2 or more"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], {}, "one shape"),
        ([1.0, math.nan], [1.0, 2.0], {}, "missing or infinite"),
        ([1.0, 2.0], [1.0, 2.0], {"weights": [1.0, 0.0]}, "weighs nothing"),
        ([1.0, 2.0], [1.0, 2.0], {"tolerated": -0.1}, "tolerance of -0.1"),
    ],
)
def test_bad_scores_are_refused(old: list[float], new: list[float], options: dict[str, object], message: str) -> None:
    """The message says what is wrong."""
    with pytest.raises(BootstrapError, match=message):
        paired_change(old, new, lower_is_better=True, **options)  # type: ignore[arg-type]  # options of several types
