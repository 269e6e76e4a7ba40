"""``rbridge compare`` on made-up tables: candidates and checkpoints, baselines, what is told apart, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError, cross_validate, decision_accuracy, kendall_tau_b, spearman

from ..decisions import made_pairs
from ..tables.made_scores import LARGE, SMALL, TARGET, as_json, invoke, row, table

BENCHMARKS = ("gsm8k", "csqa")


def candidates(folder: Path, *, count: int = 16, benchmarks: tuple[str, ...] = BENCHMARKS) -> tuple[Path, Path]:
    """Data sets scored by a good NLL, a rough one and an accuracy of noise; and what the target made of them."""
    rng = np.random.default_rng(0)
    small: list[dict[str, Any]] = []
    large: list[dict[str, Any]] = []
    for benchmark in benchmarks:
        for at, quality in enumerate(rng.normal(size=count)):
            run = f"data-{at:02}"
            for name, value in (
                ("rbridge_nll", 1 - 0.1 * quality + 0.005 * rng.normal()),
                ("trace_nll", 2 - 0.1 * quality + 0.08 * rng.normal()),
                ("acc", 0.02 + 0.01 * rng.random()),
            ):
                small.append(row(run, value, size=LARGE, benchmark=benchmark, metric=name))
            accuracy = 1 / (1 + math.exp(-quality))
            large.append(row(run, accuracy, size=TARGET, benchmark=benchmark, metric="acc"))
    return table(folder / "scores.csv", small), table(folder / "targets.csv", large)


def section(found: dict[str, Any], benchmark: str) -> dict[str, Any]:
    """The part on one benchmark, its rows by name."""
    part = next(one for one in found["benchmarks"] if one["benchmark"] == benchmark)
    return {**part, "rows": {one["metric"]: one for one in part["rows"]}}


def test_measures_are_those_of_the_functions_that_rank_and_fit(tmp_path: Path) -> None:
    """Decision accuracy, tau-b, rho, train R2 and test MAE, from the same arrays; and compute by hand."""
    scores, targets = candidates(tmp_path)
    found = section(as_json("compare", scores, "--target", targets), "gsm8k")
    frame = pd.read_csv(scores)
    own = frame[(frame["benchmark"] == "gsm8k") & (frame["metric"] == "trace_nll")]["value"].to_numpy()
    truth = pd.read_csv(targets)
    accuracy = 100 * truth[truth["benchmark"] == "gsm8k"]["value"].to_numpy()
    measured = found["rows"]["trace_nll"]
    assert measured["decision_accuracy"] == pytest.approx(decision_accuracy(own, accuracy, lower_is_better=True))
    assert measured["kendall_tau_b"] == pytest.approx(kendall_tau_b(own, accuracy, lower_is_better=True))
    assert measured["spearman"] == pytest.approx(spearman(own, accuracy, lower_is_better=True))
    fit = cross_validate(own, accuracy, scheme="shuffled")
    assert measured["test_mae_pct"] == pytest.approx(fit.test_mae)
    assert measured["train_r2"] == pytest.approx(fit.train_r2)
    assert found["rows"]["mean"]["test_mae_pct"] == pytest.approx(fit.baselines["mean"])
    assert found["flops"] == pytest.approx(6 * 98e6 * 9.8e9)
    assert found["points"] == 16
    for name in ("decision_accuracy", "test_mae_pct", "spearman"):
        assert measured[f"{name}_low"] < measured[name] < measured[f"{name}_high"]


def test_the_best_is_marked_with_what_cannot_be_told_from_it(tmp_path: Path) -> None:
    """A copy of the best is alike; noise and chance are not; the mean weighs benchmarks alike."""
    scores, targets = candidates(tmp_path, count=24)
    frame = pd.read_csv(scores)
    twin = frame[frame["metric"] == "rbridge_nll"].assign(metric="rbridge_bits_per_byte")
    pd.concat([frame, twin]).to_csv(scores, index=False)
    report = as_json("compare", scores, "--target", targets, "--no-fits")
    mean = section(report, "mean of benchmarks")
    assert mean["rows"]["rbridge_nll"]["best"]
    assert mean["rows"]["rbridge_bits_per_byte"]["not_distinguishable"]
    assert not mean["rows"]["acc"]["not_distinguishable"]
    assert not mean["rows"]["chance"]["not_distinguishable"]
    assert mean["rows"]["chance"]["decision_accuracy"] == 0.5
    assert mean["rows"]["rbridge_nll"]["test_mae_pct"] is None
    parts = [section(report, name)["rows"]["trace_nll"]["decision_accuracy"] for name in BENCHMARKS]
    assert mean["rows"]["trace_nll"]["decision_accuracy"] == pytest.approx(np.mean(parts))
    assert "better than every baseline (chance)" in mean["verdict"]


def test_files_and_figures_are_written(tmp_path: Path) -> None:
    """A row a metric and benchmark; the figure names its axes and bars."""
    scores, targets = candidates(tmp_path)
    out, figure = tmp_path / "compare.csv", tmp_path / "compare.svg"
    text = invoke("compare", scores, "--target", targets, "-o", out, "--plot", figure).stdout
    written = pd.read_csv(out)
    assert set(written["benchmark"]) == {*BENCHMARKS, "mean of benchmarks"}
    assert written["best"].sum() == 3
    drawn = figure.read_text()
    for words in ("decision accuracy (% of pairs)", "bars 90 % over points", "not distinguishable", "chance"):
        assert words in drawn
    assert "best by decision accuracy: rbridge_nll" in text
    again = invoke("compare", scores, "--target", targets, "-o", tmp_path / "again.csv").stdout
    assert again == text
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()


def test_checkpoints_are_joined_as_fits_are_and_tokens_are_a_baseline(tmp_path: Path) -> None:
    """Over one run tokens say as much as the proxy: that is the verdict."""
    frame = made_pairs.scores(benchmarks=("gsm8k",))
    noisy = frame[frame["metric"] == "rbridge_nll"].assign(metric="trace_nll")
    noisy["value"] += np.random.default_rng(0).normal(size=len(noisy)) * 0.05
    path = made_pairs.score_table(pd.concat([frame, noisy]), tmp_path / "runs.csv")
    report = as_json("compare", path, "--proxy", "1b", "--target-model", "13b", "--cv", "forward")
    found = section(report, "gsm8k")
    fit = as_json(
        "fit", path, "--proxy-metric", "rbridge_nll", "--target-metric", "acc", "--proxy", "1b", "--target", "13b",
        "--cv", "forward",
    )["fits"][0]["cross_validation"]  # fmt: skip
    assert found["rows"]["rbridge_nll"]["test_mae_pct"] == pytest.approx(fit["test_mae_pct"])
    for name, error in fit["baseline_mae_pct"].items():
        assert found["rows"][name]["test_mae_pct"] == pytest.approx(error)
    assert found["rows"]["log(tokens)"]["decision_accuracy"] > 0.9
    assert found["rows"]["rbridge_nll"]["best"]
    assert "nor can it be told from the baseline log(tokens)" in found["verdict"]
    assert found["flops"] == pytest.approx(6 * 1.2e9 * made_pairs.TOKENS[-1])
    notes = " ".join(report["notes"])
    assert "draws 2 neighbouring checkpoints at a time" in notes
    assert "1 metric left out: no model '1b' with acc" in notes


def test_the_target_of_checkpoints_may_stand_in_another_table(tmp_path: Path) -> None:
    """The numbers are the same."""
    frame = made_pairs.scores()
    whole = made_pairs.score_table(frame, tmp_path / "whole.csv")
    small = made_pairs.score_table(frame[frame["metric"] != "acc"], tmp_path / "small.csv")
    large = made_pairs.score_table(frame[frame["metric"] == "acc"], tmp_path / "large.csv")
    options = ("--proxy", "1b", "--target-model", "13b")
    together = as_json("compare", whole, *options)
    apart = as_json("compare", small, "--target", large, *options)
    assert together["benchmarks"] == apart["benchmarks"]


def test_several_runs_are_drawn_whole(tmp_path: Path) -> None:
    """With six runs the bootstrap draws runs, and does not warn."""
    path = made_pairs.score_table(made_pairs.scores(runs=tuple("abcdef")), tmp_path / "runs.csv")
    report = as_json("compare", path, "--proxy", "1b", "--target-model", "13b", "--no-fits")
    assert not any("neighbouring" in note for note in report["notes"])
    assert section(report, "gsm8k")["points"] == 72


def test_a_metric_that_runs_the_wrong_way_is_never_the_best(tmp_path: Path) -> None:
    """A falling curve fits it as well as the best is fitted; it is marked, and said."""
    scores, targets = candidates(tmp_path, benchmarks=("gsm8k",))
    frame = pd.read_csv(scores)
    mirrored = frame[frame["metric"] == "rbridge_nll"].assign(metric="cross_entropy")
    mirrored["value"] = 3 - mirrored["value"]
    frame = pd.concat([frame[frame["metric"] != "rbridge_nll"], mirrored])
    frame.to_csv(scores, index=False)
    report = as_json("compare", scores, "--target", targets, "--by", "mae")
    found = section(report, "gsm8k")
    assert found["rows"]["cross_entropy"]["test_mae_pct"] < found["rows"]["trace_nll"]["test_mae_pct"]
    assert found["rows"]["cross_entropy"]["wrong_way"]
    assert found["rows"]["trace_nll"]["best"]
    assert any("running the wrong way" in note and "cross_entropy" in note for note in report["notes"])


def test_points_are_those_that_all_metrics_share(tmp_path: Path) -> None:
    """A metric of few runs is left out, a run that one metric lacks too; both with a count."""
    scores, targets = candidates(tmp_path, benchmarks=("gsm8k",))
    frame = pd.read_csv(scores)
    rare = frame[(frame["metric"] == "trace_nll") & (frame["run"] < "data-04")].assign(metric="cross_entropy")
    frame = frame[~((frame["metric"] == "acc") & (frame["run"] == "data-07"))]
    pd.concat([frame, rare]).to_csv(scores, index=False)
    report = as_json("compare", scores, "--target", targets, "--no-fits")
    found = section(report, "gsm8k")
    assert found["points"] == 15
    assert "cross_entropy" not in found["rows"]
    notes = " ".join(report["notes"])
    assert "cross_entropy left out, known for less than 80% of 16 points" in notes
    assert "1 point of 16 left out, a metric is unknown there" in notes


def test_few_candidates_are_ordered_but_nothing_is_told_apart(tmp_path: Path) -> None:
    """Four points have an order; intervals would be made up."""
    scores, targets = candidates(tmp_path, count=4, benchmarks=("gsm8k",))
    report = as_json("compare", scores, "--target", targets, "--no-fits")
    found = section(report, "gsm8k")
    assert found["rows"]["rbridge_nll"]["decision_accuracy"] == 1.0
    assert found["rows"]["rbridge_nll"]["decision_accuracy_low"] is None
    assert "too few points" in found["verdict"]
    assert any("no intervals" in note for note in report["notes"])


def test_unknown_directions_are_asked_for(tmp_path: Path) -> None:
    """Left out and named by default; an error where asked for without one; compared where told."""
    scores, targets = candidates(tmp_path, benchmarks=("gsm8k",))
    frame = pd.read_csv(scores)
    odd = frame[frame["metric"] == "rbridge_nll"].assign(metric="surprise")
    pd.concat([frame, odd]).to_csv(scores, index=False)
    report = as_json("compare", scores, "--target", targets, "--no-fits")
    assert any("which way they run is not known: surprise" in note for note in report["notes"])
    with pytest.raises(RBridgeError, match="surprise:lower or surprise:higher"):
        invoke("compare", scores, "--target", targets, "--metrics", "surprise,acc")
    told = as_json("compare", scores, "--target", targets, "--no-fits", "--metrics", "surprise:lower,acc")
    assert section(told, "gsm8k")["rows"]["surprise"]["decision_accuracy"] > 0.9


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    """Other benchmarks, one run, mixed units, scores that stand twice, options that do not fit."""
    scores, targets = candidates(tmp_path, benchmarks=("gsm8k",))
    frame, truth = pd.read_csv(scores), pd.read_csv(targets)

    def refused(match: str, *options: str, own: pd.DataFrame = frame, target: pd.DataFrame = truth) -> None:
        own.to_csv(tmp_path / "own.csv", index=False)
        target.to_csv(tmp_path / "target.csv", index=False)
        with pytest.raises(RBridgeError, match=match) as caught:
            invoke("compare", tmp_path / "own.csv", "--target", tmp_path / "target.csv", *options)
        assert "\n" not in str(caught.value)

    refused("the targets are of other", target=truth.assign(benchmark="other"))
    refused("no benchmark has two points", own=frame[frame["run"] == "data-00"])
    refused("no benchmark has two points", target=truth.assign(run="x" + truth["run"]))
    mixed = truth.copy()
    mixed.loc[::3, "value"] *= 100
    refused("mix", target=mixed)
    refused("several rbridge_nll", own=pd.concat([frame, frame.assign(model="other")]))
    refused("none of 3 metrics has scores at 1B:1T", "--at", "1B:1T")
    refused("--by 'r2'", "--by", "r2")
    refused("--by mae needs fits", "--by", "mae", "--no-fits")
    refused("has no metric nothing", "--metrics", "nothing:lower")
    refused("no scores of drop", "--benchmark", "drop")
    refused("give both", "--proxy", "1b")
    refused("give one of them", "--proxy", "1b", "--target-model", "13b", "--at", "1B:1T")
    with pytest.raises(RBridgeError, match="nothing to compare with"):
        invoke("compare", scores)


def test_only_one_size_is_compared(tmp_path: Path) -> None:
    """The largest by default, another on demand."""
    scores, targets = candidates(tmp_path, benchmarks=("gsm8k",))
    frame = pd.read_csv(scores)
    smaller = frame.assign(params=SMALL[0], tokens=SMALL[1], value=-frame["value"], model="small" + frame["model"])
    pd.concat([frame, smaller]).to_csv(scores, index=False)
    options = ("compare", scores, "--target", targets, "--no-fits")
    assert section(as_json(*options), "gsm8k")["rows"]["rbridge_nll"]["decision_accuracy"] > 0.9
    other = section(as_json(*options, "--at", "16M:1.6B"), "gsm8k")
    assert other["rows"]["rbridge_nll"]["decision_accuracy"] < 0.1
    assert other["flops"] == pytest.approx(1.536e17)
