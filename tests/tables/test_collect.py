"""Results of lm-eval as one table: every layout, what names tell, which result wins, what is said about the rest."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbridge_tasks.tables.collect import Collected, collect
from rbridge_tasks.tables.lm_eval_results import ResultsError
from rbridge_tasks.tables.names import UnknownNameError
from rbridge_tasks.tables.rows import CollectError
from rbridge_tasks.tables.score_table import ScoreTableError, read_scores, write_scores

from ..harness.lm_eval_files import early, flat, modern, rbridge, write_json
from ..metrics.strategies import cases

DATED = "results_2024-05-01T10-00-00.000000.json"


def rows(found: Collected) -> list[tuple[Any, ...]]:
    """Benchmark, metric, value, stderr and n of each row, None for NaN."""
    part = found.table[["benchmark", "metric", "value", "stderr", "n"]].astype(object)
    return [tuple(part.where(part.notna(), None).iloc[i]) for i in range(len(part))]


def note(found: Collected, kind: str) -> str:
    """The text of the one note of a kind."""
    (text,) = (one.text for one in found.notes if one.kind == kind)
    return text


def kinds(found: Collected) -> list[str]:
    return [one.kind for one in found.notes]


def test_the_layout_of_today(tmp_path: Path) -> None:
    """Filters other than none stay in the metric's name; names, aliases and lengths are no metrics."""
    scores: dict[str, dict[str, object]] = {
        "gsm8k": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.02},
        "arc_easy": {"acc,none": 0.5, "acc_stderr,none": "N/A", "acc_norm,none": 0.75, "acc_norm_stderr,none": 0.01},
    }
    path = write_json(tmp_path / DATED, modern("EleutherAI/pythia-160m", scores, revision="step1000"))
    found = collect([path])
    assert rows(found) == [
        ("arc_easy", "acc", 0.5, None, 50),
        ("arc_easy", "acc_norm", 0.75, 0.01, 50),
        ("gsm8k", "exact_match,strict-match", 0.25, 0.02, 50),
    ]
    assert set(found.table["run"]) == {"pythia"}
    assert set(found.table["model"]) == {"EleutherAI/pythia-160m@step1000"}
    assert set(found.table["params"]) == {160e6}
    assert set(found.table["tokens"]) == {2_097_152_000}
    assert found.notes == []


def test_the_first_layout_of_0_4(tmp_path: Path) -> None:
    """Arguments as text with commas in values, a group among the tasks, blank keys, and no sizes."""
    results: dict[str, dict[str, object]] = {
        "mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.1, "samples": 14042, "alias": "mmlu"},
        "mmlu_law": {" ": " ", "alias": " - law", "acc,none": 0.2, "acc_stderr,none": None},
    }
    arguments = "pretrained=allenai/OLMo-1B-hf,revision=step1000-tokens4B,max_memory={0:1,1:2},dtype=float32"
    found = collect([write_json(tmp_path / "results.json", early(arguments, results))])
    assert rows(found) == [("mmlu", "acc", 0.3, 0.1, None), ("mmlu_law", "acc", 0.2, None, None)]
    assert set(found.table["model"]) == {"allenai/OLMo-1B-hf@step1000-tokens4B"}
    assert set(found.table["tokens"]) == {4e9}


def test_the_flat_layout_before_0_4(tmp_path: Path) -> None:
    """Metrics without filters, each with its error beside it."""
    results: dict[str, dict[str, object]] = {
        "lambada": {"ppl": 29.1, "ppl_stderr": 1.0, "acc": 0.37},
        "piqa": {"acc": 0.6, "acc_stderr": 0.01},
    }
    data = flat("pretrained=EleutherAI/pythia-160m,revision=step3000", results)
    found = collect([write_json(tmp_path / "160m_step3000.json", data)])
    assert rows(found) == [
        ("lambada", "acc", 0.37, None, None),
        ("lambada", "ppl", 29.1, 1.0, None),
        ("piqa", "acc", 0.6, 0.01, None),
    ]
    assert set(found.table["tokens"]) == {3000 * 2_097_152}


