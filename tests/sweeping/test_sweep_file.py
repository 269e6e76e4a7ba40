"""A sweep file holds the options of the command; a wrong file is refused in one line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli import app
from rbridge_tasks.cli.sweep import seconds_of
from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.sweeping.checkpoints import find
from rbridge_tasks.sweeping.local import _environments
from rbridge_tasks.sweeping.settings import EvaluationSettings, arguments_of_text
from rbridge_tasks.sweeping.sweep_file import Entry, read_sweep_file

WHOLE = """
output: out
tasks: [rbridge, gsm8k]
model: vllm
model_args: {dtype: bfloat16, max_length: 2048}
num_fewshot: 3
batch_size: 8
limit: 0.5
metadata: {rbridge_source: gpt-4o}
device: cuda:1
runs: runs.csv
lm_eval_args: [--seed, 1]
checkpoints:
  - ckpts/web-1B
  - name: EleutherAI/pythia-160m
    revisions: "step*000"
    model_args: {dtype: float32}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two unfinished checkpoints."""
    for step in (1, 2):
        (tmp_path / "web-1B" / f"step{step}").mkdir(parents=True)
        (tmp_path / "web-1B" / f"step{step}" / "config.json").write_text("{}")
    return tmp_path / "web-1B"


def test_every_key_is_read(tmp_path: Path) -> None:
    """Folders are relative to the file; a single word is a list of one."""
    path = tmp_path / "sweep.yaml"
    path.write_text(WHOLE)
    (tmp_path / "ckpts" / "web-1B").mkdir(parents=True)
    options = read_sweep_file(path)
    assert options.checkpoints == (
        Entry(name=str(tmp_path / "ckpts/web-1B")),
        Entry(name="EleutherAI/pythia-160m", revisions=("step*000",), model_args={"dtype": "float32"}),
    )
    assert (options.output, options.runs) == (str(tmp_path / "out"), str(tmp_path / "runs.csv"))
    assert (options.tasks, options.model, options.num_fewshot) == (("rbridge", "gsm8k"), "vllm", 3)
    assert (options.batch_size, options.limit, options.device) == ("8", 0.5, "cuda:1")
    assert options.metadata == {"rbridge_source": "gpt-4o"}
    assert options.lm_eval_args == ("--seed", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", r"holds a list; expected keys: checkpoints"),
        ("checkpoints: []", r"checkpoints: .*; write \[FOLDER"),
        ("checkpoint: [a]", r"has the key 'checkpoint'; known are checkpoints, output"),
        ("checkpoints: [{revision: x}]", r"has the key 'checkpoints.0.revision'; known are name, revisions"),
        ("checkpoints: [{revisions: x}]", r"has no checkpoints.0.name; write name: FOLDER"),
        ("checkpoints: [a]\nmodel_args: dtype", r"model_args: 'dtype'; write key: value"),
        ("checkpoints: [a]\nnum_fewshot: true", r"num_fewshot: True; write a whole number"),
        ("checkpoints: [a]\nlimit: -1", r"limit: -1; write a number of items"),
        ("checkpoints: [a]\ntasks: {a: b}", r"tasks: .*; write a list of words"),
        ("checkpoints: [", r"is not YAML"),
        ("checkpoints: [a]\n1: x", r"has the key '1'; known are checkpoints, output"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file, what was found and what was expected."""
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SweepError, match=message) as caught:
        read_sweep_file(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(SweepError, match="cannot read"):
        read_sweep_file(tmp_path / "other.yaml")


def test_options_have_priority_over_the_file(checkpoint: Path, tmp_path: Path) -> None:
    """Options that are not given come from the file."""
    path = tmp_path / "sweep.yaml"
    path.write_text(f"checkpoints: [{checkpoint}]\ntasks: [rbridge, gsm8k]\n")
    for typed, tasks in (([], ["rbridge", "gsm8k"]), (["--tasks", "arc_easy"], ["arc_easy"])):
        done = CliRunner().invoke(app, ["sweep", str(path), "--dry-run", "--json", "-o", str(tmp_path / "out"), *typed])
        assert done.exit_code == 0, done.output
        assert [(entry["state"], entry["tasks"]) for entry in json.loads(done.stdout)] == [("to score", tasks)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to score"),
        (["RUN", "--executor", "pbs"], "choose local or slurm"),
        (["RUN", "--gpus-per-job", "1"], "need --executor slurm"),
        (["RUN", "--until", "5"], "ends a --watch, and there is none"),
        (["RUN", "--limit", "0"], "--limit 0"),
        (["RUN", "--poll", "often"], "'often' is no duration"),
        (["RUN", "--slurm", "=x"], "is not KEY=VALUE"),
        (["RUN", "--model-args", "dtype"], "neither key=value,key=value nor a JSON object"),
        (["RUN", "--model-args", "pretrained=x"], "pretrained in --model-args"),
        (["RUN", "--metadata", "{"], "neither key=value"),
        (["RUN", "--tasks", ","], "no task to score"),
        (["RUN", "--", "--use_cache", "x"], "--use_cache after -- is set by the sweep itself"),
        (["RUN", "other.yaml"], "lists checkpoints already"),
        (["--watch", "RUN", "RUN"], "a watch takes no other sources"),
    ],
)
def test_contradictory_options_are_refused_before_anything_is_written(
    run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """The error is raised and there is no output folder."""
    words = [str(run) if word == "RUN" else word for word in arguments]
    done = CliRunner().invoke(app, ["sweep", "-o", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, RBridgeError), done.output
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_values_are_read_as_lm_eval_reads_them() -> None:
    """Values may be numbers, booleans, none, quoted text and JSON objects."""
    text = "a=1,b=-2.5e3,c=True,d=none,e='7',f=bfloat16,g=x=y"
    expected = {"a": 1, "b": -2500.0, "c": True, "d": None, "e": "7", "f": "bfloat16", "g": "x=y"}
    assert arguments_of_text(text, "--model-args") == expected
    assert arguments_of_text('{"a": [1, 2]}', "--metadata") == {"a": [1, 2]}
    assert seconds_of("2d") == 172800.0


def test_each_of_several_workers_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs are assigned in visible order; more workers than GPUs are refused; a single worker sees all of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert _environments(1) == [{}]
    assert [variables["CUDA_VISIBLE_DEVICES"] for variables in _environments(2)] == ["4", "5"]
    with pytest.raises(SweepError, match="--jobs 4, and 3 visible GPUs"):
        _environments(4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for no_gpu in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", no_gpu)
        assert [int(variables["OMP_NUM_THREADS"]) >= 1 for variables in _environments(2)] == [True, True]


@pytest.mark.parametrize(("limit", "word"), [(100.0, "100"), (1234567.0, "1234567"), (0.123456789, "0.123456789")])
def test_a_limit_is_passed_on_exactly(limit: float, word: str) -> None:
    """Large numbers of items and shares of many digits are not rounded."""
    assert EvaluationSettings(limit=limit).arguments(Checkpoint("/run/step1"))[-1] == word


def test_a_value_that_json_cannot_hold_is_refused_by_name() -> None:
    """YAML reads an unquoted date as one."""
    with pytest.raises(SweepError, match=r"--model-args has day: .*; write it in quotes"):
        EvaluationSettings(model_args={"day": date(2026, 1, 1)})
    with pytest.raises(SweepError, match=r"model_args has day: .*; write it in quotes"):
        find(["/run"], model_args={"day": date(2026, 1, 1)})


def test_the_tokenizer_of_the_options_stands_before_the_one_in_the_runs_folder() -> None:
    """The folder above a checkpoint is a fallback only."""
    checkpoint = Checkpoint("/run/step1", tokenizer="/run")
    assert EvaluationSettings().of_model(checkpoint)["tokenizer"] == "/run"
    assert EvaluationSettings(model_args={"tokenizer": "mine"}).of_model(checkpoint)["tokenizer"] == "mine"
