"""Models of collected results: their size, tokens and run, and scores of different settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rbridge_tasks.tables.collect import Collected, collect
from rbridge_tasks.tables.rows import CollectError
from rbridge_tasks.tables.score_table import ScoreTableError

from ..harness.lm_eval_files import modern, rbridge, write_json
from .collected_rows import DATED, note


class TestWhatIsKnownOfAModel:
    """Sources of size and tokens in order of priority, and the note if there is none."""

    def test_lm_evals_own_count_wins_over_the_name(self, tmp_path: Path) -> None:
        """1B in a name means 1.48 billion; results of the same run from another back end have the same count."""
        data = modern("allenai/OLMo-2-0425-1B", {"t": {"acc,none": 1}}, revision="stage1-step1-tokens3B")
        data["config"]["model_num_parameters"] = 1_484_916_736
        write_json(tmp_path / "1" / DATED, data)
        uncounted = modern("allenai/OLMo-2-0425-1B", {"t": {"acc,none": 1}}, revision="stage1-step2-tokens5B")
        write_json(tmp_path / "2" / DATED, uncounted)
        collected = collect([tmp_path])
        assert [*collected.table["params"]] == [1_484_916_736, 1_484_916_736]
        assert [*collected.table["tokens"]] == [3e9, 5e9]

    def test_a_local_checkpoint_is_counted_from_its_files(self, tmp_path: Path, checkpoint: Path) -> None:
        """If neither the back end nor the name gives the size."""
        collected = collect([write_json(tmp_path / DATED, modern(str(checkpoint), {"t": {"acc,none": 1}}))])
        assert [*collected.table["params"]] == [63392]
        assert note(collected, "tokens unknown") == (
            f"tokens unknown for 1 model, such as {checkpoint}; give them with --runs FILE"
        )

    def test_an_unknown_size_is_nan_and_counted(self, tmp_path: Path) -> None:
        """The table has NaN, and a note has the count and an example."""
        for step in (1, 2, 3):
            write_json(tmp_path / str(step) / DATED, modern(f"ckpts/dclm/step{step}", {"t": {"acc,none": step / 10}}))
        collected = collect([tmp_path])
        assert collected.table["tokens"].isna().all()
        assert collected.table["params"].isna().all()
        assert [*collected.table["value"]] == [0.1, 0.2, 0.3]
        assert note(collected, "tokens unknown").startswith("tokens unknown for 3 models, such as ckpts/dclm/step1")

    def test_a_file_without_a_model_is_named_by_its_folder(self, tmp_path: Path) -> None:
        """For old files and in-memory models the name comes from lm-eval's folder."""
        data = modern("", {"t": {"acc,none": 1}})
        data["config"]["model_args"] = ""
        collected = collect([write_json(tmp_path / "org__dclm-1b" / DATED, data)])
        assert [*collected.table["model"]] == ["org/dclm-1b"]
        assert [*collected.table["run"]] == ["dclm"]
        assert "1 file without the model's name" in note(collected, "named by folder")

    def test_an_adapter_is_a_separate_run(self, tmp_path: Path) -> None:
        """The model's name has base model and adapter; the run is that of the adapter."""
        data = modern("org/base-1b", {"t": {"acc,none": 1}})
        data["config"]["model_args"]["peft"] = "adapters/math/checkpoint-10"
        collected = collect([write_json(tmp_path / DATED, data)])
        assert [*collected.table["model"]] == ["org/base-1b+adapters/math/checkpoint-10"]
        assert [*collected.table["run"]] == ["math"]


