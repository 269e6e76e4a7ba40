"""``rbridge sweep --watch`` beside a real training process: every checkpoint in order, once, and whole."""

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
    """Root of a run and its scores, what the watch said, and when the training had finished each checkpoint."""
    root = tmp_path_factory.mktemp("watched")
    options = ["--until", 10 * CHECKPOINTS, "--poll", "0.3s", "--settle", "1s"]
    program = Path(__file__).with_name("train.py")
    with started("--watch", root / "live-30K", "-o", root / "out", *options) as watch:
        training = subprocess.run(
            [sys.executable, program, root / "live-30K", str(CHECKPOINTS)], capture_output=True, text=True, check=False
        )
        assert training.returncode == 0, training.stderr
        _, said = watch.communicate(timeout=120)
    assert watch.returncode == 0, said
    return root, said, {int(step): float(at) for step, at in map(str.split, training.stdout.splitlines())}


def test_checkpoints_are_scored_in_order_and_none_twice(watched: tuple[Path, str, dict[int, float]]) -> None:
    """One line for each checkpoint, in the order of training, and a table of all."""
    root, said, _ = watched
    steps = [10 * number for number in range(1, CHECKPOINTS + 1)]
    assert [int(step) for step in re.findall(r"live-30K/checkpoint-(\d+), ", said)] == steps
    assert "FAILED" not in said
    assert len(finished(root / "out")) == CHECKPOINTS
    scores = pd.read_csv(root / "out" / "scores.csv")
    assert scores["model"].nunique() == CHECKPOINTS
    assert (scores["run"] == "live-30K").all()


def test_none_was_begun_before_it_was_whole(watched: tuple[Path, str, dict[int, float]]) -> None:
    """Scoring began after the training had finished a checkpoint, and no file has changed since: a sweep over the
    finished run finds nothing to do."""
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
    """Of a folder that does not exist yet, with nothing scored: exit code 0 and one line."""
    with started("--watch", tmp_path / "later", "-o", tmp_path / "out") as watch:
        assert watch.stderr is not None
        assert "watching" in watch.stderr.readline()
        watch.send_signal(signal.SIGINT)
        _, said = watch.communicate(timeout=30)
    assert watch.returncode == 0, said
    assert said.strip() == "the watch was ended with 0 scored"
