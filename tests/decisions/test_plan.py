"""``plan``: costs, savings and chances of a search in stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rbridge_metrics import RBridgeError
from rbridge_metrics.planning import chance_to_keep_best
from rbridge_tasks.decisions.ladder import ladder
from rbridge_tasks.decisions.plan import SearchPlan, plan

from .test_ladder import table as ladder_table


def search(**arguments: Any) -> SearchPlan:
    """25 candidates, 3 of them trained larger, one at the target's size."""
    settings = {"candidates": 25, "stages": ["16M:1.6B", "98e6:9.8e9"], "target": "1.2B:98B", "keep": [3]}
    return plan(**settings | arguments)


def test_costs_of_every_stage() -> None:
    """N * C1 + k * C2 + Ct against N * Ct."""
    result = search()
    assert [(stage.models, stage.flops) for stage in result.stages] == [
        (25, pytest.approx(25 * 6 * 16e6 * 1.6e9)),
        (3, pytest.approx(3 * 6 * 98e6 * 9.8e9)),
        (1, pytest.approx(6 * 1.2e9 * 98e9)),
    ]
    assert result.flops == pytest.approx(sum(stage.flops for stage in result.stages))
    assert result.flops_without == pytest.approx(25 * 6 * 1.2e9 * 98e9)
    assert result.saving == pytest.approx(1 - result.flops / result.flops_without)
    assert result.gpu_hours == pytest.approx(result.flops / (989e12 * 0.4 * 3600))
    assert result.chances == ()


def test_half_the_utilisation_takes_twice_the_hours() -> None:
    """GPU-hours follow from peak and utilisation."""
    fast, slow = search(peak_flops=1e15), search(peak_flops=1e15, utilisation=0.2)
    assert slow.gpu_hours == pytest.approx(2 * fast.gpu_hours)


def test_the_chance_of_the_first_stage() -> None:
    """One decision accuracy gives the exact chance to keep the best after the first stage."""
    (chance,) = search(decision_accuracy=0.8).chances
    assert (chance.stage, chance.kept) == (1, 3)
    assert chance.chance_best_is_kept == pytest.approx(chance_to_keep_best(25, 3, 0.8))


def test_the_chance_of_every_stage() -> None:
    """One decision accuracy per stage gives simulated chances; the same seed gives the same chances."""
    arguments = {"decision_accuracy": [0.8, 0.9], "trials": 20_000, "seed": 5}
    first, second = search(**arguments).chances
    assert (first.kept, second.kept) == (3, 1)
    assert first.chance_best_is_kept == pytest.approx(chance_to_keep_best(25, 3, 0.8), abs=0.01)
    assert second.chance_best_is_kept < first.chance_best_is_kept
    assert search(**arguments).chances == (first, second)


def test_a_plan_as_table_html_and_figure(tmp_path: Path) -> None:
    """The table has one row per stage."""
    result = search()
    assert result.to_frame()["stage"].tolist() == ["stage 1", "stage 2", "target"]
    assert "stage 2" in result._repr_html_()
    result.plot(tmp_path / "plan.svg")
    assert "all at target size" in (tmp_path / "plan.svg").read_text()


def test_a_ladder_adds_its_cost_its_width_and_its_chance(tmp_path: Path) -> None:
    """From the result or the file of ``--json``; a narrower interval gives a higher chance to keep the best."""
    scores = ladder_table(sizes=(1e8, 2e8, 4e8))
    forecast = ladder(scores, "bits_per_byte", predict=["1.2B:98B"], resamples=50)
    (tmp_path / "ladder.json").write_text(json.dumps(forecast.to_dict()))
    added = search(ladder=forecast, spread=2.0).ladder
    assert added is not None
    assert added == search(ladder=tmp_path / "ladder.json", spread=2.0).ladder
    runs = scores.drop_duplicates("run")
    assert added.flops == pytest.approx(6 * (runs["params"] * runs["tokens"]).sum())
    largest = runs[runs["params"] == 4e8]
    assert (added.next_params, added.next_flops) == (
        8e8,
        pytest.approx(24 * (largest["params"] * largest["tokens"]).sum()),
    )
    (row,), (target,) = added.benchmarks, forecast.benchmarks[0].forecasts
    assert row.width == pytest.approx(target.high_pct - target.low_pct)
    assert row.next_width == pytest.approx(row.width * target.next_rung_width)
    assert 1 / 25 < row.chance_best_is_kept < row.next_chance < 1
    with pytest.raises(RBridgeError, match=r"no forecast of 7B:1T.*--predict"):
        search(target="7B:1T", ladder=forecast)
    with pytest.raises(RBridgeError, match="--ladder"):
        search(spread=2.0)
    with pytest.raises(RBridgeError, match=r"none.json.*rbridge ladder"):
        search(ladder=tmp_path / "none.json")
    with pytest.raises(RBridgeError, match="a spread of -1"):
        search(ladder=forecast, spread=-1.0)


def test_a_file_that_is_no_ladder_is_refused(tmp_path: Path) -> None:
    """Other JSON, a ladder that lacks a value, lists of two lengths; UTF-16, which PowerShell writes, is read."""
    file = tmp_path / "ladder.json"
    content = ladder(ladder_table(), "bits_per_byte", predict=["1.2B:98B"], resamples=50).to_dict()
    file.write_text(json.dumps(content), encoding="utf-16")
    assert search(ladder=file).ladder is not None
    (benchmark,) = content["benchmarks"]
    (target,) = benchmark["forecasts"]
    for damaged, message in (
        ([], "holds no ladder"),
        ({"benchmarks": [3]}, "holds no ladder"),
        ({**content, "level": None}, "holds no ladder"),
        ({**content, "benchmarks": [{**benchmark, "forecasts": [{**target, "high_pct": None}]}]}, "holds no ladder"),
        ({**content, "benchmarks": [{**benchmark, "params": [1e8, 2e8]}]}, "2 params and 9 tokens"),
    ):
        file.write_text(json.dumps(damaged))
        with pytest.raises(RBridgeError, match=message):
            search(ladder=file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decision_accuracy": 80}, "80.*0.8"),
        ({"decision_accuracy": [0.8] * 3}, "3 decision accuracies for 2 stages"),
        ({"utilisation": 40}, "40"),
        ({"peak_flops": 0}, "a peak of 0"),
        ({"keep": [3, 2, 1]}, "3 numbers to keep for 2 stages"),
        ({"stages": ["16M:1.6B", "7B"]}, "'7B'.*PARAMS:TOKENS"),
        ({"target": "0:1B"}, "a count of 0"),
    ],
)
def test_impossible_plans_are_refused(arguments: dict[str, Any], message: str) -> None:
    """The message names the value and what to give instead."""
    with pytest.raises(RBridgeError, match=message):
        search(**arguments)