class TestRunsTable:
    """--runs FILE has priority over names."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        """Two checkpoints of one run and one of another."""
        for name in ("dclm-1b/step10", "dclm-1b/step20", "c4-1b/step10"):
            data = modern(f"ckpts/{name}", {"t": {"acc,none": 0.5}})
            data["config"]["model_num_parameters"] = 1_000_000_007
            write_json(tmp_path / "out" / name.replace("/", "__") / DATED, data)
        return tmp_path / "out"

    def collected_with(self, tmp_path: Path, results: Path, table: str) -> tuple[list[tuple[Any, ...]], Collected]:
        path = tmp_path / "runs.csv"
        path.write_text(table)
        collected = collect([results], runs=path)
        part = collected.table[["run", "params", "tokens"]]
        rows = [tuple(None if cell != cell else cell for cell in row) for row in part.itertuples(index=False)]
        return rows, collected

    def test_by_run_with_tokens_in_a_step(self, tmp_path: Path, results: Path) -> None:
        """Tokens per step of a run convert all its steps to tokens."""
        rows, collected = self.collected_with(
            tmp_path, results, "run,params,tokens_per_step\ndclm,97.9M,2e6\nc4,1B,4M\n"
        )
        assert rows == [("c4", 1e9, 40e6), ("dclm", 97.9e6, 20e6), ("dclm", 97.9e6, 40e6)]
        assert collected.notes == []

    def test_by_model_and_by_path(self, tmp_path: Path, results: Path) -> None:
        """For each number the model has priority over the folder of its results, and both over names."""
        folder = results / "c4-1b__step10"
        table = f"model,path,run,tokens,params\nckpts/c4-1b/step10,,,5B,\n,{folder},web,1B,2M\n,{results},,,3M\n"
        rows, _ = self.collected_with(tmp_path, results, table)
        assert sorted(rows, key=str) == [("dclm", 3e6, None), ("dclm", 3e6, None), ("web", 2e6, 5e9)]

    def test_a_parquet_table_with_missing_cells(self, tmp_path: Path, results: Path) -> None:
        """A missing cell of pandas' nullable types (``pd.NA``) counts as unknown."""
        runs = pd.DataFrame({"run": ["dclm", "c4"], "params": pd.array([97_900_000, None], dtype="Int64")})
        runs.assign(tokens=["1B", "2B"]).to_parquet(tmp_path / "runs.parquet")
        table = collect([results / "c4-1b__step10"], runs=tmp_path / "runs.parquet").table
        assert table[["params", "tokens"]].to_numpy().tolist() == [[1_000_000_007, 2e9]]

    def test_an_unused_key_has_a_note(self, tmp_path: Path, results: Path) -> None:
        """The note quotes the key, which may be mistyped."""
        _, collected = self.collected_with(tmp_path, results, "run,tokens\ndclmm,1B\nc4,2B\n")
        assert note(collected, "runs unused").startswith("1 key of ")
        assert note(collected, "runs unused").endswith("without a result, such as 'dclmm'")

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("run,tokens\na,1\na,2\n", "the run 'a' twice, again in row 2"),
            ("model,run,tokens\nm,a,1\nm,b,2\n", "the model 'm' twice"),
            ("run,tokens\na,many\n", "tokens 'many'"),
            ('run,params\na,"97,9M"\n', "params '97,9M'"),
            ("run,params\na,-1\n", "params '-1'"),
            ("run,params\na,0\n", "params '0'"),
            ("run,tokens\na,nan\n", "tokens 'nan'"),
            ("run,tokens\n,1\n", "row 1 .* has no key"),
            ("name,tokens\na,1\n", "needs a key"),
            ("run,size\na,1\n", "something known"),
        ],
    )
    def test_a_table_that_cannot_be_used_is_one_line(
        self, tmp_path: Path, results: Path, table: str, message: str
    ) -> None:
        """The message names duplicate keys and bad numbers with their row."""
        with pytest.raises(ScoreTableError, match=message) as error:
            self.collected_with(tmp_path, results, table)
        assert "\n" not in str(error.value)


class TestTwoUnderOneName:
    """Two results of the same name are refused, because one of them would be lost."""

    def test_two_models_at_one_checkpoint(self, tmp_path: Path) -> None:
        """Runs in folders of the same name: an error names both; --runs gives them different names or the same."""
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
        """A relative and an absolute path, with and without a slash at the end."""
        for number, model in enumerate(("dclm-1b/step1-tokens2B/", "/ckpts/dclm-1b/step1-tokens2B")):
            write_json(tmp_path / str(number) / DATED, modern(model, {"t": {"acc,none": number}}, date=1e9 + number))
        assert [*collect([tmp_path]).table["value"]] == [1]

    def test_two_tasks_renamed_to_one_benchmark(self, tmp_path: Path) -> None:
        """Two tasks with the same metric are ambiguous."""
        scores: dict[str, dict[str, object]] = {"gsm8k": {"acc,none": 0.1}, "gsm8k_cot": {"acc,none": 0.2}}
        write_json(tmp_path / DATED, modern("m-1b", scores))
        with pytest.raises(CollectError, match="gsm8k and gsm8k_cot both give acc of gsm8k"):
            collect([tmp_path], rename={"gsm8k_cot": "gsm8k"})


class TestScoresThatDoNotCompare:
    """A note for each setting that differs between two scores of a benchmark and metric."""

    def differences(self, tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> list[str]:
        write_json(tmp_path / "1" / DATED, first)
        write_json(tmp_path / "2" / DATED, second)
        return [note.text for note in collect([tmp_path]).notes if note.kind == "settings differ"]

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
        """Confidence model, traces, weights, shots, items, templates and tokenizers, for the metrics they affect."""
        (line,) = self.differences(tmp_path, rbridge("m-1b", 0.7), rbridge("m-13b", 0.4, **change))
        assert setting in line
        assert line.startswith("gsm8k rbridge_nll")
        assert ("1 more" in line) == (metrics == 2)

    def test_of_other_tasks(self, tmp_path: Path) -> None:
        """Shots of the same task and metric are compared; those of different tasks are not."""
        scores: dict[str, dict[str, object]] = {"t": {"acc,none": 1}}
        second = modern("m-13b", {"u": {"acc,none": 1}}, **{"n-shot": {"u": 0}})
        assert self.differences(tmp_path, modern("m-1b", scores), second) == []
        second = modern("m-13b", scores, **{"n-shot": {"t": 0}})
        (line,) = self.differences(tmp_path, modern("m-1b", scores), second)
        assert line == "t acc: n-shot differs, such as 5 for m-1b and 0 for m-13b; these scores do not compare"

    def test_settings_that_old_files_lack_do_not_differ(self, tmp_path: Path) -> None:
        """Only settings that both files state are compared."""
        scores: dict[str, dict[str, object]] = {"t": {"acc,none": 1}}
        old = {"results": {"t": {"acc,none": 1}}, "config": {"model_args": "pretrained=m-13b"}}
        assert self.differences(tmp_path, modern("m-1b", scores), old) == []
