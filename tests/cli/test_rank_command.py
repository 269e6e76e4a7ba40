"""``rbridge rank`` on made-up tables: orders, intervals, agreement with a target, savings, and what it says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rbridge_metrics import RBridgeError

from ..tables.made_scores import LARGE, SMALL, TARGET, as_json, invoke, row, samples, table

RUNS = ("web", "books", "code", "wiki")
NLL = (1.2, 1.0, 1.3, 1.1)
ACCURACY = (0.35, 0.40, 0.20, 0.30)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Four candidates at two sizes, by NLL and by accuracy, which orders one pair at the small size wrongly."""
    rows = [row(run, nll) for run, nll in zip(RUNS, NLL, strict=True)]
    rows += [row(run, nll - 0.3, size=LARGE) for run, nll in zip(RUNS, NLL, strict=True)]
    for size, values in ((SMALL, (0.1, 0.1, 0.2, 0.3)), (LARGE, (0.3, 0.4, 0.1, 0.2))):
        rows += [row(run, value, size=size, metric="acc") for run, value in zip(RUNS, values, strict=True)]
    return table(tmp_path / "scores.csv", rows)


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    """What the large model made of them."""
    rows = [row(run, value, size=TARGET, metric="acc") for run, value in zip(RUNS, ACCURACY, strict=True)]
    return table(tmp_path / "targets.csv", rows)


def test_candidates_come_best_first(scores: Path) -> None:
    """The lowest NLL is first; intervals surround the score; the last has nothing to be better than."""
    found = as_json("rank", scores)
    assert [group["params"] for group in found["rankings"]] == [16e6, 98e6]
    first = found["rankings"][0]["candidates"]
    assert [one["run"] for one in first] == ["books", "wiki", "web", "code"]
    assert [one["rank"] for one in first] == [1, 2, 3, 4]
    for one in first:
        low, high = one["value_interval"]
        assert low < one["value"] < high
        assert one["rank_interval"] == [one["rank"], one["rank"]]  # 0.1 apart, standard errors of 0.01
    assert [one["better_than_next"] for one in first] == [1.0, 1.0, 1.0, None]
    assert "independent" in found["rankings"][0]["method"]


def test_the_direction_can_be_turned_and_is_said(scores: Path) -> None:
    """Known by name, overridden by an option, and printed either way."""
    turned = as_json("rank", scores, "--higher-is-better")
    assert [one["run"] for one in turned["rankings"][0]["candidates"]] == ["code", "web", "wiki", "books"]
    assert turned["metrics"] == [{"name": "rbridge_nll", "lower_is_better": False, "told": True}]
    assert "lower is better, by its name" in invoke("rank", scores).stdout


def test_an_unknown_metric_has_no_direction(tmp_path: Path) -> None:
    """Nothing is guessed from numbers: the error says how to tell."""
    path = table(tmp_path / "scores.csv", [row("a", 1.0, metric="surprise"), row("b", 2.0, metric="surprise")])
    with pytest.raises(RBridgeError, match="surprise:lower or surprise:higher, or give --lower-is-better"):
        invoke("rank", path, "--metric", "surprise")
    for option in (("--metric", "surprise:higher"), ("--metric", "surprise", "--higher-is-better")):
        assert as_json("rank", path, *option)["rankings"][0]["candidates"][0]["run"] == "b"


def test_agreement_by_hand(scores: Path, targets: Path) -> None:
    """NLL orders web and wiki wrongly: 5 of 6 pairs, tau 4/6, rho 0.8. Accuracy at the small size ties one pair."""
    found = as_json("rank", scores, "--target", targets, "--against", "acc")
    by_metric = {(one["metric"], one["params"]): one for one in found["agreement"]}
    nll = by_metric["rbridge_nll", 16e6]
    assert nll["decision_accuracy"] == pytest.approx(5 / 6)
    assert nll["kendall_tau_b"] == pytest.approx(4 / 6)
    assert nll["spearman"] == pytest.approx(0.8)
    assert nll["flops"] == pytest.approx(1.536e17)
    assert nll["on_frontier"]
    assert not by_metric["rbridge_nll", 98e6]["on_frontier"]
    tied = by_metric["acc", 16e6]
    assert tied["pairs"] == {"concordant": 1, "discordant": 4, "tied_in_proxy": 1, "tied_in_target": 0}
    assert tied["decision_accuracy"] == pytest.approx(1.5 / 6)
    assert any("1 tied in the proxy alone count half" in note for note in found["notes"])
    assert any("wrong way more often than not at 1 size" in note for note in found["notes"])


