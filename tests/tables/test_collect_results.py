"""Results of lm-eval as one table: layouts, groups, tasks, replaced results, and damaged files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbridge_tasks.tables.collect import collect
from rbridge_tasks.tables.lm_eval_results import ResultsError
from rbridge_tasks.tables.names import UnknownNameError
from rbridge_tasks.tables.rows import CollectError
from rbridge_tasks.tables.score_table import read_scores, write_scores

from ..harness.lm_eval_files import early, flat, modern, rbridge, write_json
from ..metrics.strategies import cases
from .collected_rows import DATED, kinds, note, rows


def test_the_layout_of_today(tmp_path: Path) -> None:
    """Filters other than none are part of the metric's name; names, aliases and lengths are not metrics."""
    scores: dict[str, dict[str, object]] = {
        "gsm8k": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.02},
        "arc_easy": {"acc,none": 0.5, "acc_stderr,none": "N/A", "acc_norm,none": 0.75, "acc_norm_stderr,none": 0.01},
    }
    path = write_json(tmp_path / DATED, modern("EleutherAI/pythia-160m", scores, revision="step1000"))
    collected = collect([path])
    assert rows(collected) == [
        ("arc_easy", "acc", 0.5, None, 50),
        ("arc_easy", "acc_norm", 0.75, 0.01, 50),
        ("gsm8k", "exact_match,strict-match", 0.25, 0.02, 50),
    ]
    assert set(collected.table["run"]) == {"pythia"}
    assert set(collected.table["model"]) == {"EleutherAI/pythia-160m@step1000"}
    assert set(collected.table["params"]) == {160e6}
    assert set(collected.table["tokens"]) == {2_097_152_000}
    assert collected.notes == []


def test_the_first_layout_of_0_4(tmp_path: Path) -> None:
    """Arguments as text with commas in values, a group among the tasks, blank keys, and no item counts."""
    results: dict[str, dict[str, object]] = {
        "mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.1, "samples": 14042, "alias": "mmlu"},
        "mmlu_law": {" ": " ", "alias": " - law", "acc,none": 0.2, "acc_stderr,none": None},
    }
    arguments = "pretrained=allenai/OLMo-1B-hf,revision=step1000-tokens4B,max_memory={0:1,1:2},dtype=float32"
    collected = collect([write_json(tmp_path / "results.json", early(arguments, results))])
    assert rows(collected) == [("mmlu", "acc", 0.3, 0.1, None), ("mmlu_law", "acc", 0.2, None, None)]
    assert set(collected.table["model"]) == {"allenai/OLMo-1B-hf@step1000-tokens4B"}
    assert set(collected.table["tokens"]) == {4e9}


def test_the_flat_layout_before_0_4(tmp_path: Path) -> None:
    """Metrics without filters, each with its standard error in the next field."""
    results: dict[str, dict[str, object]] = {
        "lambada": {"ppl": 29.1, "ppl_stderr": 1.0, "acc": 0.37},
        "piqa": {"acc": 0.6, "acc_stderr": 0.01},
    }
    data = flat("pretrained=EleutherAI/pythia-160m,revision=step3000", results)
    collected = collect([write_json(tmp_path / "160m_step3000.json", data)])
    assert rows(collected) == [
        ("lambada", "acc", 0.37, None, None),
        ("lambada", "ppl", 29.1, 1.0, None),
        ("piqa", "acc", 0.6, 0.01, None),
    ]
    assert set(collected.table["tokens"]) == {3000 * 2_097_152}


def test_groups_are_rows_once_with_the_items_of_their_tasks(tmp_path: Path) -> None:
    """A group's mean is a benchmark of its name, whether lm-eval writes it beside the tasks, among them or both."""
    group = {"acc,none": 0.4, "acc_stderr,none": 0.05, "alias": "both"}
    data = modern("m-1b", {"a": {"acc,none": 0.2}, "b": {"acc,none": 0.6}}, group_subtasks={"both": ["a", "inner"]})
    data["group_subtasks"]["inner"] = ["b"]
    beside, among = tmp_path / "1" / DATED, tmp_path / "2" / DATED
    write_json(beside, data | {"groups": {"both": group}})
    write_json(among, data | {"groups": {"both": group}, "results": data["results"] | {"both": group}})
    expected = [("a", "acc", 0.2, None, 50), ("b", "acc", 0.6, None, 50), ("both", "acc", 0.4, 0.05, 100)]
    assert rows(collect([beside])) == rows(collect([among])) == expected
    counted = data | {"groups": {"both": group | {"sample_count": {"acc,none": 70}}}}
    assert rows(collect([write_json(tmp_path / "3" / DATED, counted)]))[-1][-1] == 70


