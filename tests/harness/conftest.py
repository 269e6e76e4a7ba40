"""The real ``lm_eval`` and ``rbridge`` commands in a directory outside the project."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .lm_eval_command import Run


@pytest.fixture(scope="module")
def command(warm_commands: Path) -> Run:
    """Run an installed command with its own user cache."""

    def run(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("RBRIDGE")}
        env |= {"XDG_CACHE_HOME": str(cwd / "user-cache"), "COLUMNS": "200"}
        words = [str(warm_commands / name), *arguments]
        return subprocess.run(words, cwd=cwd, env=env | environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def lm_eval(command: Run) -> Run:
    """Run ``lm_eval`` on a checkpoint."""

    def run(
        checkpoint: Path, tasks: str, *arguments: str, cwd: Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        options = ["--model", "hf", "--model_args", f"pretrained={checkpoint}", "--batch_size", "4", "--tasks", tasks]
        return command("lm_eval", *options, *arguments, cwd=cwd, **environment)

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory outside the project."""
    return tmp_path_factory.mktemp("home")