def test_savings_at_equal_decision_accuracy(scores: Path, targets: Path) -> None:
    """5/6 is reached by NLL at the small size; accuracy is on its way from 1/4 to 1 there: read off in log compute."""
    saved = as_json("rank", scores, "--target", targets, "--against", "acc")["savings"]["gsm8k"]
    small, large = 6 * 16e6 * 1.6e9, 6 * 98e6 * 9.8e9
    share = (5 / 6 - 1.5 / 6) / (1 - 1.5 / 6)
    assert saved["cost"] == pytest.approx([small])
    assert saved["other_cost"] == pytest.approx([math.exp(math.log(small) + share * math.log(large / small))])
    assert saved["ratio"][0] == pytest.approx((large / small) ** share)


def test_several_benchmarks_have_a_mean(tmp_path: Path) -> None:
    """Each benchmark counts once in the mean, at sizes that all of them have."""
    rows = [row(run, nll) for run, nll in zip(RUNS, NLL, strict=True)]
    rows += [row(run, -nll, benchmark="csqa") for run, nll in zip(RUNS, NLL, strict=True)]
    rows += [row(run, nll, size=LARGE) for run, nll in zip(RUNS, NLL, strict=True)]
    path = table(tmp_path / "scores.csv", rows)
    truth = table(
        tmp_path / "targets.csv",
        [
            row(run, value, size=TARGET, metric="acc", benchmark=benchmark)
            for benchmark in ("gsm8k", "csqa")
            for run, value in zip(RUNS, ACCURACY, strict=True)
        ],
    )
    found = as_json("rank", path, "--target", truth)["agreement"]
    means = [one for one in found if one["benchmark"] == "mean of benchmarks"]
    assert [(one["params"], one["decision_accuracy"]) for one in means] == [(16e6, pytest.approx(0.5))]


