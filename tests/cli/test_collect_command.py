"""``rbridge collect`` on made-up results and on results of the stock ``lm_eval`` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rbridge_tasks.tables.score_table import read_scores

from ..harness.lm_eval_files import modern, rbridge, write_json
from .conftest import Run

DATED = "results_2024-05-01T10-00-00.000000.json"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Results of a proxy at two checkpoints and of a target, one of them on the sample."""
    folder = tmp_path / "out"
    write_json(folder / "1" / DATED, rbridge("ckpts/dclm-97.9M/step1-tokens1B", 0.9))
    write_json(folder / "2" / DATED, rbridge("ckpts/dclm-97.9M/step2-tokens2B", 0.8))
    write_json(folder / "3" / DATED, modern("org/dclm-13b", {"gsm8k": {"exact_match,strict": 0.4}}))
    write_json(folder / "4" / DATED, rbridge("other-1b", 0.1, traces={"sample": True}))
    return folder


def test_it_writes_a_table_and_a_summary(run: Run, out: Path, tmp_path: Path) -> None:
    """Standard output has a line for each run and size; standard error counts omitted scores and unknown values."""
    for name in ("scores.csv", "scores.parquet"):
        code, output, errors = run("collect", out, "-o", tmp_path / name)
        assert code == 0
        assert "97.9M" in output
        assert "1B to 2B" in output
        assert f"5 scores from 4 results files in {tmp_path / name}" in output
        assert [line.split(",")[0] for line in errors.splitlines()] == [
            "2 scores on sample traces left out (--include-sample keeps them)",
            "tokens unknown for 1 model",
        ]
        table = read_scores(tmp_path / name)
        assert [*table["run"]] == ["dclm"] * 5
        assert [*table[table["metric"] == "rbridge_nll"]["value"]] == [0.9, 0.8]


def test_json_output(run: Run, out: Path, tmp_path: Path) -> None:
    """Standard output is one JSON object with the summary and all notes; unknown values are null."""
    code, output, errors = run("collect", out, "-o", tmp_path / "s.csv", "--json", "--metric", "exact_match")
    assert (code, errors) == (0, "")
    summary = json.loads(output)
    assert summary["scores"] == 1
    assert summary["runs"][0]["params"] == 13e9
    assert summary["runs"][0]["tokens"] == [None, None]
    assert {note["kind"]: note["count"] for note in summary["notes"]} == {"sample": 2, "tokens unknown": 1}


def test_runs_rename_and_sample_are_options(run: Run, out: Path, tmp_path: Path) -> None:
    """Each option reaches the function."""
    (tmp_path / "runs.csv").write_text("model,tokens\norg/dclm-13b,5T\nother-1b,1B\n")
    options = ["--runs", tmp_path / "runs.csv", "--rename", "gsm8k=maths", "--include-sample"]
    code, _, errors = run("collect", out, "-o", tmp_path / "s.csv", *options)
    assert (code, errors) == (0, "")
    table = read_scores(tmp_path / "s.csv")
    assert {*table["benchmark"]} == {"gsm8k", "maths"}
    assert {*table["tokens"]} == {1e9, 2e9, 5e12}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere", "-o", "s.csv"], "there is no file or folder 'nowhere'"),
        (["out", "-o", "s.xlsx"], "written as .csv or .parquet"),
        (["out", "-o", "s"], "has no suffix"),
        (["out", "-o", "out"], "has no suffix"),
        (["out"], "Missing option"),
        (["out", "-o", "s.csv", "--rename", "gsm8k"], "--rename 'gsm8k' is not TASK=BENCHMARK"),
        (["out", "-o", "s.csv", "--rename", "gsm8k=a", "--rename", "gsm8k=b"], "--rename gives 'gsm8k' two values"),
        (["out", "-o", "s.csv", "--runs", "none.csv"], "there is no file 'none.csv'"),
        (["out", "-o", "s.csv", "--metric", "acc"], "no score of the metric acc"),
        (["out/cut.json", "-o", "s.csv"], "was cut off"),
        (["out", "-o", "file/s.csv"], "cannot write file/s.csv"),
    ],
)
def test_wrong_input_is_one_line(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    """Exit code 2, one line on standard error, and no file."""
    monkeypatch.chdir(out.parent)
    (out / "cut.json").write_text('{"results": {')
    Path("file").write_text("")
    code, output, errors = run("collect", *arguments)
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1
    assert errors.startswith("rbridge: error: ")
    assert named in errors
    assert not Path("s.csv").exists()


CHOICE_TASK = """\
task: sums_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{c}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""

FREE_TASK = """\
task: sums_free
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
generation_kwargs: {{max_gen_toks: 2, until: ["."]}}
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{c[0]}}}}"
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
filter_list:
  - {{name: strict-match, filter: [{{function: regex, regex_pattern: "([0-9]+)"}}, {{function: take_first}}]}}
  - {{name: flexible-extract, filter: [{{function: take_first}}]}}
