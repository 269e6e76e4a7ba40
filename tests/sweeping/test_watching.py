"""What a watch takes up, and when: nothing is scored here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder
from rbridge_tasks.sweeping.watching import Watcher, reached


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """Where the sweep writes."""
    output = OutputFolder(tmp_path / "out")
    output.make()
    return output


def watcher(run: Path, folder: OutputFolder) -> Watcher:
    return Watcher([str(run)], EvaluationSettings(), folder, settle_seconds=0.0)


def found(watching: Watcher) -> list[str]:
    """Names of the checkpoints that are to be scored now."""
    return [shard.checkpoint.pretrained.rpartition("/")[2] for shard in watching().to_score]


def test_each_complete_checkpoint_is_given_once_in_order(
    checkpoint: Path, folder: OutputFolder, tmp_path: Path
) -> None:
    """Before the run's folder is there, nothing; then those that are complete, the lowest step first; never again."""
    run = tmp_path / "run"
    watching = watcher(run, folder)
    assert found(watching) == []
    for step in (20, 3, 10):
        shutil.copytree(checkpoint, run / f"step{step}")
    assert found(watching) == ["step3", "step10", "step20"]
    shutil.copytree(checkpoint, run / "step30")
    assert found(watching) == ["step30"]
    assert found(watching) == []


def test_a_half_written_checkpoint_waits_and_holds_nobody_up(
    checkpoint: Path, folder: OutputFolder, tmp_path: Path
) -> None:
    """It says what it lacks, later ones are taken, and it is when it is whole. One that is deleted is forgotten."""
    run = tmp_path / "run"
    for step in (1, 2, 3):
        shutil.copytree(checkpoint, run / f"step{step}")
    weights = run / "step1" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    shutil.rmtree(run / "step3")
    watching = watcher(run, folder)
    assert found(watching) == ["step2"]
    assert "model.safetensors is not complete" in watching.waiting[run / "step1"]
    weights.write_bytes(whole)
    assert found(watching) == ["step1"]
    assert not watching.waiting


def test_a_checkpoint_must_stay_as_it_is_for_a_while(checkpoint: Path, folder: OutputFolder, tmp_path: Path) -> None:
    """Every write starts the time anew, even where what is there looks complete."""
    step = shutil.copytree(checkpoint, tmp_path / "run" / "step1")
    seconds = 0.0
    watching = Watcher(
        [str(tmp_path / "run")], EvaluationSettings(), folder, settle_seconds=20.0, clock=lambda: seconds
    )
    assert found(watching) == []
    seconds = 19.0
    (step / "trainer_state.json").write_text("{}")
    assert found(watching) == []
    seconds = 38.0
    assert found(watching) == []
    seconds = 39.0
    assert found(watching) == ["step1"]


def test_a_watch_ends_with_the_step_that_was_asked_for() -> None:
    """Or a later one, scored now or before."""
    assert not reached([], [10.0], 20)
    assert reached([], [10.0, 30.0], 20)
