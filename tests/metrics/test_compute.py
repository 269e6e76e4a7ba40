"""Compute, the frontier and savings: naive references and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import ComputeError, compute_savings, pareto_frontier, training_flops

from .strategies import cases

score_tables = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=12)


def naive_frontier(costs: list[float], values: list[float]) -> list[bool]:
    """A point is on the frontier unless another is no worse in both and better in one."""
    points = list(zip(costs, values, strict=True))
    return [
        not any(
            rival_cost <= cost and rival_value >= value and (rival_cost < cost or rival_value > value)
            for rival_cost, rival_value in points
        )
        for cost, value in points
    ]  # fmt: skip


@given(score_tables)
@cases(300)
def test_the_frontier_is_that_of_the_definition(table: list[tuple[int, int]]) -> None:
    """Also with ties in cost, in value and in both."""
    cost, value = ([float(part) for part in column] for column in zip(*table, strict=True))
    assert pareto_frontier(cost, value).tolist() == naive_frontier(cost, value)


def test_unknown_compute_is_off_the_frontier() -> None:
    """A size of unknown compute is not on the frontier and removes no other size from it."""
    assert pareto_frontier([1.0, math.nan, 2.0, 3.0], [0.5, 0.9, math.nan, 0.6]).tolist() == [True, False, False, True]


def test_six_n_d() -> None:
    """A 1B model on 20B tokens costs 1.2e20 FLOPs; an unknown size stays unknown."""
    assert training_flops(1e9, 20e9) == pytest.approx(1.2e20)
    assert np.isnan(training_flops([1e9, math.nan], 1e9)).tolist() == [False, True]


def test_savings_by_hand() -> None:
    """The other metric reaches 0.6 at 1e17 and 0.8 at 1e19, so it reaches 0.7 at their geometric mean, 1e18."""
    saved = compute_savings([1e15, 1e16], [0.7, 0.8], [1e17, 1e18, 1e19], [0.6, 0.5, 0.8])
    assert saved.level.tolist() == [0.7, 0.8]
    assert saved.other_cost == pytest.approx([1e18, 1e19])
    assert saved.ratio == pytest.approx([1000, 1000])
    step = compute_savings([1e15], [0.7], [1e17, 1e19], [0.6, 0.8], between="step")
    assert step.other_cost.tolist() == [1e19]


def test_levels_out_of_reach_have_no_ratio() -> None:
    """A level that the other metric never reaches is NaN and counted; one below all its points is marked as a bound."""
    saved = compute_savings([1.0, 2.0, 3.0], [0.1, 0.5, 0.9], [4.0, 8.0], [0.4, 0.6])
    assert saved.unreached == 1
    assert math.isnan(saved.ratio[2])
    assert saved.bound.tolist() == [True, False, False]
    assert saved.ratio[0] == pytest.approx(4.0)


@given(score_tables, score_tables, st.floats(0.01, 100))
@cases(100)
def test_a_ratio_of_costs_has_no_unit(
    table: list[tuple[int, int]], other_table: list[tuple[int, int]], unit: float
) -> None:
    """Costs in GPU-hours instead of FLOPs give the same ratios, and a metric against itself saves nothing."""
    cost, value = (np.array(column, float) for column in zip(*table, strict=True))
    other_cost, other_value = (np.array(column, float) for column in zip(*other_table, strict=True))
    plain = compute_savings(cost, value, other_cost, other_value).ratio
    scaled = compute_savings(unit * cost, value, unit * other_cost, other_value).ratio
    assert scaled == pytest.approx(plain, nan_ok=True)
    assert compute_savings(cost, value, cost, value).ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training_flops(0, 1e9), "0 parameters"),
        (lambda: training_flops(1e9, -1.0), "-1 tokens"),
        (lambda: pareto_frontier([1.0], [1.0, 2.0]), "one of each"),
        (lambda: compute_savings([0.0], [1.0], [1.0], [1.0]), "cost of 0"),
        (lambda: compute_savings([math.nan], [1.0], [1.0], [1.0]), "no point with both"),
    ],
)
def test_impossible_costs_are_refused(call: object, message: str) -> None:
    """Impossible sizes and costs are errors, never numbers."""
    with pytest.raises(ComputeError, match=message):
        call()  # type: ignore[operator]
