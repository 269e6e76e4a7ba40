"""Alarms and early stopping between the steps of a run, from synthetic item scores."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from rbridge_metrics.gate import paired_change
from rbridge_tasks.training.loop_scores import BenchmarkScores, ItemValues, LoopScores
from rbridge_tasks.training.settings import LoopSettings
from rbridge_tasks.training.watch import Watch

DIFFICULTY = np.random.default_rng(0).gamma(4.0, 0.2, 200) + np.repeat([1.0, 0.0], [60, 140])


def scoring(step: int, level: float, items: int = 200) -> LoopScores:
    """A scoring with the NLLs ``level * DIFFICULTY`` and some noise."""
    nll = level * DIFFICULTY[:items] * (1 + 0.01 * np.random.default_rng(step).normal(size=items))
    values = {"rbridge_nll": ItemValues(nll, np.ones(items))}
    ids = tuple(f"item{i:03}" for i in range(items))
    scores = BenchmarkScores("gsm8k", {"rbridge_nll": float(nll.mean())}, {}, {}, ids, 200, values)
    return LoopScores(step, math.nan, (scores,), {}, 1.0, 0.1)


def judged(levels: list[float], items: list[int] | None = None, **options: Any) -> list[LoopScores]:
    """Judge each scoring of a run."""
    watch = Watch(LoopSettings(**options))
    sizes = items or [200] * len(levels)
    steps = zip(range(10, 10_000, 10), levels, sizes, strict=False)
    return [watch.judge(scoring(step, level, size)) for step, level, size in steps]


@pytest.mark.parametrize(
    ("alarm", "levels", "alarms"),
    [
        ("best", [1.0, 0.9, 0.95, 0.89], [False, False, True, False]),
        ("previous", [1.0, 0.9, 0.95, 0.94], [False, False, True, False]),
        ("best", [1.0, 0.9, 0.95, 0.94], [False, False, True, True]),
        (None, [1.0, 2.0], [False, False]),
    ],
)
def test_a_worse_score_is_an_alarm(alarm: str | None, levels: list[float], alarms: list[bool]) -> None:
    """Compared with the best or the previous scoring."""
    assert [scores.alarm for scores in judged(levels, alarm=alarm)] == alarms


def test_the_statistics_are_those_of_the_gate() -> None:
    """Change, standard error and p-value are those of the paired test of the two steps' items."""
    watch = Watch(LoopSettings(alarm="previous", max_regression="2%"))
    first, second = scoring(1, 1.0), scoring(2, 1.021)
    watch.judge(first)
    gate = watch.judge(second).gate
    assert gate is not None
    change = gate.benchmarks[0].change
    before, after = (side["gsm8k"].values["rbridge_nll"].numerator for side in (first, second))
    expected = paired_change(before, after, lower_is_better=True, tolerated=0.02, seed=(0, 0))
    assert (change.change, change.stderr) == pytest.approx((expected.change, expected.stderr))
    assert change.p_value == pytest.approx(expected.p_value, abs=5 * math.sqrt(0.25 / 10_000))  # of 10,000 resamples
    assert (gate.current, gate.against) == ("step 2", "step 1")


def test_a_tolerance_prevents_the_alarm() -> None:
    """The score is 5 % worse, and 10 % are tolerated."""
    assert not judged([1.0, 1.05], alarm="best", max_regression="10%")[-1].alarm


def test_smaller_samples_are_compared_on_common_items() -> None:
    """The first items are harder than the average, so means of different samples differ without a change."""
    assert DIFFICULTY[:40].mean() > 1.2 * DIFFICULTY.mean()
    scores = judged([1.0, 0.99, 1.1], items=[200, 40, 60], alarm="best")
    assert [each.alarm for each in scores] == [False, False, True]
    assert scores[1].gate is not None
    assert scores[1].gate.benchmarks[0].count == 40