def test_groups_are_rows_once_with_the_items_of_their_tasks(tmp_path: Path) -> None:
    """A group's mean is a benchmark of its name, whether a version writes it beside the tasks, among them or both."""
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


def test_our_tasks_go_by_their_benchmark(tmp_path: Path) -> None:
    """Proxy score and target accuracy of a benchmark stand under one name; the group keeps its own."""
    group = {"rbridge_nll,none": 0.5}
    data = rbridge("m-1b", 0.7) | {"groups": {"rbridge": group}, "group_subtasks": {"rbridge": ["rbridge_gsm8k"]}}
    write_json(tmp_path / "1" / DATED, data)
    write_json(tmp_path / "2" / DATED, modern("m-13b", {"gsm8k": {"exact_match,flexible": 0.3}, "csqa2": {"acc": 1}}))
    found = collect([tmp_path])
    assert {(b, m) for b, m, *_ in rows(found)} == {
        ("gsm8k", "rbridge_nll"), ("gsm8k", "trace_nll"), ("rbridge", "rbridge_nll"),
        ("gsm8k", "exact_match,flexible"), ("csqa2", "acc"),
    }  # fmt: skip
    assert {*found.table["run"]} == {"m"}
    renamed = collect([tmp_path], rename={"csqa2": "csqa"}, metrics=["acc", "exact_match"])
    assert {(b, m) for b, m, *_ in rows(renamed)} == {("gsm8k", "exact_match,flexible"), ("csqa", "acc")}


def test_folders_are_searched_and_each_file_is_read_once(tmp_path: Path) -> None:
    """Results at any depth, also those of lm_eval --output_path NAME.json; samples and other JSON are left alone."""
    write_json(tmp_path / "a" / "b" / DATED, modern("x-1b", {"t": {"acc,none": 1}}))
    write_json(tmp_path / "step5_2024-05-01T10-00-00.123456.json", modern("x-2b", {"t": {"acc,none": 1}}))
    write_json(tmp_path / "results.json", modern("x-3b", {"t": {"acc,none": 1}}))
    write_json(tmp_path / "package.json", {"name": "other"})
    (tmp_path / "samples_t_2024-05-01T10-00-00.jsonl").write_text("{}")
    found = collect([tmp_path, tmp_path / "a", tmp_path / "results.json"])
    assert found.files == len(found.table) == 3
    assert kinds(found) == ["tokens unknown"]


def test_the_later_result_wins_and_the_count_is_said(tmp_path: Path) -> None:
    """By lm-eval's own date, else the date in the file's name, whatever order the files are found in."""
    scores = {"t": {"acc,none": 0.1}}
    write_json(tmp_path / "a" / DATED, modern("x-1b/step1-tokens2B", scores, date=1_800_000_000.0))
    write_json(tmp_path / "b" / DATED, modern("x-1b/step1-tokens2B", {"t": {"acc,none": 0.2}}, date=1_700_000_000.0))
    no_date = modern("x-1b/step1-tokens2B", {"t": {"acc,none": 0.3}}, date=None)
    write_json(tmp_path / "c" / "results_2020-01-01T00-00-00.json", no_date)
    for order in (["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"]):
        found = collect([tmp_path / name for name in order])
        assert [*found.table["value"]] == [0.1]
        assert note(found, "replaced").startswith("2 scores replaced by later ones, such as t acc")
    write_json(tmp_path / "c" / "results_2099-01-01T00-00-00.json", no_date)
    assert [*collect([tmp_path]).table["value"]] == [0.3]


