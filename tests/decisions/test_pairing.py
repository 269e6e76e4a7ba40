"""Pairs from tables and from score tables: joins, units, interpolation, notes and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_tasks.decisions.pairing import PairError, pairs_from_table
from rbridge_tasks.decisions.score_pairs import interpolated, pairs_from_scores, rows_of_model
from rbridge_tasks.tables.names import UnknownNameError
from rbridge_tasks.tables.score_table import checked_scores

from .made_pairs import TOKENS, checkpoints, pairs, scores


def read(frame: pd.DataFrame, **options: Any) -> Any:
    return pairs_from_table(
        frame, "score", "accuracy", **{"group": ["benchmark", "metric"], "order": "tokens", **options}
    )


def joined(frame: pd.DataFrame, **options: Any) -> Any:
    return pairs_from_scores(
        checked_scores(frame), "rbridge_nll", ["acc"], **{"proxy": "1b", "target": "13b", **options}
    )


def test_groups_hold_the_rows_of_their_key() -> None:
    """One group per combination of the columns, in the table's order, with scores, accuracies and tokens."""
    joined_pairs = read(pairs())
    assert [group.key for group in joined_pairs.groups] == [
        {"benchmark": "gsm8k", "metric": "rbridge_nll"},
        {"benchmark": "csqa", "metric": "rbridge_nll"},
    ]
    for seed, group in enumerate(joined_pairs.groups):
        nll, accuracy = checkpoints(seed)
        np.testing.assert_array_equal(group.x, nll)
        np.testing.assert_array_equal(group.y, accuracy)
        np.testing.assert_array_equal(group.order, TOKENS)
    assert joined_pairs.notes == []


def test_rows_with_missing_values_are_left_out_and_counted() -> None:
    """A missing score, accuracy or token count drops only its row."""
    frame = pairs()
    frame.loc[0, "score"] = np.nan
    frame.loc[1, "accuracy"] = np.inf
    frame.loc[2, "tokens"] = np.nan
    joined_pairs = read(frame)
    assert len(joined_pairs.groups[0].x) == 9
    assert joined_pairs.notes == ["3 of 24 rows left out: score, accuracy, tokens missing or infinite"]


def test_a_duplicate_checkpoint_is_refused() -> None:
    """Two rows of one group at the same tokens: the message names group and tokens."""
    frame = pd.concat([pairs(), pairs().iloc[[3]]])
    with pytest.raises(PairError, match=r"gsm8k, rbridge_nll has 2 rows at tokens 4e\+11 \(1 such checkpoint\)"):
        read(frame)


def test_without_an_order_only_exact_copies_are_duplicates() -> None:
    """Copies are left out and counted."""
    joined_pairs = read(pd.concat([pairs(), pairs().iloc[:2]]), order=None)
    assert len(joined_pairs.groups[0].x) == 12
    assert joined_pairs.notes == ["gsm8k, rbridge_nll: 2 rows left out as exact copies of others"]


def test_fractions_become_percent_with_a_note() -> None:
    """A column without values above 1 holds fractions, unless its name or the user says otherwise."""
    frame = pairs()
    plain = read(frame)
    frame["accuracy"] /= 100.0
    joined_pairs = read(frame)
    np.testing.assert_allclose(joined_pairs.groups[0].y, plain.groups[0].y)
    assert "taken as fractions" in joined_pairs.notes[0]
    np.testing.assert_allclose(read(frame, unit="percent").groups[0].y, plain.groups[0].y / 100.0)
    assert read(frame, unit="fraction").notes == []
    named = pairs_from_table(frame.rename(columns={"accuracy": "accuracy_pct"}), "score", "accuracy_pct", ["benchmark"])
    np.testing.assert_allclose(named.groups[0].y, plain.groups[0].y / 100.0)
    assert "taken as percent, as its name says" in named.notes[0]


@pytest.mark.parametrize("rows", [[4], [*range(12)]])
def test_percent_and_fractions_in_one_column_are_refused(rows: list[int]) -> None:
    """One fraction in a group, or a group of fractions beside one in percent; the message names the option to use."""
    frame = pairs()
    frame.loc[rows, "accuracy"] /= 100.0
    with pytest.raises(PairError, match=r"seems to mix fractions and percent: 0\.\d+ in gsm8k.*--unit percent"):
        read(frame)
    assert len(read(frame, unit="percent").groups) == 2


