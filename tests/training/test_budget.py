"""A time budget plans rounds from measured times so that they fit."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.training.budget import Budget


def scoring(budget: Budget, seconds_per_item: float) -> tuple[int, float]:
    """Run one scoring in which every item takes the same time; return its items and seconds."""
    scored, elapsed = 0, 0.0
    budget.begin()
    while count := budget.round_items(scored, elapsed):
        scored += count
        elapsed += count * seconds_per_item
    budget.end(scored, elapsed)
    return scored, elapsed


def test_without_a_budget_all_items_are_one_round() -> None:
    """Then shared prompts are read once."""
    budget = Budget(None, 100, 2)
    budget.begin()
    assert budget.round_items(0, 0.0) == 100
    assert budget.round_items(100, 5.0) == 0


def test_a_sample_that_does_not_fit_is_reduced() -> None:
    """Ten seconds at 0.1 s per item: the first scoring ends in time, later ones use nine tenths of the budget."""
    budget = Budget(10.0, 500, 1)
    first, elapsed = scoring(budget, 0.1)
    assert 0 < first <= 100
    assert elapsed <= 10.0
    assert [scoring(budget, 0.1)[0] for _ in range(3)] == [90, 90, 90]


def test_the_sample_shrinks_for_slower_items_and_grows_for_faster_ones() -> None:
    """It shrinks immediately, and grows only if at least a quarter more items fit."""
    budget = Budget(10.0, 500, 1)
    scoring(budget, 0.1)
    scoring(budget, 0.1)
    scoring(budget, 0.2)
    shrunk, _ = scoring(budget, 0.2)
    assert shrunk == 45
    assert [scoring(budget, 0.18)[0] for _ in range(2)] == [shrunk, shrunk]
    scoring(budget, 0.01)
    assert scoring(budget, 0.01)[0] == 500


def test_a_clock_that_shows_no_time_plans_the_whole_sample() -> None:
    """A coarse clock may show the same moment before and after a scoring of few items."""
    budget = Budget(10.0, 6, 1)
    assert [scoring(budget, 0.0)[0] for _ in range(3)] == [6, 6, 6]


@given(st.floats(0.001, 5.0), st.floats(0.1, 20.0), st.integers(1, 300), st.integers(1, 8))
def test_no_scoring_overruns_after_the_first_round(
    seconds_per_item: float, seconds: float, sample: int, ranks: int
) -> None:
    """At a constant speed only the first round, whose time is unknown, can exceed the budget."""
    budget = Budget(seconds, sample, ranks)
    for _ in range(3):
        scored, elapsed = scoring(budget, seconds_per_item)
        assert 1 <= scored <= sample
        first = min(sample, 4 * ranks) * seconds_per_item
        assert elapsed <= max(seconds, first) * (1 + 1e-9) + math.ulp(1.0)