def test_too_few_items_are_not_tested() -> None:
    """With fewer items than the gate needs there is no verdict, and no error that ends the training."""
    last = judged([1.0, 2.0], items=[3, 3], alarm="best")[-1]
    assert last.gate is None
    assert not last.alarm


def test_a_forecast_needs_earlier_scorings_and_then_detects_a_jump() -> None:
    """Scores are compared with the power law fitted to earlier scorings."""
    levels = [0.6 + 0.4 * step**-0.4 for step in range(1, 13)]
    scores = judged([*levels, 1.3 * levels[-1]], alarm="forecast", alpha=0.01)
    assert scores[1].gate is None
    assert scores[-2].gate is not None
    assert not any(each.alarm for each in scores[:-1])
    assert scores[-1].alarm


def test_alarms_in_a_row_stop_the_training() -> None:
    """A single alarm between good scorings does not."""
    scores = judged([1.0, 1.1, 0.99, 1.1, 1.1], alarm="best", stop_after_alarms=2)
    assert [bool(each.stop) for each in scores] == [False, False, False, False, True]


@pytest.mark.parametrize("ago", [1, 2, 3, 5])
@pytest.mark.parametrize("alarm", [None, "previous", "best"])
def test_a_run_without_gain_stops(ago: int, alarm: str | None) -> None:
    """It stops if no scoring is significantly better than the one ``ago`` scorings before, which the state keeps."""
    scores = judged([1.0, 0.9, *[0.8] * (ago + 1)], stop_without_gain=ago, alarm=alarm)
    assert [bool(each.stop) for each in scores] == [False] * (ago + 2) + [True]


@pytest.mark.parametrize(
    "options",
    [
        {"alarm": "best", "stop_after_alarms": 2}, {"alarm": "previous"}, {"alarm": "forecast", "alpha": 0.01},
        {"stop_without_gain": 2}, {"alarm": "previous", "stop_without_gain": 3},
    ],
)  # fmt: skip
def test_a_resumed_run_is_judged_as_an_uninterrupted_one(options: dict[str, Any]) -> None:
    """For every interruption, to the last bit, with the state converted to JSON and back."""
    levels = [1.0, 0.9, 0.85, 0.83, 0.82, 0.95, 0.96, 0.81, 0.81, 0.81]
    scorings = [scoring(step, level) for step, level in enumerate(levels, start=1)]
    whole = Watch(LoopSettings(**options))
    expected = [whole.judge(each) for each in scorings]
    for position in (1, 4, 6):
        first, second = Watch(LoopSettings(**options)), Watch(LoopSettings(**options))
        for each in scorings[:position]:
            first.judge(each)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for reference, verdict in zip(expected[position:], map(second.judge, scorings[position:]), strict=True):
            assert (verdict.alarm, verdict.stop, repr(verdict.gate)) == (
                reference.alarm,
                reference.stop,
                repr(reference.gate),
            )
    assert any(each.alarm or each.stop for each in expected)


def test_the_state_holds_only_the_scorings_that_tests_need() -> None:
    """None without alarms; the last one for "previous"; all for "best", with at most 20 bytes per item."""
    sizes = {}
    for alarm in (None, "previous", "best"):
        watch = Watch(LoopSettings(alarm=alarm))
        for step in range(1, 21):
            watch.judge(scoring(step, 1.0))
        assert len(watch.state_dict()["past"]) == {None: 0, "previous": 1, "best": 20}[alarm]
        sizes[alarm] = len(json.dumps(watch.state_dict()))
    assert sizes["best"] < 20 * 200 * 20


def test_scores_of_another_metric_are_not_compared() -> None:
    """A training that is resumed with another metric starts without past scorings."""
    watch = Watch(LoopSettings(alarm="best"))
    watch.judge(scoring(1, 1.0))
    resumed = Watch(LoopSettings(alarm="best", metric="trace_nll"))
    resumed.load_state_dict(watch.state_dict())
    assert resumed.state_dict()["past"] == []
