"""Which checkpoints a watch selects, and when; these tests score nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder
from rbridge_tasks.sweeping.watching import Watcher, reached


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """The output folder of a sweep."""
    output = OutputFolder(tmp_path / "out")
    output.make()
    return output


def watcher(run: Path, folder: OutputFolder) -> Watcher:
    return Watcher([str(run)], EvaluationSettings(), folder, settle_seconds=0.0)


def names_to_score(watching: Watcher) -> list[str]:
    """Return the names of the checkpoints to score now."""
    return [shard.checkpoint.pretrained.rpartition("/")[2] for shard in watching().to_score]


def test_each_complete_checkpoint_is_given_once_in_order(
    checkpoint: Path, folder: OutputFolder, tmp_path: Path
) -> None:
    """Complete checkpoints are given once, in the order of steps; the run's folder may appear later."""
    run = tmp_path / "run"
    watching = watcher(run, folder)
    assert names_to_score(watching) == []
    for step in (20, 3, 10):
        shutil.copytree(checkpoint, run / f"step{step}")
    assert names_to_score(watching) == ["step3", "step10", "step20"]
    shutil.copytree(checkpoint, run / "step30")
    assert names_to_score(watching) == ["step30"]
    assert names_to_score(watching) == []


def test_an_unfinished_checkpoint_waits_and_does_not_delay_others(
    checkpoint: Path, folder: OutputFolder, tmp_path: Path
) -> None:
    """The watch records the reason, takes later checkpoints, and takes this one when it is complete."""
    run = tmp_path / "run"
    for step in (1, 2, 3):
        shutil.copytree(checkpoint, run / f"step{step}")
    weights = run / "step1" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    shutil.rmtree(run / "step3")
    watching = watcher(run, folder)
    assert names_to_score(watching) == ["step2"]
    assert "model.safetensors is not complete" in watching.waiting[run / "step1"]
    weights.write_bytes(whole)
    assert names_to_score(watching) == ["step1"]
    assert not watching.waiting


def test_a_checkpoint_must_be_unchanged_for_a_while(checkpoint: Path, folder: OutputFolder, tmp_path: Path) -> None:
    """Every write restarts the waiting time, also for a complete checkpoint."""
    step = shutil.copytree(checkpoint, tmp_path / "run" / "step1")
    seconds = 0.0
    watching = Watcher(
        [str(tmp_path / "run")], EvaluationSettings(), folder, settle_seconds=20.0, clock=lambda: seconds
    )
    assert names_to_score(watching) == []
    seconds = 19.0
    (step / "trainer_state.json").write_text("{}")
    assert names_to_score(watching) == []
    seconds = 38.0
    assert names_to_score(watching) == []
    seconds = 39.0
    assert names_to_score(watching) == ["step1"]


def test_a_watch_ends_at_the_requested_step() -> None:
    """It also ends at a later step, scored now or earlier."""
    assert not reached([], [10.0], 20)
    assert reached([], [10.0, 30.0], 20)
