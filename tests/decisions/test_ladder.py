"""``rb.ladder`` on simulated ladders: forecasts, notes and bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import rbridge_tasks as rb
from rbridge_metrics.errors import RBridgeError

SIZES, MULTIPLES = (1e8, 3e8, 1e9, 3e9), (20, 60, 200)


def table(sizes=SIZES, multiples=MULTIPLES, *, unit=1.0, benchmark="hellaswag", improve=1.0):
    rows = []
    for params in sizes:
        for multiple in multiples:
            tokens = multiple * params
            loss = 0.4 + improve * (0.5 * (params / 5e8) ** -0.3 + 0.4 * (tokens / 2e10) ** -0.3)
            accuracy = unit * (0.25 + 0.75 / (1 + np.exp(6 * (loss - 0.9))))
            base = {"run": f"{params:g}x{multiple}", "params": params, "tokens": tokens, "benchmark": benchmark}
            rows += [base | {"metric": "bits_per_byte", "value": loss}, base | {"metric": "acc", "value": accuracy}]
    return pd.DataFrame(rows)


def forecast(scores, **options):
    return rb.ladder(scores, "bits_per_byte", resamples=50, **options)


def test_a_target_in_the_table_is_not_fitted_but_compared():
    result = forecast(table(), predict=[(3e9, 6e11)]).benchmarks[0]
    [row] = result.forecasts
    assert max(result.params) == 1e9
    assert row.measured_pct == pytest.approx(row.accuracy_pct, abs=2.0)
    assert row.low_pct <= row.measured_pct <= row.high_pct
    assert row.flops == 6 * 3e9 * 6e11


def test_percentages_and_fractions_give_the_same_forecast():
    rows = [forecast(table(unit=unit), predict=["7B:1T"]).benchmarks[0].forecasts[0] for unit in (1.0, 100.0)]
    assert rows[0].accuracy_pct == pytest.approx(rows[1].accuracy_pct, abs=1e-6)


def test_accuracy_grows_along_the_grid_and_reach_is_on_it():
    result = forecast(table(), reach=[0.6]).benchmarks[0]
    assert (np.diff(result.grid.accuracy_pct, axis=0) > -1e-9).all()
    assert (np.diff(result.grid.accuracy_pct, axis=1) > -1e-9).all()
    assert result.reaches[0].flops == pytest.approx(6 * result.reaches[0].params * result.reaches[0].tokens)


def test_a_benchmark_named_twice_is_one_and_chance_needs_a_known_name():
    for names in ("hellaswag", ["hellaswag", "hellaswag"]):
        assert len(forecast(table(), benchmarks=names).benchmarks) == 1
    with pytest.raises(RBridgeError, match="no benchmark helaswag; it has hellaswag: choose with --chance"):
        forecast(table(), chance={"helaswag": 0.25})


def test_the_same_seed_gives_the_same_result():
    first, second = (forecast(table(), predict=["7B:1T"]).to_frame() for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (table(sizes=SIZES[:2]), "2 sizes"),
        (table(multiples=(20,)), "token counts"),
        (table().drop(columns="params"), "params"),
        (table(improve=-0.3), "does not improve"),
        (table().assign(tokens=lambda t: t["tokens"] * np.where(t["metric"] == "acc", 1.01, 1)), "no run has"),
        (pd.concat([table(), table(benchmark="mmlu").assign(value=lambda t: t["value"] * 100)]).assign(
            benchmark="hellaswag", run=lambda t: t["run"] + t["value"].gt(5).map({True: "p", False: ""})
        ), "mixes fractions"),
    ],
)  # fmt: skip
def test_what_is_no_ladder_is_refused_in_one_line(scores, message):
    with pytest.raises(RBridgeError, match=message) as error:
        forecast(scores, predict=["20B:1T"])
    assert "\n" not in str(error.value)


def test_runs_at_chance_are_a_warning():
    """A late rise is not in the data: the forecast is near chance, and a note says that the interval ignores it."""
    scores = table()
    chance = scores["metric"] == "acc"
    scores.loc[chance, "value"] = 0.25 + 0.004 * np.arange(chance.sum()) / chance.sum()
    result = forecast(scores, predict=["60B:6T"])
    assert "above chance" in " ".join(result.notes)
    assert result.benchmarks[0].forecasts[0].accuracy_pct < 30
    assert "above chance" not in " ".join(forecast(table(), predict=["7B:1T"]).notes)


def test_a_target_far_outside_is_a_warning_with_its_ratio():
    notes = " ".join(forecast(table(), predict=["60B:60T"]).notes)
    assert "20 times the largest size" in notes
    assert "1000 tokens per parameter" in notes


def test_the_mean_of_one_checkpoint_changes_nothing_and_of_several_lags():
    """In a rising run the mean of the last two checkpoints lies below the last."""
    ends = table()
    halves = pd.concat([ends.assign(tokens=ends["tokens"] / 2), ends])
    halves.loc[(halves["metric"] == "acc").to_numpy() & (np.arange(len(halves)) < len(ends)), "value"] -= 0.02
    last, mean_of_one, mean_of_two = (
        forecast(halves, average_last=count).benchmarks[0].accuracy_pct for count in (None, 1, 2)
    )
    np.testing.assert_allclose(mean_of_one, last)
    np.testing.assert_allclose(mean_of_two, last - 1.0)
