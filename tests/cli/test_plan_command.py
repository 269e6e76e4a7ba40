"""``rbridge plan``: its JSON is the result of the function; its table is readable."""

from __future__ import annotations

from rbridge_tasks.decisions.plan import plan

from ..tables.made_scores import as_json, invoke

PLAN = ("plan", "-n", "25", "-k", "3", "--stage", "16M:1.6B", "--stage", "98e6:9.8e9", "--target", "1.2B:98B")


def test_json_is_the_result_of_the_function() -> None:
    """The call sets every option that changes the result."""
    options = ("--peak-flops", "1e15", "--utilisation", 0.3, "--trials", 1000, "--seed", 5)
    printed = as_json(*PLAN, *options, "--decision-accuracy", 0.8, "--decision-accuracy", 0.9)
    result = plan(
        25, ["16M:1.6B", "98e6:9.8e9"], "1.2B:98B", keep=[3], peak_flops=1e15, utilisation=0.3,
        decision_accuracy=[0.8, 0.9], trials=1000, seed=5,
    )  # fmt: skip
    assert printed == result.to_dict()


def test_the_table_is_readable() -> None:
    """It shows every stage, both totals, the saving, the probability and the model of that probability."""
    printed = invoke(*PLAN, "--decision-accuracy", "0.8").stdout
    for text in ("stage 1", "stage 2", "all at target size", "The plan saves 95.9 %", "24.27 times cheaper", "0.743"):
        assert text in printed
    assert "normal and independent" in printed


def test_a_plan_that_costs_more_says_so() -> None:
    """Keeping every candidate for stages of the target's size saves nothing."""
    printed = invoke("plan", "-n", "4", "-k", "4", "--stage", "1B:20B", "--target", "1B:20B").stdout
    assert "The plan costs 100.0 % more" in printed