def test_results_on_sample_traces_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    """A number from ten made-up items gets into no table by accident, nor does the mean of a group with one."""
    data = rbridge("m-1b", 0.7, traces={"sample": True})
    data |= {"groups": {"rbridge": {"rbridge_nll,none": 0.7}}, "group_subtasks": {"rbridge": ["rbridge_gsm8k"]}}
    data["results"]["arc_easy"] = {"acc,none": 0.5}
    write_json(tmp_path / DATED, data)
    found = collect([tmp_path])
    assert [*found.table["benchmark"]] == ["arc_easy"]
    assert note(found, "sample").startswith("3 scores on sample traces left out")
    assert len(collect([tmp_path], include_sample=True).table) == 4
    write_json(tmp_path / DATED, rbridge("m-1b", 0.7, traces={"sample": True}))
    with pytest.raises(CollectError, match="nothing to collect in 1 results file; 2 scores on sample traces"):
        collect([tmp_path])


def test_what_is_no_number_is_left_out_and_counted(tmp_path: Path) -> None:
    """NaN, infinity and text never become a value; the placeholder of --predict_only is not one."""
    entry: dict[str, object] = {
        "acc,none": math.nan,
        "f1,none": math.inf,
        "x,none": "N/A",
        "bypass,none": 999,
        "ok,none": 1,
    }
    found = collect([write_json(tmp_path / DATED, modern("m-1b", {"t": entry | {"flag,none": True}}))])
    assert rows(found) == [("t", "ok", 1, None, 50)]
    assert note(found, "no number").startswith("4 values left out, being no number: t acc is 'nan'")


class TestWhatIsKnownOfAModel:
    """Where size and tokens come from, closest first, and what is said where nobody knows."""

    def test_lm_evals_own_count_wins_over_the_name(self, tmp_path: Path) -> None:
        """1B in a name is 1.48 billion in truth; a run scored by another back end takes the same count."""
        data = modern("allenai/OLMo-2-0425-1B", {"t": {"acc,none": 1}}, revision="stage1-step1-tokens3B")
        data["config"]["model_num_parameters"] = 1_484_916_736
        write_json(tmp_path / "1" / DATED, data)
        other = modern("allenai/OLMo-2-0425-1B", {"t": {"acc,none": 1}}, revision="stage1-step2-tokens5B")
        write_json(tmp_path / "2" / DATED, other)
        found = collect([tmp_path])
        assert [*found.table["params"]] == [1_484_916_736, 1_484_916_736]
        assert [*found.table["tokens"]] == [3e9, 5e9]

    def test_a_local_checkpoint_is_counted_from_its_files(self, tmp_path: Path, checkpoint: Path) -> None:
        """A back end that does not count, and a name that does not say."""
        found = collect([write_json(tmp_path / DATED, modern(str(checkpoint), {"t": {"acc,none": 1}}))])
        assert [*found.table["params"]] == [63392]
        assert note(found, "tokens unknown") == (
            f"tokens unknown for 1 model, such as {checkpoint}; give them with --runs FILE"
        )

    def test_what_stays_unknown_is_empty_and_counted(self, tmp_path: Path) -> None:
        """No guess: NaN in the table, and a line with the count and an example."""
        for step in (1, 2, 3):
            write_json(tmp_path / str(step) / DATED, modern(f"ckpts/dclm/step{step}", {"t": {"acc,none": step / 10}}))
        found = collect([tmp_path])
        assert found.table["tokens"].isna().all()
        assert found.table["params"].isna().all()
        assert [*found.table["value"]] == [0.1, 0.2, 0.3]
        assert note(found, "tokens unknown").startswith("tokens unknown for 3 models, such as ckpts/dclm/step1")

    def test_a_file_without_a_model_goes_by_its_folder(self, tmp_path: Path) -> None:
        """Old files and in-memory models: lm-eval's folder still names them."""
        data = modern("", {"t": {"acc,none": 1}})
        data["config"]["model_args"] = ""
        found = collect([write_json(tmp_path / "org__dclm-1b" / DATED, data)])
        assert [*found.table["model"]] == ["org/dclm-1b"]
        assert [*found.table["run"]] == ["dclm"]
        assert "1 file without the model's name" in note(found, "named by folder")

    def test_an_adapter_is_a_run_of_its_own(self, tmp_path: Path) -> None:
        """Base model and adapter both stand in the model's name; the run is the adapter's."""
        data = modern("org/base-1b", {"t": {"acc,none": 1}})
        data["config"]["model_args"]["peft"] = "adapters/math/checkpoint-10"
        found = collect([write_json(tmp_path / DATED, data)])
        assert [*found.table["model"]] == ["org/base-1b+adapters/math/checkpoint-10"]
        assert [*found.table["run"]] == ["math"]


