"""Revisions of a model on a local Hub; the last test scores them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from rbridge_tasks.sweeping.hub import is_hub_name

from .model_hub import ModelHub
from .sweeps import sweep, write_checkpoints

pytestmark = pytest.mark.slow

NAME = "org/tiny-60K"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHub]:
    """A Hub with two steps as branches, one step as a tag, and a final model."""
    run = write_checkpoints(tmp_path_factory.mktemp("hub") / "run", range(10, 40, 10))
    first, second, third = (run / f"step{step}-tokens{step}K" for step in (10, 20, 30))
    branches = {"main": third, "step20-tokens20K": second, "step3-tokens3K": first}
    with ModelHub(NAME, branches, {"step30-tokens30K": third}) as server:
        yield server


@pytest.fixture
def environment(hub: ModelHub, tmp_path: Path) -> dict[str, str]:
    """Environment of a user of that Hub with an empty cache."""
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    return {**os.environ, **settings}


def listed(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``rbridge sweep --dry-run``."""
    program = [sys.executable, "-m", "rbridge_tasks", "sweep", "--dry-run", "--json", *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)


def test_a_folder_is_not_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is any other text that begins like a path."""
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("runs/web")
    (tmp_path / "runs" / "web").mkdir(parents=True)
    assert not any(map(is_hub_name, ("runs/web", "./web", "~/web", "/a/b", "web", "a/b/c")))


def test_revisions_are_chosen_by_glob_in_the_order_of_training(environment: dict[str, str], tmp_path: Path) -> None:
    """Globs match branches and tags; the default is main; a glob without a match is refused with the known names."""
    output = str(tmp_path / "out")
    entries = json.loads(listed(environment, NAME, "--revisions", "step*", "-o", output).stdout)
    steps = ["step3-tokens3K", "step20-tokens20K", "step30-tokens30K"]
    assert [entry["checkpoint"] for entry in entries] == [f"{NAME}@{step}" for step in steps]
    assert [entry["tokens"] for entry in entries] == [3e3, 20e3, 30e3]
    (default,) = json.loads(listed(environment, NAME, "-o", output).stdout)
    assert default["checkpoint"] == f"{NAME}@main"
    none = listed(environment, NAME, "--revisions", "ckpt*", "-o", output)
    assert none.returncode == 2
    assert f"no revision of {NAME} matches 'ckpt*'; there are " in none.stderr
    absent = listed(environment, "org/absent", "-o", output)
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1)
    assert "there is no model 'org/absent' on the Hub" in absent.stderr


def test_revisions_are_scored_and_then_known_offline(environment: dict[str, str], tmp_path: Path) -> None:
    """Scores name their revision; a second sweep finds them by their commits without a request to the Hub."""
    options = (NAME, "--revisions", "step?0*", "-o", tmp_path / "out")
    done = sweep(*options, environment=environment)
    assert done.returncode == 0, done.stderr
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert list(scores["model"].unique()) == [f"{NAME}@step{step}-tokens{step}K" for step in (20, 30)]
    assert list(scores["tokens"].unique()) == [20e3, 30e3]
    offline = sweep(*options, environment={**environment, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert offline.returncode == 0, offline.stderr
    assert "0 checkpoints scored now, 2 before" in offline.stdout
