"""Plans by hand, and the chance to keep the best candidate against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import ComputeError, PlanError
from rbridge_metrics.planning import chance_to_find_best, chance_to_keep_best, gpu_hours, latent_correlation, make_plan
from rbridge_metrics.ranking import pair_counts

from .strategies import cases

SIZE = (1e6, 1e9)


def brute_force(candidates: int, keep: int, correlation: float, trials: int, seed: int) -> float:
    """Draw values and correlated proxy scores, one trial at a time, and count how often the best value is kept."""
    rng, kept = np.random.default_rng(seed), 0
    for _ in range(trials):
        value = rng.normal(size=candidates)
        proxy = correlation * value + np.sqrt(1 - correlation**2) * rng.normal(size=candidates)
        kept += int(np.argmax(value)) in np.argsort(-proxy)[:keep]
    return kept / trials


@pytest.mark.parametrize(
    ("candidates", "keep", "accuracy"), [(25, 3, 0.8), (10, 1, 0.65), (40, 10, 0.55), (6, 2, 0.95), (5, 2, 0.3)]
)
def test_quadrature_equals_brute_force(candidates: int, keep: int, accuracy: float) -> None:
    """The integral is the frequency in 10,000 draws of the model, within three standard errors."""
    exact = chance_to_keep_best(candidates, keep, accuracy)
    drawn = brute_force(candidates, keep, latent_correlation(accuracy), 10_000, seed=1)
    assert exact == pytest.approx(drawn, abs=3 * np.sqrt(exact * (1 - exact) / 10_000))


@pytest.mark.parametrize("accuracy", [0.55, 0.7, 0.9])
def test_the_latent_model_has_the_decision_accuracy_it_was_given(accuracy: float) -> None:
    """Values and proxies drawn with the correlation have the decision accuracy it was computed from."""
    r, rng = latent_correlation(accuracy), np.random.default_rng(0)
    value = rng.normal(size=2000)
    proxy = r * value + np.sqrt(1 - r * r) * rng.normal(size=2000)
    assert pair_counts(proxy, value, lower_is_better=False).decision_accuracy == pytest.approx(accuracy, abs=0.015)


@given(st.integers(2, 60), st.floats(0.0, 1.0))
@cases(60)
def test_closed_forms(candidates: int, accuracy: float) -> None:
    """All kept: 1. Accuracy 0.5: k / N. Accuracy 1: 1. Two candidates, one kept: the accuracy itself."""
    assert chance_to_keep_best(candidates, candidates, accuracy) == 1.0
    keep = max(1, candidates // 3)
    assert chance_to_keep_best(candidates, keep, 0.5) == pytest.approx(keep / candidates, abs=1e-4)
    assert chance_to_keep_best(candidates, 1, 1.0) == 1.0
    assert chance_to_keep_best(2, 1, accuracy) == pytest.approx(accuracy, abs=1e-3)


@given(st.integers(3, 40), st.floats(0.1, 0.95))
@cases(40)
def test_more_is_never_worse(candidates: int, accuracy: float) -> None:
    """Keeping one more, or a better proxy, never lowers the chance; another candidate never raises it."""
    few, more = (chance_to_keep_best(candidates, keep, accuracy) for keep in (1, 2))
    better = chance_to_keep_best(candidates, 1, accuracy + 0.04)
    assert few <= more + 1e-6
    assert few <= better + 1e-6
    assert chance_to_keep_best(candidates + 1, 1, accuracy) <= few + 1e-6


def test_a_second_stage_multiplies_the_chance_of_the_first() -> None:
    """One stage equals the integral; a perfect second stage loses nothing; one of accuracy 0.5 keeps 1 in 4."""
    one_stage = make_plan(20, [4], [SIZE], SIZE)
    exact = chance_to_keep_best(20, 4, 0.75)
    assert chance_to_find_best(one_stage, [0.75])[0] == pytest.approx(exact, abs=0.006)
    two_stages = make_plan(20, [4], [SIZE, SIZE], SIZE)
    assert chance_to_find_best(two_stages, [0.75, 1.0]).tolist() == pytest.approx([exact, exact], abs=0.006)
    assert chance_to_find_best(two_stages, [0.75, 0.5]).tolist() == pytest.approx([exact, exact / 4], abs=0.006)
    first, repeated = (chance_to_find_best(two_stages, [0.7, 0.8], seed=3) for _ in range(2))
    assert np.array_equal(first, repeated)


def test_costs_by_hand() -> None:
    """25 * 6 * 16e6 * 1.6e9 + 3 * 6 * 98e6 * 9.8e9 + 6 * 1.2e9 * 98e9, against 25 times the last term."""
    plan = make_plan(25, [3], [(16e6, 1.6e9), (98e6, 9.8e9)], (1.2e9, 98e9))
    assert [stage.models for stage in plan.stages] == [25, 3]
    assert plan.flops == pytest.approx(3.84e18 + 1.728720e19 + 7.056e20)
    assert plan.flops_without == pytest.approx(25 * 7.056e20)
    assert plan.saving == pytest.approx(1 - plan.flops / (25 * 7.056e20))
    assert gpu_hours(7.056e20, peak_flops=989e12, utilisation=0.4) == pytest.approx(495.4500, abs=1e-3)


def test_several_may_be_trained_at_target_size() -> None:
    """The number kept after the last stage is the number trained at the target size: k * Ct instead of Ct."""
    plan = make_plan(10, [2], [SIZE], SIZE)
    assert plan.target.models == 2
    assert plan.flops == pytest.approx(12 * 6e15)
    assert plan.saving == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_plan(1, [1], [SIZE], SIZE), "1 candidates; a choice needs at least 2"),
        (lambda: make_plan(float("inf"), [1], [SIZE], SIZE), "whole numbers"),  # type: ignore[arg-type]
        (lambda: make_plan(5, [1.5], [SIZE], SIZE), "5, 1.5 candidates"),  # type: ignore[list-item]
        (lambda: make_plan(5, [], [], SIZE), "no stage"),
        (lambda: make_plan(5, [6], [SIZE], SIZE), "6 kept of 5"),
        (lambda: make_plan(5, [0], [SIZE], SIZE), "0 kept of 5"),
        (lambda: make_plan(5, [3, 2, 1], [SIZE, SIZE], SIZE), "3 numbers to keep for 2 stages"),
        (lambda: chance_to_keep_best(5, 2, 80), "in per cent. then write 0.8"),
        (lambda: chance_to_keep_best(5, 2, -0.1), "from 0 to 1"),
        (lambda: gpu_hours(1e18, peak_flops=0, utilisation=0.4), "peak of 0"),
        (lambda: gpu_hours(1e18, peak_flops=1e15, utilisation=40), "utilisation of 40"),
        (
            lambda: chance_to_find_best(make_plan(5, [2], [SIZE], SIZE), [0.8, 0.9]),
            "2 decision accuracies for 1 stages",
        ),
    ],
)
def test_impossible_plans_are_refused(call: object, message: str) -> None:
    """What cannot be planned is an error that says why."""
    with pytest.raises(PlanError, match=message):
        call()  # type: ignore[operator]


def test_impossible_sizes_are_refused_when_the_plan_is_made() -> None:
    """Not later, when its costs are read."""
    with pytest.raises(ComputeError, match="0 tokens"):
        make_plan(5, [2], [(1e6, 0)], SIZE)
