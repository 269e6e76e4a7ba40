"""The bounds hold for the worst order of summation, and leave faults of a thousandth of a nat a token outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from . import kernels
from .error_bounds import (
    accumulated,
    assert_within,
    cascade_bound,
    model_bound,
    model_sum_bound,
    stored_bound,
    sum_bound,
    telescoped_bounds,
)
from .tensor_bounds import product_bound, softmax_bounds


def test_bounds_worked_by_hand() -> None:
    """Three additions of numbers that sum to 10: 3 * 2^-24 * 10; 4 roundings are 4 u, 10,000 are 600 u."""
    assert sum_bound([1, -2, 3, 4]) == 3 * 2.0**-24 * 10
    assert accumulated(4, "float32") == 4 * 2.0**-24
    assert accumulated(10_000, "float32") == 600 * 2.0**-24
    assert sum_bound([1, 1], "bfloat16") == 2.0**-7
    assert stored_bound(np.exp(-2.0)) == pytest.approx(np.exp(-2.0) * (2 * 2.0**-24), rel=1e-3)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=300), st.randoms())
def test_float32_sums_of_any_order_are_within_the_bound(values: list[float], random: object) -> None:
    """One after the other, and by torch."""
    total = np.float32(0)
    for value in values:
        total += np.float32(value)
    exact = float(np.sum(np.array(values, dtype=np.float64)))
    assert_within(float(total), exact, sum_bound(values) + 1e-300)
    by_torch = float(torch.tensor(values, dtype=torch.float32).sum())
    assert_within(by_torch, exact, cascade_bound(values) + 1e-300)


@pytest.mark.parametrize("size", [1, 17, 94, 700, 50_277])
def test_sums_and_products_of_torch_are_within_their_bounds(size: int) -> None:
    """Of this processor's kernels, whichever they are."""
    torch.manual_seed(0)
    left, right = torch.randn(5, size), torch.randn(size, 3)
    assert_within(left @ right, left.double() @ right.double(), product_bound(left, right))
    for row in left.abs():
        assert_within(float(row.sum()), float(row.double().sum()), cascade_bound(row))


def test_a_fault_of_a_thousandth_of_a_nat_a_token_is_outside() -> None:
    """For one token of a tiny model, for sums, for differences of sums, and for a softmax over a large vocabulary."""
    logprob = -np.random.default_rng(0).uniform(0.5, 14.0, 94)
    assert model_bound(logprob) < 2e-4
    assert model_sum_bound(logprob) < 94e-3
    for fault in (1e-3, -1e-3):
        with pytest.raises(AssertionError, match="numbers are outside their bounds"):
            assert_within(logprob + fault, logprob, telescoped_bounds(logprob))
    logits = torch.randn(4, 151_936) * 3
    assert all(bound.max() < 1e-3 for bound in softmax_bounds(logits, torch.zeros(4, dtype=torch.long)))


def test_infinities_and_nans_are_compared() -> None:
    """Equal infinities are equal; a NaN is never within a bound."""
    assert_within([-np.inf, 1.0], [-np.inf, 1.0], 0.0)
    for found in (np.nan, np.inf):
        with pytest.raises(AssertionError):
            assert_within([found], [1.0], 1e9)


def test_kernels_that_a_processor_lacks_are_skipped() -> None:
    """A processor without AVX-512 runs what needs AVX2 or less; one that is no x86 runs torch's default."""
    todo, skipped = kernels.runs_here("avx2")
    assert {run.needs for run in todo} == {"default", "avx2"}
    assert {run.needs for run in skipped} == {"avx512"}
    assert {run.needs for run in kernels.runs_here("sve256")[0]} == {"default"}
    assert not kernels.runs_here("avx512")[1]
