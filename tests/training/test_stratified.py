"""Every prefix of the order is a stratified sample, and standard errors include the sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import bits_per_byte, bits_per_byte_stderr
from rbridge_tasks.scoring.aggregation import mean, mean_stderr
from rbridge_tasks.training.stratified import StratifiedOrder, stratified_estimate


@given(st.lists(st.integers(1, 500), min_size=1, max_size=80), st.integers(0, 5), st.data())
def test_every_prefix_holds_its_share_of_each_stratum(lengths: list[int], seed: int, data: st.DataObject) -> None:
    """To within 1.5 items. The order holds every item once; strata hold neighbouring lengths."""
    strata = StratifiedOrder.of(lengths, seed)
    assert sorted(strata.order) == list(range(len(lengths)))
    sample = strata.order[: data.draw(st.integers(0, len(lengths)))]
    for number in range(strata.stratum.max() + 1):
        size = np.sum(strata.stratum == number)
        assert abs(np.sum(strata.stratum[sample] == number) - len(sample) * size / len(lengths)) <= 1.5
    longest = [max(np.array(lengths)[strata.stratum == number]) for number in range(strata.stratum.max() + 1)]
    assert longest == sorted(longest)


def test_the_order_is_that_of_the_seed() -> None:
    """One seed gives the same order on every rank and in every run; another seed gives another order."""
    lengths = list(range(100))
    first, again, other_seed = (StratifiedOrder.of(lengths, seed).order.tolist() for seed in (1, 1, 2))
    assert first == again != other_seed


def test_hand_worked_estimate() -> None:
    """Two strata of 6 and 2 items; 2 of each sampled: weights 3/4 and 1/4.

    Means 2 and 8: value 3.5. Residuals -2.5, -0.5 and 2.5, 6.5; variances 2 and 8. Sampling: 9/16 * (1 - 1/3) * 2/2 =
    0.375; the second stratum is complete. Items: (3/4 * 3.25 + 1/4 * 24.25) * 4/3 / 8 = 1.416667.
    """
    estimate = stratified_estimate([1.0, 3.0, 6.0, 10.0], np.ones(4), [0, 0, 1, 1], [6, 2])
    assert estimate.value == pytest.approx(3.5)
    assert estimate.sampling_stderr == pytest.approx(math.sqrt(0.375))
    assert estimate.stderr == pytest.approx(math.sqrt(0.375 + 1.4166666667))


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(1, 50)), min_size=2, max_size=40))
def test_all_items_give_the_error_of_the_benchmark(items: list[tuple[float, int]]) -> None:
    """Without sampling, mean and ratio have the standard errors of ``rb.score``."""
    values, n_bytes = map(list, zip(*items, strict=True))
    strata = StratifiedOrder.of(n_bytes, 0)
    sizes = np.bincount(strata.stratum).tolist()
    estimate = stratified_estimate(values, np.ones(len(items)), strata.stratum, sizes)
    assert (estimate.value, estimate.stderr, estimate.sampling_stderr) == pytest.approx(
        (mean(values), mean_stderr(values), 0.0), abs=1e-9
    )
    bits = stratified_estimate(values, math.log(2) * np.array(n_bytes), strata.stratum, sizes)
    expected = bits_per_byte(values, n_bytes), bits_per_byte_stderr(values, n_bytes), 0.0
    assert (bits.value, bits.stderr, bits.sampling_stderr) == pytest.approx(expected, abs=1e-9)


def test_sampling_errors_are_as_large_as_stated() -> None:
    """Over 400 samples, the variance of estimates around the full score is the stated one.

    A variance from 400 draws has a relative standard deviation of sqrt(2 / 400) = 7 %; four of them are allowed.
    """
    count = 37
    rng = np.random.default_rng(0)
    lengths = rng.integers(50, 500, 200)
    values = 1 + lengths / 200 + rng.gamma(2.0, 0.3, 200)
    differences, stated_variances = [], []
    for seed in range(400):
        strata = StratifiedOrder.of(lengths.tolist(), seed)
        sample = strata.order[:count]
        sizes = np.bincount(strata.stratum).tolist()
        estimate = stratified_estimate(values[sample], np.ones(count), strata.stratum[sample], sizes)
        differences.append(estimate.value - values.mean())
        stated_variances.append(estimate.sampling_stderr**2)
    assert np.mean(np.square(differences)) == pytest.approx(np.mean(stated_variances), rel=0.28)
    simple = values.var(ddof=1) / count * (1 - count / 200)
    assert np.mean(stated_variances) < 0.7 * simple  # strata remove the variance that length explains


def test_one_item_has_no_standard_error() -> None:
    """The standard error of a single item is NaN, not 0."""
    assert math.isnan(stratified_estimate([1.0], [1.0], [0], [3]).stderr)
