"""``rbridge plan``: costs, savings and chances, as tables and as JSON."""

from __future__ import annotations

import pytest

from rbridge_metrics import RBridgeError
from rbridge_metrics.planning import chance_to_keep_best

from ..tables.made_scores import as_json, invoke

PLAN = ("plan", "-n", "25", "-k", "3", "--stage", "16M:1.6B", "--stage", "98e6:9.8e9", "--target", "1.2B:98B")


def test_costs_of_every_stage() -> None:
    """25 small models, 3 larger, one at target size: N * C1 + k * C2 + Ct against N * Ct."""
    found = as_json(*PLAN)
    assert [(stage["models"], stage["flops"]) for stage in found["stages"]] == [
        (25, pytest.approx(25 * 6 * 16e6 * 1.6e9)),
        (3, pytest.approx(3 * 6 * 98e6 * 9.8e9)),
        (1, pytest.approx(6 * 1.2e9 * 98e9)),
    ]
    assert found["flops"] == pytest.approx(sum(stage["flops"] for stage in found["stages"]))
    assert found["flops_without"] == pytest.approx(25 * 6 * 1.2e9 * 98e9)
    assert found["saving"] == pytest.approx(1 - found["flops"] / found["flops_without"])
    assert found["gpu_hours"] == pytest.approx(found["flops"] / (989e12 * 0.4 * 3600))
    assert found["chances"] == []


def test_rates_are_the_users() -> None:
    """Half the utilisation takes twice the hours."""
    fast, slow = as_json(*PLAN, "--peak-flops", "1e15"), as_json(*PLAN, "--peak-flops", "1e15", "--utilisation", "0.2")
    assert slow["gpu_hours"] == pytest.approx(2 * fast["gpu_hours"])


def test_the_chance_of_the_first_stage() -> None:
    """One decision accuracy gives the chance to keep the best among the k after the first stage, exactly."""
    (chance,) = as_json(*PLAN, "--decision-accuracy", "0.8")["chances"]
    assert (chance["stage"], chance["kept"]) == (1, 3)
    assert chance["chance_best_is_kept"] == pytest.approx(chance_to_keep_best(25, 3, 0.8))


def test_the_chance_of_every_stage() -> None:
    """One for each stage gives the chance that the best is still there after each, the same for the same seed."""
    options = ("--decision-accuracy", "0.8", "--decision-accuracy", "0.9", "--trials", "20000")
    found = as_json(*PLAN, *options, "--seed", "5")["chances"]
    assert [chance["kept"] for chance in found] == [3, 1]
    assert found[0]["chance_best_is_kept"] == pytest.approx(chance_to_keep_best(25, 3, 0.8), abs=0.01)
    assert found[1]["chance_best_is_kept"] < found[0]["chance_best_is_kept"]
    assert as_json(*PLAN, *options, "--seed", "5")["chances"] == found


def test_the_table_is_for_people() -> None:
    """Every stage, both totals, the saving and the chance in words, with the model that the chance rests on."""
    printed = invoke(*PLAN, "--decision-accuracy", "0.8").stdout
    for text in ("stage 1", "stage 2", "all at target size", "The plan saves 95.9 %", "24.27 times cheaper", "0.743"):
        assert text in printed
    assert "normal and independent" in printed


def test_a_plan_that_costs_more_says_so() -> None:
    """Keeping everything for stages as dear as the target saves nothing."""
    printed = invoke("plan", "-n", "4", "-k", "4", "--stage", "1B:20B", "--target", "1B:20B").stdout
    assert "The plan costs 100.0 % more" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--decision-accuracy", "80"), "in per cent. then write 0.8"),
        (("--decision-accuracy", "0.8") * 3, "3 decision accuracies for 2 stages"),
        (("--utilisation", "40"), "a utilisation of 40; it is a fraction"),
        (("--peak-flops", "0"), "a peak of 0"),
        (("-k", "2", "-k", "1"), "3 numbers to keep for 2 stages"),
        (("--stage", "7B"), "'7B' is no size; write PARAMS:TOKENS"),
        (("--target", "0:1B"), "a count of 0; it should be above 0"),
    ],
)
def test_impossible_plans_are_refused(options: tuple[str, ...], message: str) -> None:
    """One line says what is wrong."""
    with pytest.raises(RBridgeError, match=message):
        invoke(*PLAN, *options)
