"""A sweep file says what would be typed, and is refused in one line where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli import app
from rbridge_tasks.cli.sweep import seconds_of
from rbridge_tasks.sweeping.checkpoint import SweepError
from rbridge_tasks.sweeping.local import _environments
from rbridge_tasks.sweeping.settings import arguments_of_text
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
    """Two checkpoints that have begun to be written."""
    for step in (1, 2):
        (tmp_path / "web-1B" / f"step{step}").mkdir(parents=True)
        (tmp_path / "web-1B" / f"step{step}" / "config.json").write_text("{}")
    return tmp_path / "web-1B"


def test_every_key_is_read(tmp_path: Path) -> None:
    """Folders count from where the file is; one word is a list of one."""
    path = tmp_path / "sweep.yaml"
    path.write_text(WHOLE)
    (tmp_path / "ckpts" / "web-1B").mkdir(parents=True)
    found = read_sweep_file(path)
    assert found.checkpoints == (
        Entry(name=str(tmp_path / "ckpts/web-1B")),
        Entry(name="EleutherAI/pythia-160m", revisions=("step*000",), model_args={"dtype": "float32"}),
    )
    assert (found.output, found.runs) == (str(tmp_path / "out"), str(tmp_path / "runs.csv"))
    assert (found.tasks, found.model, found.num_fewshot, found.batch_size) == (("rbridge", "gsm8k"), "vllm", 3, "8")
    assert (found.limit, found.metadata, found.device) == (0.5, {"rbridge_source": "gpt-4o"}, "cuda:1")
    assert found.lm_eval_args == ("--seed", "1")


@pytest.mark.parametrize(
    ("text", "said"),
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
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    """It names the file, what stands there and what was expected."""
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SweepError, match=said) as caught:
        read_sweep_file(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(SweepError, match="cannot read"):
        read_sweep_file(tmp_path / "other.yaml")


def test_what_is_typed_wins_over_the_file(checkpoint: Path, tmp_path: Path) -> None:
    """And what is not typed comes from it."""
    path = tmp_path / "sweep.yaml"
    path.write_text(f"checkpoints: [{checkpoint}]\ntasks: [rbridge, gsm8k]\n")
    for typed, tasks in (([], ["rbridge", "gsm8k"]), (["--tasks", "arc_easy"], ["arc_easy"])):
        done = CliRunner().invoke(app, ["sweep", str(path), "--dry-run", "--json", "-o", str(tmp_path / "out"), *typed])
        assert done.exit_code == 0, done.output
        assert [(one["state"], one["tasks"]) for one in json.loads(done.stdout)] == [("to score", tasks)]


@pytest.mark.parametrize(
    ("arguments", "said"),
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
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    run: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    """One line each, exit code 2, and no folder."""
    words = [str(run) if word == "RUN" else word for word in arguments]
    done = CliRunner().invoke(app, ["sweep", "-o", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, RBridgeError), done.output
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_values_are_read_as_lm_eval_reads_them() -> None:
    """Numbers, words for true, false and none, and what is quoted."""
    text = "a=1,b=-2.5e3,c=True,d=none,e='7',f=bfloat16,g=x=y"
    expected = {"a": 1, "b": -2500.0, "c": True, "d": None, "e": "7", "f": "bfloat16", "g": "x=y"}
    assert arguments_of_text(text, "--model-args") == expected
    assert arguments_of_text('{"a": [1, 2]}', "--metadata") == {"a": [1, 2]}
    assert seconds_of("2d") == 172800.0


def test_each_of_several_workers_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they are visible; more workers than GPUs are refused; one worker sees them all."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert _environments(1) == [{}]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in _environments(2)] == ["4", "5"]
    with pytest.raises(SweepError, match="--jobs 4, and 3 visible GPUs"):
        _environments(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [int(one["OMP_NUM_THREADS"]) >= 1 for one in _environments(2)] == [True, True]