def test_rbridge_tasks_are_named_by_their_benchmark(tmp_path: Path) -> None:
    """Proxy score and target accuracy of a benchmark have one name; the group has another."""
    group = {"rbridge_nll,none": 0.5}
    data = rbridge("m-1b", 0.7) | {"groups": {"rbridge": group}, "group_subtasks": {"rbridge": ["rbridge_gsm8k"]}}
    write_json(tmp_path / "1" / DATED, data)
    write_json(tmp_path / "2" / DATED, modern("m-13b", {"gsm8k": {"exact_match,flexible": 0.3}, "csqa2": {"acc": 1}}))
    collected = collect([tmp_path])
    assert {(b, m) for b, m, *_ in rows(collected)} == {
        ("gsm8k", "rbridge_nll"), ("gsm8k", "trace_nll"), ("rbridge", "rbridge_nll"),
        ("gsm8k", "exact_match,flexible"), ("csqa2", "acc"),
    }  # fmt: skip
    assert {*collected.table["run"]} == {"m"}
    renamed = collect([tmp_path], rename={"csqa2": "csqa"}, metrics=["acc", "exact_match"])
    assert {(b, m) for b, m, *_ in rows(renamed)} == {("gsm8k", "exact_match,flexible"), ("csqa", "acc")}


def test_folders_are_searched_and_each_file_is_read_once(tmp_path: Path) -> None:
    """Results at any depth, also of lm_eval --output_path NAME.json; samples and other JSON are ignored."""
    write_json(tmp_path / "a" / "b" / DATED, modern("x-1b", {"t": {"acc,none": 1}}))
    write_json(tmp_path / "step5_2024-05-01T10-00-00.123456.json", modern("x-2b", {"t": {"acc,none": 1}}))
    write_json(tmp_path / "results.json", modern("x-3b", {"t": {"acc,none": 1}}))
    write_json(tmp_path / "package.json", {"name": "other"})
    (tmp_path / "samples_t_2024-05-01T10-00-00.jsonl").write_text("{}")
    collected = collect([tmp_path, tmp_path / "a", tmp_path / "results.json"])
    assert collected.files == len(collected.table) == 3
    assert kinds(collected) == ["tokens unknown"]


def test_the_latest_result_is_used_and_the_others_are_counted(tmp_path: Path) -> None:
    """By lm-eval's date, else by the date in the file's name, in any order of the files."""
    scores = {"t": {"acc,none": 0.1}}
    write_json(tmp_path / "a" / DATED, modern("x-1b/step1-tokens2B", scores, date=1_800_000_000.0))
    write_json(tmp_path / "b" / DATED, modern("x-1b/step1-tokens2B", {"t": {"acc,none": 0.2}}, date=1_700_000_000.0))
    no_date = modern("x-1b/step1-tokens2B", {"t": {"acc,none": 0.3}}, date=None)
    write_json(tmp_path / "c" / "results_2020-01-01T00-00-00.json", no_date)
    for order in (["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"]):
        collected = collect([tmp_path / name for name in order])
        assert [*collected.table["value"]] == [0.1]
        assert note(collected, "replaced").startswith("2 scores replaced by later ones, such as t acc")
    write_json(tmp_path / "c" / "results_2099-01-01T00-00-00.json", no_date)
    assert [*collect([tmp_path]).table["value"]] == [0.3]


def test_results_on_sample_traces_are_left_out_unless_requested(tmp_path: Path) -> None:
    """Scores on the ten sample items, and means of groups that contain them, are in no table by default."""
    data = rbridge("m-1b", 0.7, traces={"sample": True})
    data |= {"groups": {"rbridge": {"rbridge_nll,none": 0.7}}, "group_subtasks": {"rbridge": ["rbridge_gsm8k"]}}
    data["results"]["arc_easy"] = {"acc,none": 0.5}
    write_json(tmp_path / DATED, data)
    collected = collect([tmp_path])
    assert [*collected.table["benchmark"]] == ["arc_easy"]
    assert note(collected, "sample").startswith("3 scores on sample traces left out")
    assert len(collect([tmp_path], include_sample=True).table) == 4
    write_json(tmp_path / DATED, rbridge("m-1b", 0.7, traces={"sample": True}))
    with pytest.raises(CollectError, match="nothing to collect in 1 results file; 2 scores on sample traces"):
        collect([tmp_path])


