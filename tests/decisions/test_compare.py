"""``compare`` on small tables: candidates and checkpoints, baselines, significant differences, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError, cross_validate, decision_accuracy, kendall_tau_b, spearman
from rbridge_tasks.decisions.compare import Comparison, compare
from rbridge_tasks.decisions.metric_comparison import ComparedMetric

from ..tables.made_scores import LARGE, SMALL, TARGET, row
from . import made_pairs

BENCHMARKS = ("gsm8k", "csqa")
CHECKPOINTS = {"proxy": "1b", "target_model": "13b"}


def candidates(*, count: int = 16, benchmarks: tuple[str, ...] = BENCHMARKS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Data sets scored by a precise NLL, a noisy NLL and a random accuracy; and the target's accuracies."""
    rng = np.random.default_rng(0)
    small, large = [], []
    for benchmark in benchmarks:
        for number, quality in enumerate(rng.normal(size=count)):
            run = f"data-{number:02}"
            for name, value in (
                ("rbridge_nll", 1 - 0.1 * quality + 0.005 * rng.normal()),
                ("trace_nll", 2 - 0.1 * quality + 0.08 * rng.normal()),
                ("acc", 0.02 + 0.01 * rng.random()),
            ):
                small.append(row(run, value, size=LARGE, benchmark=benchmark, metric=name))
            accuracy = 1 / (1 + math.exp(-quality))
            large.append(row(run, accuracy, size=TARGET, benchmark=benchmark, metric="acc"))
    return pd.DataFrame(small), pd.DataFrame(large)


