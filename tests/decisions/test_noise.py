"""``noise`` on simulated candidates, and the gain in decision accuracy by averaging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics.gate import PairedChange
from rbridge_metrics.noise import NoiseError
from rbridge_tasks.decisions.gate import gate
from rbridge_tasks.decisions.gate_result import GateError
from rbridge_tasks.decisions.noise import noise
from rbridge_tasks.decisions.rank import rank
from rbridge_tasks.tables.names import UnknownNameError

TRUTH = np.linspace(1.0, 1.07, 8)


def candidates(seed: int = 0, *, noise: float = 0.03, checkpoints: int = 12) -> pd.DataFrame:
    """NLL of eight candidates along a shared trend, with noise."""
    rng = np.random.default_rng(seed)
    steps = np.arange(checkpoints)
    parts = []
    for at, end in enumerate(TRUTH):
        values = end + 0.01 * (checkpoints - 1 - steps) + noise * rng.normal(size=checkpoints)
        columns = {"run": f"mix{at}", "params": 1e8, "tokens": 1e9 * (steps + 1), "benchmark": "gsm8k"}
        parts.append(pd.DataFrame({**columns, "metric": "rbridge_nll", "value": values}))
    return pd.concat(parts, ignore_index=True)


def targets() -> pd.DataFrame:
    """Accuracies of the large model, in the true order."""
    runs = [f"mix{at}" for at in range(len(TRUTH))]
    return pd.DataFrame(
        {"run": runs, "params": 7e9, "tokens": 1e12, "benchmark": "gsm8k", "metric": "acc", "value": 1.5 - TRUTH}
    )


def test_averaging_raises_the_decision_accuracy() -> None:
    """In the mean over 20 simulated searches, by about as much as the noise implies.

    Decision accuracy over 28 pairs has a standard deviation of about 0.08, its mean over 20 searches of 0.02; the
    implied accuracy assumes normally distributed candidates, and these are evenly spaced.
    """
    observed = {None: [], "auto": []}
    implied = []
    for seed in range(20):
        table = candidates(seed)
        for count, accuracies in observed.items():
            ranking = rank(table, at="100M:12B", target=targets(), average_last=count, resamples=10)
            accuracies.append(ranking.agreement[0].value["decision_accuracy"])
        (row,) = noise(table, target=targets()).rows
        assert row.observed_decision_accuracy == observed[None][-1]
        implied.append((row.implied_decision_accuracy, row.implied_averaged))
    last, averaged = np.mean(observed[None]), np.mean(observed["auto"])
    assert averaged > last + 0.06
    assert np.mean(implied, axis=0) == pytest.approx([last, averaged], abs=0.08)


def test_seeds_of_a_candidate_decide_together() -> None:
    """Two seeds are one candidate in the observed decision accuracy: the order of the seeds does not count."""
    table, truths = candidates(noise=0.001), targets()
    mix0, mix0_target = table[table["run"] == "mix0"], truths[truths["run"] == "mix0"]
    table = pd.concat([table[table["run"] != "mix0"], mix0.assign(run="mix0-seed1"), mix0.assign(run="mix0-seed2")])
    table.loc[table["run"] == "mix0-seed2", "value"] += 1e-6
    second = mix0_target.assign(run="mix0-seed2", value=mix0_target["value"] + 1e-6)
    truths = pd.concat([truths[truths["run"] != "mix0"], mix0_target.assign(run="mix0-seed1"), second])
    (row,) = noise(table, target=truths).rows
    assert row.candidates == 8
    assert row.observed_decision_accuracy == 1.0


def test_targets_of_other_seeds() -> None:
    """A target belongs to the candidate: its run name may have no seed or another seed."""
    table, truths = candidates(noise=0.001), targets()
    (expected,) = noise(table, target=truths).rows
    seeded = table.assign(run=table["run"] + "-seed0")
    for target in (truths, truths.assign(run=truths["run"] + "-seed7")):
        (row,) = noise(seeded, target=target).rows
        assert row.observed_decision_accuracy == expected.observed_decision_accuracy == 1.0


def test_a_row_by_hand() -> None:
    """Signal, spread and level of the last checkpoints; the noise has 8 * 7 degrees of freedom."""
    table = candidates()
    (row,) = noise(table).rows
    ends = table[table["tokens"] == 12e9]["value"]
    assert (row.runs, row.checkpoints, row.candidates, row.tokens) == (8, 10, 8, 12e9)
    assert row.signal == pytest.approx(np.ptp(ends))
    assert row.spread == pytest.approx(ends.std())
    assert row.level == pytest.approx(ends.mean())
    assert row.noise == pytest.approx(0.03, rel=0.35)  # four standard errors of 1 / sqrt(2 * 56)
    assert row.relative_noise == pytest.approx(row.noise / row.level)
    assert row.snr == pytest.approx(row.signal / row.noise)
    assert np.isnan(row.seed_noise)
    assert not row.drop


def test_seeds_are_one_candidate() -> None:
    """Runs that differ only in the seed give noise over seeds, not signal."""
    table = candidates()
    table["run"] = table["run"].replace({"mix0": "web-seed1", "mix1": "web-seed2"})
    (row,) = noise(table).rows
    ends = table[table["tokens"] == 12e9].set_index("run")["value"]
    assert row.candidates == 7
    assert row.seed_noise == pytest.approx(abs(ends["web-seed1"] - ends["web-seed2"]) / np.sqrt(2))


@pytest.mark.parametrize("metrics", ["rbridge_nll:higher,trace_nll", ["trace_nll", "rbridge_nll:higher"]])
def test_every_metric_may_have_its_direction(metrics: str | list[str]) -> None:
    """In a list or in one text; the opposite direction gives the complement of the decision accuracy."""
    table = pd.concat([candidates(), candidates().assign(metric="trace_nll")])
    given = {row.metric: row for row in noise(table, metrics=metrics, target=targets()).rows}
    (known,) = noise(candidates(), target=targets()).rows
    assert given["rbridge_nll"].observed_decision_accuracy == pytest.approx(
        1 - known.observed_decision_accuracy,
        rel=0,
        abs=np.finfo(float).eps,  # a share of pairs, and one subtraction
    )
    assert given["trace_nll"].observed_decision_accuracy == known.observed_decision_accuracy


def test_a_metric_of_noise_alone_is_dropped() -> None:
    """A metric on which candidates differ by noise alone is marked, and the summary names it."""
    table = candidates(3)
    flat = table.assign(metric="acc", value=0.25 + 0.01 * np.random.default_rng(0).normal(size=len(table)))
    result = noise(pd.concat([table, flat]))
    assert result.dropped == ["gsm8k acc"]
    assert result.to_frame().set_index("metric")["drop"].to_dict() == {"acc": True, "rbridge_nll": False}


def test_rank_adds_training_noise_to_item_noise() -> None:
    """Intervals become wider: the variances add, and the result has the share of training noise."""
    table = candidates().assign(stderr=0.02)
    (joined,) = rank(table, at="100M:12B").sizes
    (alone,) = rank(table[table["tokens"] == 12e9]).sizes
    variance = joined.training_noise**2 + 0.02**2
    assert joined.resampled is not None
    assert joined.resampled.std(axis=0) == pytest.approx(np.full(8, np.sqrt(variance)), rel=0.04)
    assert joined.noise_share == pytest.approx(joined.training_noise**2 / variance, abs=0.02)
    assert np.isnan(alone.training_noise)
    averaged = rank(table, at="100M:12B", average_last=4).sizes[0]
    assert averaged.training_noise < joined.training_noise


def test_without_standard_errors_training_noise_gives_intervals() -> None:
    """Of scores and ranks; the method names their source."""
    (size,) = rank(candidates(), at="100M:12B").sizes
    assert size.method.startswith("training noise only")
    assert size.noise_share == 1.0
    low, high = size.rows[0].value_interval
    assert low < size.rows[0].value < high


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"tokens": np.nan}, {}, NoiseError, "no run has 5 checkpoints"),
        ({}, {"last": 3}, NoiseError, "--last 3: .* at least 5"),
        ({}, {"alpha": 1.5}, NoiseError, "alpha is 1.5"),
        ({}, {"target_at": "7B:1T"}, NoiseError, "give --target"),
        ({}, {"metrics": "acc"}, UnknownNameError, "no metric acc"),
        ({}, {"benchmarks": ["arc"]}, UnknownNameError, "no benchmark arc"),
    ],
)
def test_bad_input_is_one_clear_line(
    change: dict[str, Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The message names what was given and what is needed."""
    table = candidates()
    if change:
        table = table[table["tokens"] == 12e9].assign(**change)
    with pytest.raises(error, match=message) as caught:
        noise(table, **options)
    assert "\n" not in str(caught.value)