def test_values_that_are_not_numbers_are_left_out_and_counted(tmp_path: Path) -> None:
    """NaN, infinity and text are not values, nor is the placeholder of --predict_only."""
    entry: dict[str, object] = {
        "acc,none": math.nan,
        "f1,none": math.inf,
        "x,none": "N/A",
        "bypass,none": 999,
        "ok,none": 1,
    }
    collected = collect([write_json(tmp_path / DATED, modern("m-1b", {"t": entry | {"flag,none": True}}))])
    assert rows(collected) == [("t", "ok", 1, None, 50)]
    assert note(collected, "no number").startswith("4 values left out, being no number: t acc is 'nan'")


class TestBadInput:
    """A one-line error for a file, a counted note for a file in a folder."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"results": {"t": {"acc,none": 0.5', "not JSON, or was cut off"),
            ("", "not JSON, or was cut off"),
            ("\x00\x01", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("[1, 2]", "holds a JSON list"),
            ('{"name": "other"}', r"no results \(its keys: name\)"),
            ('{"results": [1]}', "no results"),
            ('{"results": {}}', "nothing to collect"),
            ('{"results": {"t": 5, "u": {"alias": "u"}}}', "nothing to collect"),
        ],
    )
    def test_a_file_that_holds_no_results(self, tmp_path: Path, content: str, message: str) -> None:
        """A file that is cut off, of another program or empty: the message says what is wrong."""
        path = tmp_path / DATED
        path.write_text(content)
        with pytest.raises(ResultsError, match=message) as error:
            collect([path])
        assert "\n" not in str(error.value)

    def test_a_lone_surrogate_does_not_stop_a_table(self, tmp_path: Path) -> None:
        """JSON can hold a lone surrogate and UTF-8 cannot: it is escaped, so that the table can be written."""
        data = modern("m\ud800-1b/step1-tokens2B", {"t": {"acc,none": 1}})
        collected = collect([write_json(tmp_path / DATED, data)])
        for name in ("scores.csv", "scores.parquet"):
            write_scores(collected.table, tmp_path / name)
            assert [*read_scores(tmp_path / name)["run"]] == [r"m\ud800"]

    def test_in_a_folder_a_damaged_file_is_left_out_and_counted(self, tmp_path: Path) -> None:
        """The other files are collected."""
        write_json(tmp_path / "good" / DATED, modern("m-1b", {"t": {"acc,none": 1}}))
        (tmp_path / "results_cut.json").write_text('{"results": {')
        collected = collect([tmp_path])
        assert len(collected.table) == 1
        assert note(collected, "files skipped").startswith("1 file left out: ")
        assert "results_cut.json" in note(collected, "files skipped")

    def test_places_without_results(self, tmp_path: Path) -> None:
        """An empty folder, a name that does not exist, a metric without scores."""
        with pytest.raises(
            CollectError, match=r"no results in .*; give the folder that lm_eval --output_path wrote to"
        ):
            collect([tmp_path])
        with pytest.raises(CollectError, match="there is no file or folder"):
            collect([tmp_path / "nowhere"])
        with pytest.raises(CollectError, match="there is no file or folder"):
            collect([tmp_path / ("x" * 300)])
        write_json(tmp_path / DATED, modern("m-1b", {"t": {"acc,none": 1}}))
        with pytest.raises(UnknownNameError, match=r"acc_norm.*acc"):
            collect([tmp_path], metrics=["acc_norm"])
        assert note(collect([tmp_path], metrics=["acc", "f1"]), "no such metric") == "no score of the metric f1"


values = st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=6)
trees = st.recursive(values, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=3))


def paths_of(tree: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [prefix, *(path for key, value in inside for path in paths_of(value, (*prefix, key)))]


@settings(cases(100), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_gives_a_table_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    """Replacing any value of a file gives a table of finite numbers or a one-line error."""
    tree: Any = json.loads(json.dumps(rbridge("org/m-1b/step1-tokens2B", 0.7, group_subtasks={"g": ["rbridge_gsm8k"]})))
    tree["groups"] = {"g": {"acc,none": 0.5, "sample_count": {"acc,none": 5}}}
    place = data.draw(st.sampled_from(paths_of(tree)[1:]))
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(trees)
    path = write_json(tmp_path / DATED, tree)
    messages = []
    try:
        collected = collect([path])
    except ResultsError as error:
        messages.append(str(error))
    else:
        assert len(collected.table)
        assert collected.table["value"].abs().max() < math.inf
    assert not any("\n" in message for message in messages)