class TestRunsTable:
    """--runs FILE: what the user says wins over every name."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        """Two checkpoints of one run and one of another."""
        for name in ("dclm-1b/step10", "dclm-1b/step20", "c4-1b/step10"):
            data = modern(f"ckpts/{name}", {"t": {"acc,none": 0.5}})
            data["config"]["model_num_parameters"] = 1_000_000_007
            write_json(tmp_path / "out" / name.replace("/", "__") / DATED, data)
        return tmp_path / "out"

    def known(self, tmp_path: Path, results: Path, table: str) -> tuple[list[tuple[Any, ...]], Collected]:
        path = tmp_path / "runs.csv"
        path.write_text(table)
        found = collect([results], runs=path)
        part = found.table[["run", "params", "tokens"]]
        return [tuple(None if cell != cell else cell for cell in row) for row in part.itertuples(index=False)], found

    def test_by_run_with_tokens_in_a_step(self, tmp_path: Path, results: Path) -> None:
        """A number for a run turns all its steps into tokens."""
        got, found = self.known(tmp_path, results, "run,params,tokens_per_step\ndclm,97.9M,2e6\nc4,1B,4M\n")
        assert got == [("c4", 1e9, 40e6), ("dclm", 97.9e6, 20e6), ("dclm", 97.9e6, 40e6)]
        assert found.notes == []

    def test_by_model_and_by_path(self, tmp_path: Path, results: Path) -> None:
        """The closer key wins number by number: the model over the folder of its results, both over the names."""
        folder = results / "c4-1b__step10"
        table = f"model,path,run,tokens,params\nckpts/c4-1b/step10,,,5B,\n,{folder},web,1B,2M\n,{results},,,3M\n"
        got, _ = self.known(tmp_path, results, table)
        assert sorted(got, key=str) == [("dclm", 3e6, None), ("dclm", 3e6, None), ("web", 2e6, 5e9)]

    def test_a_key_that_fits_nothing_is_said(self, tmp_path: Path, results: Path) -> None:
        """A name that was mistyped does not pass in silence."""
        _, found = self.known(tmp_path, results, "run,tokens\ndclmm,1B\nc4,2B\n")
        assert note(found, "runs unused").startswith("1 key of ")
        assert note(found, "runs unused").endswith("without a result, such as 'dclmm'")

    @pytest.mark.parametrize(
        ("table", "named"),
        [
            ("run,tokens\na,1\na,2\n", "the run 'a' twice, again in row 2"),
            ("model,run,tokens\nm,a,1\nm,b,2\n", "the model 'm' twice"),
            ("run,tokens\na,many\n", "tokens 'many'"),
            ("run,params\na,-1\n", "params '-1'"),
            ("run,params\na,0\n", "params '0'"),
            ("run,tokens\na,nan\n", "tokens 'nan'"),
            ("run,tokens\n,1\n", "row 1 .* has no key"),
            ("name,tokens\na,1\n", "needs a key"),
            ("run,size\na,1\n", "something known"),
        ],
    )
    def test_a_table_that_cannot_be_used_is_one_line(
        self, tmp_path: Path, results: Path, table: str, named: str
    ) -> None:
        """Duplicate keys and numbers that are none are named with their row."""
        with pytest.raises(ScoreTableError, match=named) as error:
            self.known(tmp_path, results, table)
        assert "\n" not in str(error.value)


class TestTwoUnderOneName:
    """Two things that look like one are refused, or one of them would be lost."""

    def test_two_models_at_one_checkpoint(self, tmp_path: Path) -> None:
        """Runs in folders of the same name: an error names both, and --runs tells them apart or says they are one."""
        for number, place in enumerate(("first", "second")):
            data = modern(f"/{place}/dclm-1b/step1-tokens2B", {"t": {"acc,none": number}}, date=1e9 + number)
            write_json(tmp_path / "out" / place / DATED, data)
        with pytest.raises(CollectError, match=r"/first/.* and /second/.* both look like run 'dclm' at 2e\+09 tokens"):
            collect([tmp_path])
        runs = tmp_path / "runs.csv"
        runs.write_text("model,run\n/first/dclm-1b/step1-tokens2B,a\n/second/dclm-1b/step1-tokens2B,b\n")
        assert [*collect([tmp_path], runs=runs).table["run"]] == ["a", "b"]
        runs.write_text("model,run\n/first/dclm-1b/step1-tokens2B,a\n/second/dclm-1b/step1-tokens2B,a\n")
        assert [*collect([tmp_path], runs=runs).table["value"]] == [1]

    def test_one_path_written_in_two_ways_is_one_model(self, tmp_path: Path) -> None:
        """Relative and absolute, with and without a slash at the end."""
        for number, model in enumerate(("dclm-1b/step1-tokens2B/", "/ckpts/dclm-1b/step1-tokens2B")):
            write_json(tmp_path / str(number) / DATED, modern(model, {"t": {"acc,none": number}}, date=1e9 + number))
        assert [*collect([tmp_path]).table["value"]] == [1]

    def test_two_tasks_renamed_to_one_benchmark(self, tmp_path: Path) -> None:
        """They share a metric: which is meant cannot be known."""
        scores: dict[str, dict[str, object]] = {"gsm8k": {"acc,none": 0.1}, "gsm8k_cot": {"acc,none": 0.2}}
        write_json(tmp_path / DATED, modern("m-1b", scores))
        with pytest.raises(CollectError, match="gsm8k and gsm8k_cot both give acc of gsm8k"):
            collect([tmp_path], rename={"gsm8k_cot": "gsm8k"})


class TestScoresThatDoNotCompare:
    """A difference in how two scores of a benchmark and metric came about is said, once for each setting."""

    def differences(self, tmp_path: Path, one: dict[str, Any], other: dict[str, Any]) -> list[str]:
        write_json(tmp_path / "1" / DATED, one)
        write_json(tmp_path / "2" / DATED, other)
        return [one.text for one in collect([tmp_path]).notes if one.kind == "settings differ"]

    @pytest.mark.parametrize(
        ("change", "setting", "metrics"),
        [
            (
                {"traces": {"confidence_model": "llama"}},
                "confidence model differs, such as gpt-4o for m-1b and",
                1,
            ),
            ({"traces": {"files": {"x.parquet": "b" * 64}}}, "traces differs, such as aaaaaaaaaaaa for", 2),
            ({"traces": {"only_correct": True}}, "only correct traces differs", 2),
            ({"options": {"rbridge_weights": "spans"}}, "weights differs, such as confidence for m-1b and spans", 1),
            ({"n-shot": {"rbridge_gsm8k": 0}}, "n-shot differs, such as 5 for m-1b and 0 for m-13b", 2),
            ({"n-samples": {"rbridge_gsm8k": {"effective": 10}}}, "number of items differs, such as 50 for", 2),
            ({"versions": {"rbridge_gsm8k": 2.0}}, "task version differs", 2),
            ({"chat_template_sha": "abc"}, "chat template differs, such as none for m-1b and abc for m-13b", 2),
            ({"tokenizer_eos_token": ["<|end|>", "7"]}, "tokenizer differs", 2),
        ],
    )
    def test_of_our_tasks(self, tmp_path: Path, change: dict[str, Any], setting: str, metrics: int) -> None:
        """Whose confidences, which traces, weights, shots, items, templates, tokenizers, for metrics they bear on."""
        (line,) = self.differences(tmp_path, rbridge("m-1b", 0.7), rbridge("m-13b", 0.4, **change))
        assert setting in line
        assert line.startswith("gsm8k rbridge_nll")
        assert ("1 more" in line) == (metrics == 2)

    def test_of_other_tasks(self, tmp_path: Path) -> None:
        """Shots of any task; different tasks and metrics may differ as they like."""
        scores: dict[str, dict[str, object]] = {"t": {"acc,none": 1}}
        other = modern("m-13b", {"u": {"acc,none": 1}}, **{"n-shot": {"u": 0}})
        assert self.differences(tmp_path, modern("m-1b", scores), other) == []
        other = modern("m-13b", scores, **{"n-shot": {"t": 0}})
        (line,) = self.differences(tmp_path, modern("m-1b", scores), other)
        assert line == "t acc: n-shot differs, such as 5 for m-1b and 0 for m-13b; these scores do not compare"

    def test_what_old_files_do_not_say_is_no_difference(self, tmp_path: Path) -> None:
        """Only what both files state can differ."""
        scores: dict[str, dict[str, object]] = {"t": {"acc,none": 1}}
        old = {"results": {"t": {"acc,none": 1}}, "config": {"model_args": "pretrained=m-13b"}}
        assert self.differences(tmp_path, modern("m-1b", scores), old) == []


class TestBadInput:
    """One line each, and nothing half-read."""

    @pytest.mark.parametrize(
        ("content", "named"),
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
    def test_a_file_that_holds_no_results(self, tmp_path: Path, content: str, named: str) -> None:
        """Cut off, of another program, or empty: named, with what was expected."""
        path = tmp_path / DATED
        path.write_text(content)
        with pytest.raises(ResultsError, match=named) as error:
            collect([path])
        assert "\n" not in str(error.value)

    def test_a_lone_surrogate_does_not_stop_a_table(self, tmp_path: Path) -> None:
        """A lone surrogate, which JSON can hold and UTF-8 cannot, is spelled out and can be written."""
        data = modern("m\ud800-1b/step1-tokens2B", {"t": {"acc,none": 1}})
        found = collect([write_json(tmp_path / DATED, data)])
        for name in ("scores.csv", "scores.parquet"):
            write_scores(found.table, tmp_path / name)
            assert [*read_scores(tmp_path / name)["run"]] == [r"m\ud800"]

    def test_in_a_folder_it_is_left_out_and_counted(self, tmp_path: Path) -> None:
        """One file that was cut off does not stop the other thousand."""
        write_json(tmp_path / "good" / DATED, modern("m-1b", {"t": {"acc,none": 1}}))
        (tmp_path / "results_cut.json").write_text('{"results": {')
        found = collect([tmp_path])
        assert len(found.table) == 1
        assert note(found, "files skipped").startswith("1 file left out: ")
        assert "results_cut.json" in note(found, "files skipped")

    def test_places_without_results(self, tmp_path: Path) -> None:
        """A folder that is empty, a name that does not exist, a metric that nobody measured."""
        with pytest.raises(
            CollectError, match=r"no results in .*; give the folder that lm_eval --output_path wrote to"
        ):
            collect([tmp_path])
        with pytest.raises(CollectError, match="there is no file or folder"):
            collect([tmp_path / "nowhere"])
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
def test_no_damage_to_a_file_is_more_than_one_line(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever stands in any one place of a file, the answer is a table of finite numbers or a one-line error."""
    tree: Any = json.loads(json.dumps(rbridge("org/m-1b/step1-tokens2B", 0.7, group_subtasks={"g": ["rbridge_gsm8k"]})))
    tree["groups"] = {"g": {"acc,none": 0.5, "sample_count": {"acc,none": 5}}}
    place = data.draw(st.sampled_from(paths_of(tree)[1:]))
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(trees)
    path = write_json(tmp_path / DATED, tree)
    refused = []
    try:
        found = collect([path])
    except ResultsError as error:
        refused.append(str(error))
    else:
        assert len(found.table)
        assert found.table["value"].abs().max() < math.inf
    assert not any("\n" in message for message in refused)