def test_a_gate_adds_training_noise_to_item_noise(tmp_path: Path) -> None:
    """A change that is significant over items is not with training noise of its size; variances add up."""
    rng = np.random.default_rng(0)
    nll = rng.gamma(4.0, 0.2, 200)
    for name, values in (("before", nll), ("after", 1.02 * nll + 0.05 * rng.normal(size=200))):
        (tmp_path / name).mkdir()
        rows = [{"doc_id": at, "metrics": ["rbridge_nll"], "rbridge_nll": value} for at, value in enumerate(values)]
        file = tmp_path / name / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)))
    alone = gate(tmp_path / "after", tmp_path / "before").benchmarks[0]
    joined = gate(tmp_path / "after", tmp_path / "before", noise=candidates()).benchmarks[0]
    training = noise(candidates()).rows[0].noise
    assert isinstance(alone.change, PairedChange)
    assert isinstance(joined.change, PairedChange)
    assert joined.change.stderr**2 == pytest.approx(alone.change.stderr**2 + 2 * training**2)
    assert joined.change.noise_share == pytest.approx(2 * training**2 / joined.change.stderr**2)
    assert (alone.regressed, joined.regressed) == (True, False)
    with pytest.raises(GateError, match="give --forecast"):
        gate(tmp_path / "after", tmp_path / "before", average_last="auto")
    with pytest.raises(GateError, match="no run with 5 checkpoints scored on gsm8k"):
        gate(tmp_path / "after", tmp_path / "before", noise=candidates(checkpoints=3))


def test_a_gate_by_forecast_compares_averages() -> None:
    """Means of three checkpoints have less noise about the forecast, so a smaller change is detectable."""
    steps = np.arange(1, 37)
    value = 0.6 + 0.4 * steps**-0.4 + 0.004 * np.random.default_rng(1).normal(size=36)
    columns = {"run": "web", "tokens": 1e10 * steps, "benchmark": "gsm8k", "metric": "rbridge_nll", "value": value}
    table = pd.DataFrame(columns)
    single, averaged = (gate(table, forecast=table, average_last=count).benchmarks[0] for count in (None, 3))
    assert (single.count, averaged.count) == (35, 11)
    assert averaged.change.current == pytest.approx(value[-3:].mean())
    assert averaged.detectable < single.detectable