def test_paired_samples_make_sure_what_standard_errors_leave_open(tmp_path: Path) -> None:
    """A small difference on every item is certain when items are paired, and a toss-up when they are not."""
    difficulty = np.random.default_rng(0).gamma(2.0, 1.0, 60)
    items = {"a": difficulty, "b": difficulty + 0.01}
    rows = [row(run, float(own.mean()), stderr=0.2) for run, own in items.items()]
    path = table(tmp_path / "scores.csv", rows)
    options: list[str | Path] = []
    for run, own in items.items():
        folder = tmp_path / run
        samples(folder / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": own.tolist()})
        options += ["--samples", f"{run}={folder}"]
    paired, unpaired = as_json("rank", path, *options), as_json("rank", path)
    assert paired["rankings"][0]["candidates"][0]["better_than_next"] == 1.0
    assert unpaired["rankings"][0]["candidates"][0]["better_than_next"] < 0.6
    assert "the same draw for all candidates" in paired["rankings"][0]["method"]
    assert not any("independent" in note for note in paired["notes"])


def test_samples_are_told_apart_by_size(tmp_path: Path) -> None:
    """Where a run has several sizes, RUN@PARAMS:TOKENS says which the file is of; RUN alone is an error."""
    rows = [row(run, 1.0, size=size) for run in ("a", "b") for size in (SMALL, LARGE)]
    path = table(tmp_path / "scores.csv", rows)
    file = samples(tmp_path / "any.jsonl", {"rbridge_nll": [0.5, 1.5] * 3})
    with pytest.raises(RBridgeError, match="run 'a' was scored at several sizes"):
        invoke("rank", path, "--samples", f"a={file}")
    options = [part for run in ("a", "b") for part in ("--samples", f"{run}@98M:9.8B={file}")]
    methods = [group["method"] for group in as_json("rank", path, *options)["rankings"]]
    assert "independent" in methods[0]
    assert "the same draw" in methods[1]
    assert as_json("rank", path, "--at", "98M:9.8B", *[o.replace("@98M:9.8B", "") for o in options])["rankings"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("web", "is not RUN=PATH"),
        ("none={file}", "no such run is scored; runs are books, code, web, wiki"),
        ("web@1B:1B={file}", "the run has no score at that size"),
        ("web@16M:1.6B={file}", "but the score table has 1.2 for web at 16M params"),
        ("web@16M:1.6B={fitting}", "3 of 4 candidates of gsm8k at 16M params, 1.6B tokens have no --samples"),
        ("web@16M:1.6B={other}", "holds no samples of gsm8k"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, scores: Path, option: str, message: str) -> None:
    """A wrong name, size or file is an error, never an interval of something else."""
    file = samples(tmp_path / "file.jsonl", {"rbridge_nll": [1.0]})
    fitting = samples(tmp_path / "fitting.jsonl", {"rbridge_nll": [1.1, 1.3]})
    other = samples(tmp_path / "samples_csqa_2026-01-01.jsonl", {"rbridge_nll": [1.0]})
    with pytest.raises(RBridgeError, match=message):
        invoke("rank", scores, "--samples", option.format(file=file, fitting=fitting, other=other))


def test_without_standard_errors_there_is_an_order_and_no_interval(tmp_path: Path) -> None:
    """Missing is missing: the order stands, intervals are null, and the note counts."""
    path = table(tmp_path / "scores.csv", [row("a", 1.0), row("b", 2.0, stderr=None)])
    found = as_json("rank", path)
    assert found["rankings"][0]["candidates"][0]["value_interval"] == [None, None]
    assert found["rankings"][0]["candidates"][0]["better_than_next"] is None
    assert any("1 of 1 sizes have candidates without a standard error" in note for note in found["notes"])
    plot = tmp_path / "ranks.svg"
    assert "P(better than next)" not in invoke("rank", path, "--plot", plot).stdout
    assert "rbridge_nll (nats per token)" in plot.read_text()


def test_what_has_no_target_is_left_out_and_counted(scores: Path, tmp_path: Path) -> None:
    """A run without a target takes no part in agreement, and is named."""
    truth = table(
        tmp_path / "targets.csv", [row(run, v, metric="acc") for run, v in zip(RUNS[:3], ACCURACY, strict=False)]
    )
    found = as_json("rank", scores, "--target", truth)
    assert {one["candidates"] for one in found["agreement"]} == {3}
    assert "1 run without a target of gsm8k left out, such as wiki" in found["notes"]


def test_the_first_target_metric_that_a_benchmark_has(tmp_path: Path) -> None:
    """Benchmarks are measured by different accuracies; each takes the first of those named."""
    rows = [row(run, nll, benchmark=name) for name in ("gsm8k", "csqa") for run, nll in zip(RUNS, NLL, strict=True)]
    truth = [row(run, v, metric="acc", benchmark="csqa") for run, v in zip(RUNS, ACCURACY, strict=True)]
    truth += [row(run, v, metric="exact_match,strict-match") for run, v in zip(RUNS, ACCURACY, strict=True)]
    truth += [row(run, v, metric="acc") for run, v in zip(RUNS, reversed(ACCURACY), strict=True)]
    metrics = ("--target-metric", "exact_match,strict-match", "--target-metric", "acc")
    found = as_json(
        "rank", table(tmp_path / "s.csv", rows), "--target", table(tmp_path / "t.csv", truth), *metrics
    )["agreement"]  # fmt: skip
    accuracies = {one["benchmark"]: one["decision_accuracy"] for one in found}
    assert (accuracies["gsm8k"], accuracies["csqa"]) == (pytest.approx(5 / 6), pytest.approx(5 / 6))


def test_targets_of_another_benchmark_are_refused(scores: Path, tmp_path: Path) -> None:
    """Nothing is compared across benchmarks; the error names both and the way out."""
    truth = table(tmp_path / "targets.csv", [row(run, 0.1, metric="acc", benchmark="squad") for run in RUNS])
    with pytest.raises(RBridgeError, match=r"the targets are of squad, the scores of gsm8k; .*--rename TASK=BENCHMARK"):
        invoke("rank", scores, "--target", truth)


def test_targets_at_several_sizes_have_to_be_chosen(scores: Path, tmp_path: Path) -> None:
    """Which target is meant is not guessed; --target-at says."""
    rows = [row(run, v, metric="acc", size=TARGET) for run, v in zip(RUNS, ACCURACY, strict=True)]
    rows += [row(run, v, metric="acc", size=LARGE) for run, v in zip(RUNS, NLL, strict=True)]
    truth = table(tmp_path / "targets.csv", rows)
    with pytest.raises(RBridgeError, match=r"several target scores of gsm8k acc; the sizes are 98M:9.8B, 1.2B:98B"):
        invoke("rank", scores, "--target", truth)
    found = as_json("rank", scores, "--target", truth, "--target-at", "1.2B:98B")["agreement"]
    assert found[0]["decision_accuracy"] == pytest.approx(5 / 6)
    with pytest.raises(RBridgeError, match="no target acc at 7B:1T"):
        invoke("rank", scores, "--target", truth, "--target-at", "7B:1T")


def test_fractions_and_percent_are_not_mixed(tmp_path: Path) -> None:
    """0.61 beside 58: one of the two is in another unit."""
    path = table(tmp_path / "scores.csv", [row("a", 0.61, metric="acc"), row("b", 58.0, metric="acc")])
    with pytest.raises(RBridgeError, match=r"mixes fractions and per cent: 0.61 beside 58"):
        invoke("rank", path, "--metric", "acc")


def test_one_run_twice_at_a_size_is_refused(tmp_path: Path) -> None:
    """Two checkpoints that claim the same run and size leave open which to rank."""
    path = table(tmp_path / "scores.csv", [row("a", 1.0), row("a", 1.1) | {"model": "again"}, row("b", 2.0)])
    with pytest.raises(RBridgeError, match="run 'a' has several rbridge_nll of gsm8k"):
        invoke("rank", path)


def test_unknown_sizes_are_ranked_and_off_the_frontier(tmp_path: Path, targets: Path) -> None:
    """A table without params can be ranked; its compute is unknown, not zero."""
    path = table(tmp_path / "scores.csv", [row(r, v, size=(None, None)) for r, v in zip(RUNS, NLL, strict=True)])
    found = as_json("rank", path, "--target", targets)
    assert found["agreement"][0]["flops"] is None
    assert not found["agreement"][0]["on_frontier"]
    assert any("1 size of unknown compute" in note for note in found["notes"])
    with pytest.raises(RBridgeError, match="compute is unknown at every size"):
        invoke("rank", path, "--target", targets, "--frontier-plot", tmp_path / "frontier.svg")


def test_untrained_checkpoints_and_lone_candidates_are_counted(tmp_path: Path) -> None:
    """Step 0 is left out; a size with one candidate is said to have nothing to rank."""
    path = table(tmp_path / "scores.csv", [row("a", 9.0, size=(16e6, 0.0)), row("a", 1.0), row("b", 2.0, size=LARGE)])
    notes = as_json("rank", path)["notes"]
    assert any("1 score of rbridge_nll at 0 tokens left out" in note for note in notes)
    assert any("2 of 2 sizes have a single candidate" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metric", "trace_nll"), "no scores of the metric trace_nll; there are acc, rbridge_nll"),
        (("--benchmark", "csqa"), "no rbridge_nll of csqa; it is there for gsm8k"),
        (("--at", "7B:1T"), "no rbridge_nll at 7B:1T; the sizes are 16M:1.6B, 98M:9.8B"),
        (("--at", "7B"), "'7B' is no size"),
        (("--plot", "ranks.pdf"), "suffix '.pdf'"),
    ],
)
def test_what_is_not_there_is_named(scores: Path, options: tuple[str, ...], message: str) -> None:
    """An error says what there is instead."""
    with pytest.raises(RBridgeError, match=message):
        invoke("rank", scores, *options)


def test_comparisons_need_a_target(scores: Path) -> None:
    """Savings and frontiers are about agreement with a target."""
    with pytest.raises(RBridgeError, match="give --target TABLE"):
        invoke("rank", scores, "--against", "acc")


def test_a_metric_is_not_compared_with_itself(scores: Path, targets: Path) -> None:
    """Naming one metric twice, in whatever way, is a slip and not a saving of 1."""
    with pytest.raises(RBridgeError, match="name one metric twice"):
        invoke("rank", scores, "--target", targets, "--against", "rbridge_nll:lower")


def test_runs_have_to_go_by_one_name(scores: Path, tmp_path: Path) -> None:
    """No shared run is an error that shows the names."""
    truth = table(tmp_path / "targets.csv", [row("dclm", 0.1, metric="acc"), row("c4", 0.2, metric="acc")])
    with pytest.raises(RBridgeError, match="targets of the runs c4, dclm: name runs alike"):
        invoke("rank", scores, "--target", truth)


def test_a_seed_makes_it_repeatable(scores: Path, targets: Path) -> None:
    """The same seed prints the same bytes, another seed other intervals."""
    arguments = ("rank", scores, "--target", targets, "--json", "--resamples", "500")
    first, again, other = (invoke(*arguments, "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert first == again
    assert json.loads(first)["rankings"] != json.loads(other)["rankings"]


def test_the_table_is_for_people(scores: Path, targets: Path) -> None:
    """Best first, the largest size unless all are asked for, agreement and savings below."""
    result = invoke("rank", scores, "--target", targets, "--against", "acc")
    assert result.stdout.index("books") < result.stdout.index("wiki") < result.stdout.index("code")
    assert "98M params" in result.stdout
    assert "16M params" not in result.stdout
    assert "1 smaller size not shown; --all prints them" in result.stderr
    assert "16M params" in invoke("rank", scores, "--all").stdout
    assert "0.833 (" in result.stdout
    assert "Compute at equal decision accuracy" in result.stdout


def test_figures_are_drawn(scores: Path, targets: Path, tmp_path: Path) -> None:
    """Ranks and frontier as SVG whose text can be read: axes have units, lines have names."""
    ranks, frontier = tmp_path / "ranks.svg", tmp_path / "frontier.svg"
    arguments = ("rank", scores, "--target", targets, "--against", "acc", "--plot", ranks, "--frontier-plot", frontier)
    invoke(*arguments)
    drawn = ranks.read_text()
    for text in ("rbridge_nll (nats per token), lower is better", "books", "rank, with 90 % interval"):
        assert text in drawn
    drawn = frontier.read_text()
    for text in ("training compute of one candidate (FLOPs)", "decision accuracy (% of pairs)", "acc, frontier"):
        assert text in drawn
    before = ranks.read_bytes(), frontier.read_bytes()
    invoke(*arguments)
    assert (ranks.read_bytes(), frontier.read_bytes()) == before


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_items_give_no_intervals(tmp_path: Path, count: int) -> None:
    """Resamples of fewer than five items repeat the same draws, and would look certain."""
    path = table(tmp_path / "scores.csv", [row("a", 1.0, stderr=None), row("b", 2.0, stderr=None)])
    files = [samples(tmp_path / f"{run}.jsonl", {"rbridge_nll": [v] * count}) for run, v in (("a", 1.0), ("b", 2.0))]
    found = as_json("rank", path, "--samples", f"a={files[0]}", "--samples", f"b={files[1]}")
    assert [one["run"] for one in found["rankings"][0]["candidates"]] == ["a", "b"]
    few = any("fewer than 5 items" in note for note in found["notes"])
    assert few == (count < 5)
    assert ("the same draw" in found["rankings"][0]["method"]) == (count == 5)
