"""``rank`` on small tables: orders, intervals, agreement with a target, savings, notes and errors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError
from rbridge_tasks.decisions.rank import Ranking, rank

from ..tables.made_scores import LARGE, SMALL, TARGET, row, samples
from .test_noise import candidates
from .test_noise import targets as truths

RUNS = ("web", "books", "code", "wiki")
NLL = (1.2, 1.0, 1.3, 1.1)
ACCURACY = (0.35, 0.40, 0.20, 0.30)


def rows(values: tuple[float, ...], **columns: Any) -> pd.DataFrame:
    """A score of each run."""
    return pd.DataFrame([row(run, value, **columns) for run, value in zip(RUNS, values, strict=True)])


#: Four candidates at two sizes; their accuracy orders most pairs wrongly at the small size.
SCORES = pd.concat(
    [
        rows(NLL),
        rows(tuple(value - 0.3 for value in NLL), size=LARGE),
        rows((0.1, 0.1, 0.2, 0.3), metric="acc"),
        rows((0.3, 0.4, 0.1, 0.2), metric="acc", size=LARGE),
    ]
)
TARGETS = rows(ACCURACY, size=TARGET, metric="acc")


def runs(ranking: Ranking, size: int = 0) -> list[str]:
    """The runs of one size, best first."""
    return [candidate.run for candidate in ranking.sizes[size].rows]


def test_candidates_come_best_first() -> None:
    """The lowest NLL is first; intervals contain the score; the last candidate has no next one."""
    ranking = rank(SCORES)
    assert [size.candidates.params for size in ranking.sizes] == [16e6, 98e6]
    candidates = ranking.sizes[0].rows
    assert runs(ranking) == ["books", "wiki", "web", "code"]
    assert [candidate.rank for candidate in candidates] == [1, 2, 3, 4]
    for candidate in candidates:
        assert candidate.value_interval[0] < candidate.value < candidate.value_interval[1]
        assert candidate.rank_interval == (candidate.rank, candidate.rank)  # 0.1 apart, standard errors of 0.01
    assert [candidate.better_than_next for candidate in candidates[:3]] == [1.0, 1.0, 1.0]
    assert math.isnan(candidates[3].better_than_next)
    assert "independent" in ranking.sizes[0].method


def test_the_largest_size_is_one_of_known_compute() -> None:
    """Candidates of unknown size count as the largest only if a benchmark has no others."""
    unknown = rows(NLL).assign(params=math.nan)
    (largest,) = rank(pd.concat([SCORES, unknown])).largest
    assert largest.candidates.params == 98e6
    (largest,) = rank(unknown).largest
    assert math.isnan(largest.candidates.params)


def test_a_ranking_as_table_html_json_and_figures(tmp_path: Path) -> None:
    """The table has one row per candidate; missing values are null in JSON."""
    ranking = rank(SCORES, target=TARGETS)
    frame = ranking.to_frame()
    assert frame["run"].tolist()[:4] == runs(ranking)
    assert set(frame) >= {"benchmark", "params", "tokens", "rank", "value", "value_low", "rank_high"}
    assert len(ranking.agreement_frame()) == 2
    assert "books" in ranking._repr_html_()
    assert ranking.to_dict()["rankings"][0]["candidates"][3]["better_than_next"] is None
    ranking.plot(tmp_path / "ranks.svg")
    assert "books" in (tmp_path / "ranks.svg").read_text()
    assert len(ranking.plot_frontier().axes) == 1
    with pytest.raises(RBridgeError, match="target"):
        rank(SCORES).plot_frontier()


def test_the_direction_can_be_given() -> None:
    """It is known by name or given by an argument; if unknown, the error says how to give it."""
    assert runs(rank(SCORES, lower_is_better=False)) == ["code", "web", "wiki", "books"]
    unknown = pd.DataFrame([row("a", 1.0, metric="surprise"), row("b", 2.0, metric="surprise")])
    with pytest.raises(RBridgeError, match=r"surprise:lower or surprise:higher.*--lower-is-better"):
        rank(unknown, metric="surprise")
    assert runs(rank(unknown, metric="surprise:higher")) == ["b", "a"]
    assert runs(rank(unknown, metric="surprise", lower_is_better=False)) == ["b", "a"]


def test_agreement_by_hand() -> None:
    """NLL orders web and wiki wrongly: 5 of 6 pairs right, tau 4/6, rho 0.8. Small-size accuracy ties one pair."""
    ranking = rank(SCORES, target=TARGETS, against="acc")
    points = {(point.metric, point.params): point for point in ranking.agreement}
    nll = points["rbridge_nll", 16e6]
    expected = {"decision_accuracy": 5 / 6, "kendall_tau_b": 4 / 6, "spearman": 0.8}
    assert nll.value == pytest.approx(expected)
    assert nll.flops == pytest.approx(1.536e17)
    assert nll.on_frontier
    assert not points["rbridge_nll", 98e6].on_frontier
    tied = points["acc", 16e6]
    assert tied.pairs == (1, 4, 1, 0)
    assert tied.value["decision_accuracy"] == pytest.approx(1.5 / 6)
    notes = " ".join(ranking.notes)
    assert "1 tied in the proxy alone count half" in notes
    assert "wrong way more often than not at 1 size" in notes


def test_savings_at_equal_decision_accuracy() -> None:
    """NLL reaches 5/6 at the small size; accuracy reaches it between its sizes, interpolated in log compute."""
    saved = rank(SCORES, target=TARGETS, against="acc").savings["gsm8k"]
    small, large = 6 * 16e6 * 1.6e9, 6 * 98e6 * 9.8e9
    share = (5 / 6 - 1.5 / 6) / (1 - 1.5 / 6)
    assert saved.cost == pytest.approx([small])
    assert saved.other_cost == pytest.approx([small * (large / small) ** share])
    assert saved.ratio == pytest.approx([(large / small) ** share])


def test_several_benchmarks_have_a_mean() -> None:
    """Each benchmark counts once in the mean, at sizes that all of them have."""
    reversed_order = tuple(-value for value in NLL)
    table = pd.concat([rows(NLL), rows(reversed_order, benchmark="csqa"), rows(NLL, size=LARGE)])
    targets = pd.concat([TARGETS, TARGETS.assign(benchmark="csqa")])
    means = [point for point in rank(table, target=targets).agreement if point.benchmark == "mean of benchmarks"]
    assert [(point.params, point.value["decision_accuracy"]) for point in means] == [(16e6, pytest.approx(0.5))]


def test_paired_samples_resolve_small_differences(tmp_path: Path) -> None:
    """A small difference on every item is certain with paired items and undecided without; names may contain =."""
    difficulty = np.random.default_rng(0).gamma(2.0, 1.0, 60)
    items = {"a": difficulty, "lr=1e-3": difficulty + 0.01}
    table = pd.DataFrame([row(run, float(values.mean()), stderr=0.2) for run, values in items.items()])
    folders = {}
    for run, values in items.items():
        folders[run] = tmp_path / run
        samples(folders[run] / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": values.tolist()})
    paired, unpaired = rank(table, samples=folders), rank(table)
    assert paired.sizes[0].rows[0].better_than_next == 1.0
    assert unpaired.sizes[0].rows[0].better_than_next < 0.6
    assert "the same draw for all candidates" in paired.sizes[0].method
    assert not any("independent" in note for note in paired.notes)
    for size in ("", "@16M:1.6B"):
        texts = [f"{run}{size}={path}" for run, path in folders.items()]
        assert rank(table, samples=texts).to_dict() == paired.to_dict()


def test_samples_name_their_size(tmp_path: Path) -> None:
    """For a run of several sizes RUN@PARAMS:TOKENS names the size of a file; RUN alone is an error."""
    table = pd.DataFrame([row(run, 1.0, size=size) for run in ("a", "b") for size in (SMALL, LARGE)])
    file = samples(tmp_path / "any.jsonl", {"rbridge_nll": [0.5, 1.5] * 3})
    with pytest.raises(RBridgeError, match="run 'a' was scored at several sizes"):
        rank(table, samples={"a": file})
    small, large = rank(table, samples={"a@98M:9.8B": file, "b@98M:9.8B": file}).sizes
    assert "independent" in small.method
    assert "the same draw" in large.method
    assert "the same draw" in rank(table, at="98M:9.8B", samples={"a": file, "b": file}).sizes[0].method


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("web", "'web' is not RUN=PATH"),
        ("none={file}", "'none'.*runs are books, code, web, wiki"),
        ("web@1B:1B={file}", "'web@1B:1B'"),
        ("web@16M:1.6B={file}", "the score table has 1.2 for web at 16M params"),
        ("web@16M:1.6B={fitting}", "3 of 4 candidates of gsm8k at 16M params, 1.6B tokens have no --samples"),
        ("web@16M:1.6B={csqa}", "no samples of gsm8k"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, option: str, message: str) -> None:
    """A wrong name, size or file is an error."""
    file = samples(tmp_path / "file.jsonl", {"rbridge_nll": [1.0]})
    fitting = samples(tmp_path / "fitting.jsonl", {"rbridge_nll": [1.1, 1.3]})
    csqa = samples(tmp_path / "samples_csqa_2026-01-01.jsonl", {"rbridge_nll": [1.0]})
    with pytest.raises(RBridgeError, match=message):
        rank(SCORES, samples=[option.format(file=file, fitting=fitting, csqa=csqa)])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_items_give_no_intervals(tmp_path: Path, count: int) -> None:
    """Resamples of fewer than five items repeat the same draws."""
    table = pd.DataFrame([row("a", 1.0, stderr=None), row("b", 2.0, stderr=None)])
    files = {
        run: samples(tmp_path / f"{run}.jsonl", {"rbridge_nll": [v] * count}) for run, v in (("a", 1.0), ("b", 2.0))
    }
    ranking = rank(table, samples=files)
    assert runs(ranking) == ["a", "b"]
    assert any("fewer than 5 items" in note for note in ranking.notes) == (count < 5)
    assert ("the same draw" in ranking.sizes[0].method) == (count == 5)


def test_without_standard_errors_there_is_an_order_and_no_interval() -> None:
    """Candidates are ordered, intervals are missing, and a note counts the sizes."""
    ranking = rank(pd.DataFrame([row("a", 1.0), row("b", 2.0, stderr=None)]))
    best = ranking.to_dict()["rankings"][0]["candidates"][0]
    assert best["value_interval"] == [None, None]
    assert best["better_than_next"] is None
    assert any("1 of 1 sizes have candidates without a standard error" in note for note in ranking.notes)


def test_runs_without_a_target_are_left_out_and_counted() -> None:
    """A run without a target is named and left out of agreement; without any shared run there is an error."""
    ranking = rank(SCORES, target=TARGETS[:3])
    assert {point.candidates for point in ranking.agreement} == {3}
    assert "1 run without a target of gsm8k left out, such as wiki" in ranking.notes
    with pytest.raises(RBridgeError, match="runs c4, dclm"):
        rank(SCORES, target=pd.DataFrame([row("dclm", 0.1, metric="acc"), row("c4", 0.2, metric="acc")]))


def test_the_first_target_metric_that_a_benchmark_has() -> None:
    """Each benchmark takes the first of the target metrics that it has."""
    table = pd.concat([rows(NLL), rows(NLL, benchmark="csqa")])
    strict = rows(ACCURACY, metric="exact_match,strict-match")
    targets = pd.concat([rows(ACCURACY, metric="acc", benchmark="csqa"), strict, rows(NLL, metric="acc")])
    ranking = rank(table, target=targets, target_metric=["exact_match,strict-match", "acc"])
    assert [point.value["decision_accuracy"] for point in ranking.agreement] == pytest.approx([5 / 6] * 3)


def test_targets_at_several_sizes_need_a_choice() -> None:
    """An argument names the target size."""
    targets = pd.concat([TARGETS, rows(NLL, metric="acc", size=LARGE)])
    with pytest.raises(RBridgeError, match=r"98M:9.8B, 1.2B:98B.*--target-at"):
        rank(SCORES, target=targets)
    ranking = rank(SCORES, target=targets, target_at="1.2B:98B")
    assert ranking.agreement[0].value["decision_accuracy"] == pytest.approx(5 / 6)
    with pytest.raises(RBridgeError, match="no target acc at 7B:1T"):
        rank(SCORES, target=targets, target_at="7B:1T")


def test_unknown_sizes_are_ranked_and_off_the_frontier() -> None:
    """A table without params can be ranked; its compute is unknown, not zero."""
    ranking = rank(rows(NLL, size=(None, None)), target=TARGETS)
    assert math.isnan(ranking.agreement[0].flops)
    assert not ranking.agreement[0].on_frontier
    assert any("1 size of unknown compute" in note for note in ranking.notes)
    with pytest.raises(RBridgeError, match="compute is unknown at every size"):
        ranking.plot_frontier()


def test_untrained_checkpoints_and_lone_candidates_are_counted() -> None:
    """Checkpoints at 0 tokens are left out; sizes with one candidate are counted."""
    table = pd.DataFrame([row("a", 9.0, size=(16e6, 0.0)), row("a", 1.0), row("b", 2.0, size=LARGE)])
    notes = " ".join(rank(table).notes)
    assert "1 score of rbridge_nll at 0 tokens left out" in notes
    assert "2 of 2 sizes have a single candidate" in notes


TWICE = pd.DataFrame([row("a", 1.0), row("a", 1.1) | {"model": "again"}, row("b", 2.0)])
MIXED = pd.DataFrame([row("a", 0.61, metric="acc"), row("b", 58.0, metric="acc")])


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (SCORES, {"metric": "trace_nll"}, "metric trace_nll"),
        (SCORES, {"benchmarks": ["csqa"]}, "benchmark csqa"),
        (SCORES, {"at": "7B:1T"}, "7B:1T; the sizes are 16M:1.6B, 98M:9.8B"),
        (SCORES, {"at": "7B"}, "'7B' is no size"),
        (SCORES, {"against": "acc"}, "--target"),
        (SCORES, {"target": TARGETS, "against": "rbridge_nll:lower"}, "rbridge_nll, rbridge_nll"),
        (SCORES, {"target": TARGETS.assign(benchmark="squad")}, "squad, the scores of gsm8k;.*--rename"),
        (TWICE, {}, "run 'a' has several rbridge_nll of gsm8k"),
        (MIXED, {"metric": "acc"}, "0.61 beside 58"),
    ],
)
def test_bad_input_is_one_clear_line(table: pd.DataFrame, arguments: dict[str, Any], message: str) -> None:
    """An error names the offending value, and what the table has."""
    with pytest.raises(RBridgeError, match=message) as caught:
        rank(table, **arguments)
    assert "\n" not in str(caught.value)


def test_a_seed_makes_it_repeatable() -> None:
    """The same seed gives the same result; another seed gives other intervals."""
    first, repeated, reseeded = (rank(SCORES, resamples=500, seed=seed).to_dict() for seed in (1, 1, 2))
    assert first == repeated
    assert first["rankings"] != reseeded["rankings"]


def test_a_ranking_without_errors_resamples_candidates() -> None:
    """Agreement with the target has intervals over candidates; runs without a target share one note."""
    table = candidates()
    last = table[table["tokens"] == 12e9]
    both = pd.concat([last, last.assign(benchmark="csqa")])
    truth = pd.concat([truths(), truths().assign(benchmark="csqa")])
    ranking = rank(both, target=truth[truth["run"] != "mix0"])
    for point in ranking.agreement:
        assert point.over == "candidates"
        assert point.low["decision_accuracy"] <= point.value["decision_accuracy"] <= point.high["decision_accuracy"]
    lines = [text for text in ranking.notes if "without a target" in text]
    assert lines == ["1 run without a target of csqa, gsm8k left out, such as mix0"]


def test_a_single_resample_says_nothing_of_the_share_of_noise() -> None:
    """The variance over resamples is unknown with one of them; numpy's warning would fail this test."""
    ranking = rank(candidates().assign(stderr=0.01), average_last=3, resamples=1)
    assert all(math.isnan(size.noise_share) for size in ranking.sizes)