def of_metric(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[table["metric"] == metric]


def metrics_of(comparison: Comparison, benchmark: str = "gsm8k") -> dict[str, ComparedMetric]:
    """The metrics and baselines on one benchmark, by name."""
    return {row.name: row for part in comparison.benchmarks if part.benchmark == benchmark for row in part.rows}


def test_measures_are_those_of_the_functions_that_rank_and_fit() -> None:
    """Decision accuracy, tau-b, rho, train R2 and test MAE from the same arrays, and compute by hand."""
    scores, targets = candidates(benchmarks=("gsm8k",))
    comparison = compare(scores, target=targets)
    values, accuracy = of_metric(scores, "trace_nll")["value"].to_numpy(), 100 * targets["value"].to_numpy()
    measured = metrics_of(comparison)["trace_nll"]
    fit = cross_validate(values, accuracy, scheme="shuffled")
    assert measured.value == pytest.approx(
        {
            "decision_accuracy": decision_accuracy(values, accuracy, lower_is_better=True),
            "kendall_tau_b": kendall_tau_b(values, accuracy, lower_is_better=True),
            "spearman": spearman(values, accuracy, lower_is_better=True),
            "mae": fit.test_mae,
        }
    )
    assert measured.train_r2 == pytest.approx(fit.train_r2)
    assert metrics_of(comparison)["mean"].value["mae"] == pytest.approx(fit.baselines["mean"])
    assert comparison.benchmarks[0].flops == pytest.approx(6 * 98e6 * 9.8e9)
    assert comparison.benchmarks[0].points == 16
    for name in ("decision_accuracy", "mae", "spearman"):
        assert measured.low[name] < measured.value[name] < measured.high[name]


def test_the_best_and_metrics_like_it_are_marked() -> None:
    """A copy of the best is marked as alike, noise and chance are not; the mean weights benchmarks equally."""
    scores, targets = candidates(count=24)
    copy = of_metric(scores, "rbridge_nll").assign(metric="rbridge_bits_per_byte")
    comparison = compare(pd.concat([scores, copy]), target=targets, fits=False)
    mean = metrics_of(comparison, "mean of benchmarks")
    assert mean["rbridge_nll"].best
    assert mean["rbridge_bits_per_byte"].alike
    assert not mean["acc"].alike
    assert not mean["chance"].alike
    assert mean["chance"].value["decision_accuracy"] == 0.5
    assert "mae" not in mean["rbridge_nll"].value
    parts = [metrics_of(comparison, name)["trace_nll"].value["decision_accuracy"] for name in BENCHMARKS]
    assert mean["trace_nll"].value["decision_accuracy"] == pytest.approx(np.mean(parts))
    assert "better than every baseline (chance)" in comparison.verdict(comparison.benchmarks[-1])


def test_a_comparison_as_table_html_and_figure(tmp_path: Path) -> None:
    """One row per benchmark and metric, in a frame and in HTML; a figure with labelled axes and bars."""
    scores, targets = candidates()
    comparison = compare(scores, target=targets, fits=False)
    frame = comparison.to_frame()
    assert set(frame["benchmark"]) == {*BENCHMARKS, "mean of benchmarks"}
    assert frame["best"].sum() == 3
    assert "rbridge_nll" in comparison._repr_html_()
    comparison.plot(tmp_path / "compare.svg")
    for words in ("decision accuracy (% of pairs)", "bars 90 % over points", "not distinguishable", "chance"):
        assert words in (tmp_path / "compare.svg").read_text()


def test_checkpoints_are_joined_as_fits_are_and_tokens_are_a_baseline() -> None:
    """In one run the tokens predict as well as the proxy, and the verdict says so."""
    frame = made_pairs.scores(benchmarks=("gsm8k",))
    noisy = of_metric(frame, "rbridge_nll").assign(metric="trace_nll")
    noisy["value"] += np.random.default_rng(0).normal(size=len(noisy)) * 0.05
    comparison = compare(pd.concat([frame, noisy]), cv="forward", **CHECKPOINTS)
    metrics = metrics_of(comparison)
    nll, accuracy = made_pairs.checkpoints(0)
    fit = cross_validate(nll, accuracy, scheme="forward", order=made_pairs.TOKENS, order_name="tokens")
    assert metrics["rbridge_nll"].value["mae"] == pytest.approx(fit.test_mae)
    for name, error in fit.baselines.items():
        assert metrics[name].value["mae"] == pytest.approx(error)
    assert metrics["log(tokens)"].value["decision_accuracy"] > 0.9
    assert metrics["rbridge_nll"].best
    assert "nor can it be told from the baseline log(tokens)" in comparison.verdict(comparison.benchmarks[0])
    assert comparison.benchmarks[0].flops == pytest.approx(6 * 1.2e9 * made_pairs.TOKENS[-1])
    notes = " ".join(comparison.notes)
    assert "draws 2 neighbouring checkpoints at a time" in notes
    assert "1 metric left out: no model '1b' with acc" in notes


def test_the_target_of_checkpoints_may_be_in_another_table() -> None:
    """The numbers are those of a single table."""
    frame = made_pairs.scores()
    accuracies = frame["metric"] == "acc"
    together = compare(frame, fits=False, **CHECKPOINTS)
    apart = compare(frame[~accuracies], target=frame[accuracies], fits=False, **CHECKPOINTS)
    assert together.to_dict()["benchmarks"] == apart.to_dict()["benchmarks"]


def test_several_runs_are_drawn_whole() -> None:
    """With six runs the bootstrap draws runs, and does not warn."""
    comparison = compare(made_pairs.scores(runs=tuple("abcdef")), fits=False, **CHECKPOINTS)
    assert not any("neighbouring" in note for note in comparison.notes)
    assert comparison.benchmarks[0].points == 72


def test_a_metric_with_the_wrong_direction_is_never_the_best() -> None:
    """A falling curve fits it as well as the best metric; it is marked, and a note names it."""
    scores, targets = candidates(benchmarks=("gsm8k",))
    mirrored = of_metric(scores, "rbridge_nll").assign(metric="cross_entropy")
    mirrored["value"] = 3 - mirrored["value"]
    comparison = compare(pd.concat([scores[scores["metric"] != "rbridge_nll"], mirrored]), target=targets, by="mae")
    metrics = metrics_of(comparison)
    assert metrics["cross_entropy"].value["mae"] < metrics["trace_nll"].value["mae"]
    assert metrics["cross_entropy"].wrong_way
    assert metrics["trace_nll"].best
    assert any("running the wrong way" in note and "cross_entropy" in note for note in comparison.notes)


def test_points_are_those_that_all_metrics_share() -> None:
    """A metric of few runs and a run that lacks a metric are left out and counted."""
    scores, targets = candidates(benchmarks=("gsm8k",))
    rare = of_metric(scores, "trace_nll")[:4].assign(metric="cross_entropy")
    scores = scores[~((scores["metric"] == "acc") & (scores["run"] == "data-07"))]
    comparison = compare(pd.concat([scores, rare]), target=targets, fits=False)
    assert comparison.benchmarks[0].points == 15
    assert "cross_entropy" not in metrics_of(comparison)
    notes = " ".join(comparison.notes)
    assert "cross_entropy left out, known for less than 80% of 16 points" in notes
    assert "1 point of 16 left out, a metric is unknown there" in notes


def test_few_candidates_are_ordered_without_intervals() -> None:
    """Four points are ordered, without intervals and significant differences."""
    scores, targets = candidates(count=4, benchmarks=("gsm8k",))
    comparison = compare(scores, target=targets, fits=False)
    best = metrics_of(comparison)["rbridge_nll"]
    assert best.value["decision_accuracy"] == 1.0
    assert math.isnan(best.low["decision_accuracy"])
    assert "too few points" in comparison.verdict(comparison.benchmarks[0])
    assert any("no intervals" in note for note in comparison.notes)


def test_a_metric_of_unknown_direction_needs_one() -> None:
    """By default it is left out and named; requested without a direction it is an error; with one it is compared."""
    scores, targets = candidates(benchmarks=("gsm8k",))
    scores = pd.concat([scores, of_metric(scores, "rbridge_nll").assign(metric="surprise")])
    assert any("surprise:lower" in note for note in compare(scores, target=targets, fits=False).notes)
    with pytest.raises(RBridgeError, match="surprise:lower or surprise:higher"):
        compare(scores, target=targets, metrics="surprise,acc")
    comparison = compare(scores, target=targets, fits=False, metrics=["surprise:lower", "acc"])
    assert metrics_of(comparison)["surprise"].value["decision_accuracy"] > 0.9


def test_metrics_without_shared_candidates_are_one_clear_line() -> None:
    """Half of the candidates have one metric, half the other; or every candidate ends at tokens of its own."""
    scores, targets = candidates(benchmarks=("gsm8k",))
    first = scores["run"] < "data-08"
    nll, trace = (of_metric(scores, name) for name in ("rbridge_nll", "trace_nll"))
    apart = pd.concat([nll[first[nll.index]], trace[~first[trace.index]]])
    with pytest.raises(RBridgeError, match="0 points with a target and every metric"):
        compare(apart, target=targets, fits=False)
    own_tokens = nll.assign(tokens=nll["tokens"] * (1 + 1e-6 * np.arange(len(nll))))
    with pytest.raises(RBridgeError, match="1 point with a target and every metric"):
        compare(own_tokens, target=targets, fits=False)
    two_ends = nll.assign(tokens=nll["tokens"] * (1 + 1e-6 * (np.arange(len(nll)) % 2)))
    assert compare(two_ends, target=targets, fits=False).benchmarks[0].points == 8


def test_only_one_size_is_compared() -> None:
    """The largest by default, or the size given."""
    scores, targets = candidates(benchmarks=("gsm8k",))
    smaller = scores.assign(params=SMALL[0], tokens=SMALL[1], value=-scores["value"], model="small" + scores["model"])
    both = pd.concat([scores, smaller])
    large = compare(both, target=targets, fits=False)
    assert metrics_of(large)["rbridge_nll"].value["decision_accuracy"] > 0.9
    small = compare(both, target=targets, fits=False, at="16M:1.6B")
    assert metrics_of(small)["rbridge_nll"].value["decision_accuracy"] < 0.1
    assert small.benchmarks[0].flops == pytest.approx(1.536e17)


SCORES, TARGETS = candidates(benchmarks=("gsm8k",))
MIXED = TARGETS.assign(value=TARGETS["value"].where(TARGETS.index % 3 > 0, 100 * TARGETS["value"]))


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (SCORES, {"target": TARGETS.assign(benchmark="other")}, "the targets are of other"),
        (SCORES[SCORES["run"] == "data-00"], {"target": TARGETS}, "no benchmark has two points"),
        (SCORES, {"target": TARGETS.assign(run="x" + TARGETS["run"])}, "no benchmark has two points"),
        (SCORES, {"target": MIXED}, "mix"),
        (pd.concat([SCORES, SCORES.assign(model="other")]), {"target": TARGETS}, "several rbridge_nll"),
        (SCORES, {"target": TARGETS, "at": "1B:1T"}, "none of 3 metrics has scores at 1B:1T"),
        (SCORES, {"target": TARGETS, "by": "r2"}, "--by 'r2'"),
        (SCORES, {"target": TARGETS, "by": "mae", "fits": False}, "--no-fits"),
        (SCORES, {"target": TARGETS, "metrics": "nothing:lower"}, "no metric nothing"),
        (SCORES, {"target": TARGETS, "benchmarks": ["drop"]}, "benchmark drop"),
        (SCORES, {"target": TARGETS, "proxy": "1b"}, "--target-model"),
        (SCORES, {"target": TARGETS, "at": "1B:1T", **CHECKPOINTS}, "--at"),
        (SCORES, {}, "--target"),
    ],
)
def test_bad_input_is_one_clear_line(table: pd.DataFrame, arguments: dict[str, Any], message: str) -> None:
    """Other benchmarks, one run, mixed units, duplicate scores, arguments that do not fit together."""
    with pytest.raises(RBridgeError, match=message) as caught:
        compare(table, **arguments)
    assert "\n" not in str(caught.value)