"""

GROUP = """\
group: sums
task: [sums_choice, sums_free]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1}
"""


@pytest.mark.slow
def test_results_of_the_stock_command(checkpoint: Path, tmp_path: Path, run: Run) -> None:
    """The table holds all of lm-eval's numbers: our tasks and other tasks, a group, filters and --limit."""
    model = shutil.copytree(checkpoint, tmp_path / "tiny" / "step250-tokens512K")
    data = write_json(tmp_path / "sums.json", [{"q": f"{i} + {i} =", "c": [f" {2 * i}", " 1"]} for i in range(5)])
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "choice.yaml").write_text(CHOICE_TASK.format(data=data))
    (tasks / "free.yaml").write_text(FREE_TASK.format(data=data))
    (tasks / "sums.yaml").write_text(GROUP)
    command = [
        str(Path(sys.executable).parent / "lm_eval"), "--model", "hf", "--model_args", f"pretrained={model}",
        "--include_path", str(tasks), "--tasks", "sums,rbridge_gsm8k", "--limit", "3", "--batch_size", "2",
        "--metadata", '{"rbridge_cache": "sample", "rbridge_weights": "none"}', "--num_fewshot", "0",
        "--output_path", str(tmp_path / "out"),
    ]  # fmt: skip
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("results_*.json")
    written = json.loads(file.read_text())
    code, _, errors = run("collect", tmp_path / "out", "-o", tmp_path / "s.parquet")
    assert code == 0, errors
    ours = [key for key in written["results"]["rbridge_gsm8k"] if key.endswith(",none") and "_stderr" not in key]
    assert errors.startswith(f"{len(ours)} scores on sample traces left out")
    table = read_scores(tmp_path / "s.parquet").set_index(["benchmark", "metric"])
    choice, free = written["results"]["sums_choice"], written["results"]["sums_free"]
    expected = {
        ("sums_choice", "acc"): (choice["acc,none"], 3),
        ("sums_choice", "acc_norm"): (choice["acc_norm,none"], 3),
        ("sums_free", "exact_match,strict-match"): (free["exact_match,strict-match"], 3),
        ("sums_free", "exact_match,flexible-extract"): (free["exact_match,flexible-extract"], 3),
        ("sums", "acc"): (written["groups"]["sums"]["acc,none"], 3),
    }
    assert {key: (row["value"], row["n"]) for key, row in table.iterrows()} == expected
    assert table.loc[("sums_choice", "acc"), "stderr"] == choice["acc_stderr,none"]
    assert {*table["run"]} == {"tiny"}
    assert {*table["params"]} == {written["config"]["model_num_parameters"]} == {63392}
    assert {*table["tokens"]} == {512_000}
    run("collect", tmp_path / "out", "-o", tmp_path / "s.parquet", "--include-sample")  # over the old table
    sample = read_scores(tmp_path / "s.parquet").set_index(["benchmark", "metric"])
    nll = written["results"]["rbridge_gsm8k"]["trace_nll,none"]
    assert sample.loc[("gsm8k", "trace_nll"), ["value", "n"]].to_list() == [nll, 3]