def test_low_accuracies_in_percent_are_not_taken_for_fractions() -> None:
    """Accuracies from 0.8 % to 6 % are accepted as percent."""
    frame = pairs()
    frame.loc[:11, "accuracy"] = np.linspace(0.8, 6.0, 12)
    assert read(frame).groups[0].y[0] == 0.8


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"group": ["task"]}, "no column task; it has benchmark, metric, tokens, score, accuracy"),
        ({}, {"order": "score"}, "score is given twice"),
        ({"score": "n/a?"}, {}, "column score holds 'n/a\\?'; expected numbers"),
        ({"accuracy": np.nan}, {}, "no row of 24 has both score and accuracy"),
        ({"accuracy": 140.0}, {}, "24 values of accuracy lie outside 0..100"),
        ({}, {"unit": "permille"}, "expected one of auto, percent, fraction"),
        ({}, {"unit": "fraction"}, "lie outside 0..1"),
    ],
)
def test_a_bad_table_of_pairs_is_refused(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """The message says what was found and what was expected."""
    with pytest.raises(PairError, match=message):
        read(pairs().assign(**change), **options)


def test_a_score_table_is_joined_on_run_and_tokens() -> None:
    """Checkpoints of both sizes are joined within each run; accuracies become percent."""
    joined_pairs = joined(scores(runs=("web", "code"), benchmarks=("gsm8k", "csqa")))
    assert [group.key for group in joined_pairs.groups] == [{"benchmark": "gsm8k"}, {"benchmark": "csqa"}]
    group = joined_pairs.groups[0]
    assert group.run == ["web"] * 12 + ["code"] * 12
    np.testing.assert_allclose(group.y, np.concatenate([checkpoints(0)[1], checkpoints(1)[1]]))
    np.testing.assert_array_equal(group.order, np.tile(TOKENS, 2))
    assert not group.interpolated.any()
    assert joined_pairs.source.proxy_params == [1.2e9]
    assert joined_pairs.source.runs == ["code", "web"]


def test_a_sparse_target_gives_its_own_checkpoints_and_measured_accuracies() -> None:
    """Four accuracies give four points at the target's tokens; no accuracy is interpolated."""
    group = joined(scores(target_tokens=TOKENS[2:10:2])).groups[0]
    np.testing.assert_array_equal(group.order, TOKENS[2:10:2])
    np.testing.assert_allclose(group.y, checkpoints(0)[1][2:10:2])
    np.testing.assert_array_equal(group.x, checkpoints(0)[0][2:10:2])
    assert not group.interpolated.any()


def test_the_side_with_more_checkpoints_is_interpolated_and_marked() -> None:
    """Points are at the tokens of the side with fewer checkpoints, proxy or target."""
    between = np.array([2.5, 6.0, 9.25]) * 1e11
    nll, accuracy = checkpoints(0)
    sparse_target = joined(scores(target_tokens=between))
    group = sparse_target.groups[0]
    np.testing.assert_array_equal(group.order, between)
    np.testing.assert_allclose(group.y, np.interp(between, TOKENS, accuracy))
    np.testing.assert_allclose(group.x, np.interp(between, TOKENS, nll))
    assert group.interpolated.tolist() == [True, False, True]
    assert "gsm8k: 2 of 3 scores interpolated in tokens" in sparse_target.notes
    frame = scores(target_tokens=np.linspace(1.05, 11.95, 60) * 1e11)
    frame = frame[(frame["metric"] == "acc") | frame["tokens"].isin(TOKENS[1:11:3])]
    sparse_proxy = joined(frame)
    np.testing.assert_array_equal(sparse_proxy.groups[0].order, TOKENS[1:11:3])
    np.testing.assert_array_equal(sparse_proxy.groups[0].x, nll[1:11:3])
    assert "gsm8k: 4 of 4 accuracies interpolated in tokens" in sparse_proxy.notes


def test_the_method_of_the_paper_interpolates_accuracies_at_every_proxy_checkpoint() -> None:
    """Between two target checkpoints the accuracy is interpolated; outside them proxy scores are left out."""
    joined_pairs = joined(scores(target_tokens=TOKENS[2:10:2]), at_proxy=True)
    group = joined_pairs.groups[0]
    np.testing.assert_array_equal(group.order, TOKENS[2:9])
    assert group.interpolated.tolist() == [False, True, False, True, False, True, False]
    accuracy = checkpoints(0)[1]
    assert group.y[1] == pytest.approx((accuracy[2] + accuracy[4]) / 2)
    assert "gsm8k: 5 scores outside the target's tokens left out" in joined_pairs.notes
    assert "gsm8k: 3 of 7 accuracies interpolated in tokens" in joined_pairs.notes


def test_interpolation_is_scipys() -> None:
    """Equal to SciPy's linear interpolation, in any order of rows."""
    from scipy.interpolate import interp1d

    rng = np.random.default_rng(0)
    at, values = rng.permutation(np.sort(rng.uniform(0, 10, 8))), rng.uniform(0, 1, 8)
    tokens = rng.uniform(-1, 11, 40)
    joined_pairs, between = interpolated(tokens, at, values)
    np.testing.assert_allclose(joined_pairs, interp1d(at, values, bounds_error=False)(tokens))
    assert (between == np.isfinite(joined_pairs)).all()


def test_single_runs_of_different_names_are_joined_with_a_note() -> None:
    """If proxy and target have one run each, they are joined whatever their names."""
    joined_pairs = joined(scores(target_runs=("big",)))
    assert len(joined_pairs.groups[0].y) == 12
    assert joined_pairs.notes[0] == "the runs web and big are joined: their names differ, but each model has only one"


def test_runs_and_benchmarks_without_a_counterpart_are_skipped_and_counted() -> None:
    """Notes name what cannot be joined; the rest is joined."""
    frame = scores(runs=("web", "code"), benchmarks=("gsm8k", "csqa"))
    removed = ((frame["metric"] == "acc") & (frame["benchmark"] == "csqa")) | (
        (frame["metric"] == "acc") & (frame["run"] == "code")
    )
    joined_pairs = joined(frame[~removed])
    assert [group.name for group in joined_pairs.groups] == ["gsm8k"]
    assert joined_pairs.groups[0].run == ["web"] * 12
    assert "1 benchmark of the proxy skipped, the target has none: csqa" in joined_pairs.notes
    assert "gsm8k: 12 scores of runs that the target lacks left out" in joined_pairs.notes


def test_benchmarks_with_the_same_note_share_a_line() -> None:
    """A note that holds for both benchmarks is written once."""
    frame = scores(runs=("web", "code"), benchmarks=("gsm8k", "csqa"))
    frame = frame[(frame["metric"] != "acc") | (frame["run"] != "code")]
    assert joined(frame).notes[0] == "gsm8k, csqa: 12 scores of runs that the target lacks left out"


def test_targets_of_another_benchmark_are_refused() -> None:
    """Without overlap the error says which benchmarks each side has."""
    frame = scores()
    frame.loc[frame["metric"] == "acc", "benchmark"] = "arc_challenge"
    with pytest.raises(PairError, match=r"no score of 1b can be joined .*target has none: gsm8k.*arc_challenge"):
        joined(frame)


def test_last_checkpoints_without_tokens_are_joined_by_run() -> None:
    """Data sets with one score of each size need no token counts."""
    frame = scores(runs=("a", "b", "c", "d"))
    last = frame[frame["tokens"] == TOKENS[-1]].assign(tokens=np.nan)
    group = joined(last).groups[0]
    assert group.run == ["a", "b", "c", "d"]
    assert group.order is None


def test_first_metric_that_a_benchmark_has_is_its_target() -> None:
    """GSM8K has no acc: its target is exact_match, and that of other benchmarks acc."""
    frame = scores(benchmarks=("gsm8k", "csqa"))
    frame.loc[(frame["metric"] == "acc") & (frame["benchmark"] == "gsm8k"), "metric"] = "exact_match,strict-match"
    joined_pairs = pairs_from_scores(
        checked_scores(frame), "rbridge_nll", ["acc", "exact_match,strict-match"], "1b", "13b"
    )
    assert [group.name for group in joined_pairs.groups] == ["gsm8k", "csqa"]


@pytest.mark.parametrize("text", ["1b", "1.2e9", "1200M", "web", "web-1b"])
def test_a_model_is_found_by_size_name_or_run(text: str) -> None:
    """1b means 1.2 billion parameters, the nearest size in the table."""
    table = checked_scores(scores())
    joined_pairs = rows_of_model(table[table["metric"] == "rbridge_nll"], text, "with rbridge_nll")
    assert len(joined_pairs) == 12


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    """The message lists sizes and models; a size equally near to two others is ambiguous."""
    table = checked_scores(scores())
    with pytest.raises(
        PairError, match=r"no model '7b' .*parameters there: 1.2e\+09, 1.37e\+10; models: web-1b, web-13b"
    ):
        rows_of_model(table, "7b", "with rbridge_nll or acc")
    near = table.assign(params=np.where(table["params"] < 2e9, 0.9e9, 1.2e9))
    with pytest.raises(PairError, match=r"1b may be 9e\+08 or 1.2e\+09 parameters"):
        rows_of_model(near, "1b", "with rbridge_nll or acc")


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    """For the proxy and for the target."""
    with pytest.raises(UnknownNameError, match=r"acc_norm.*--target-metric"):
        pairs_from_scores(checked_scores(scores()), "rbridge_nll", ["acc_norm"], "1b", "13b")
    with pytest.raises(UnknownNameError, match=r"trace_nll.*--proxy-metric"):
        pairs_from_scores(checked_scores(scores()), "trace_nll", ["acc"], "1b", "13b")


def test_two_models_of_a_run_at_the_same_tokens_are_refused() -> None:
    """The choice between them would be arbitrary."""
    frame = scores()
    duplicate = frame[(frame["metric"] == "acc") & (frame["tokens"] == TOKENS[3])].assign(model="web-13b-again")
    with pytest.raises(PairError, match=r"the target has several scores of run web at 4e\+11 tokens"):
        joined(pd.concat([frame, duplicate]))
