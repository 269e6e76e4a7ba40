"""``rbridge sweep --watch`` during a real training process scores every complete checkpoint once, in order."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from .sweeps import finished, started, sweep

pytestmark = pytest.mark.slow

CHECKPOINTS = 6


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[int, float]]:
    """Folder of a run and its scores, output of the watch, and the time when training finished each checkpoint."""
    root = tmp_path_factory.mktemp("watched")
    options = ["--until", 10 * CHECKPOINTS, "--poll", "0.3s", "--settle", "1s"]
    program = Path(__file__).with_name("train.py")
    with started("--watch", root / "live-30K", "-o", root / "out", *options) as watch:
        training = subprocess.run(
            [sys.executable, program, root / "live-30K", str(CHECKPOINTS)], capture_output=True, text=True, check=False
        )
        assert training.returncode == 0, training.stderr
        _, output = watch.communicate(timeout=120)
    assert watch.returncode == 0, output
    return root, output, {int(step): float(at) for step, at in map(str.split, training.stdout.splitlines())}


def test_checkpoints_are_scored_in_order_and_none_twice(watched: tuple[Path, str, dict[int, float]]) -> None:
    """The output has a line for each checkpoint in the order of training, and the table has all of them."""
    root, output, _ = watched
    steps = [10 * number for number in range(1, CHECKPOINTS + 1)]
    assert [int(step) for step in re.findall(r"live-30K/checkpoint-(\d+), ", output)] == steps
    assert "FAILED" not in output
    assert len(finished(root / "out")) == CHECKPOINTS
    scores = pd.read_csv(root / "out" / "scores.csv")
    assert scores["model"].nunique() == CHECKPOINTS
    assert (scores["run"] == "live-30K").all()


def test_scoring_starts_after_a_checkpoint_is_complete(watched: tuple[Path, str, dict[int, float]]) -> None:
    """Scoring starts after training has finished a checkpoint, and no file changes afterwards: a sweep over the
    finished run scores nothing."""
    root, _, ended = watched
    for step, at in ended.items():
        (log,) = (root / "out" / "logs").glob(f"*checkpoint-{step}-*.log")
        first = re.search(r"\d{4}-\d\d-\d\d:\d\d:\d\d:\d\d", log.read_text())
        assert first is not None
        assert pd.to_datetime(first.group(0), format="%Y-%m-%d:%H:%M:%S").timestamp() >= int(at) - 1
    done = sweep(root / "live-30K", "-o", root / "out")
    assert done.returncode == 0, done.stderr
    assert "0 checkpoints scored now, 6 before" in done.stdout


def test_ctrl_c_ends_a_watch(tmp_path: Path) -> None:
    """A watch of a folder that does not exist yet ends with exit code 0 and one line."""
    with started("--watch", tmp_path / "later", "-o", tmp_path / "out") as watch:
        assert watch.stderr is not None
        assert "watching" in watch.stderr.readline()
        watch.send_signal(signal.SIGINT)
        _, output = watch.communicate(timeout=30)
    assert watch.returncode == 0, output
    assert output.strip() == "the watch was ended with 0 scored"
