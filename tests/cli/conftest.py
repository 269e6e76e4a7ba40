"""The ``rbridge`` command in this process, with its exit code and both streams."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rbridge_tasks.cli import main

Run = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``rbridge ARGUMENTS``; return exit code, output and errors."""

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rbridge", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run_command


@pytest.fixture
def refused(run: Run) -> Refused:
    """Run ``rbridge ARGUMENTS``, which must fail with one line of error; return that line."""

    def run_command(*arguments: str | Path) -> str:
        code, _, errors = run(*arguments)
        assert code == 2
        (line,) = [line for line in errors.splitlines() if line.startswith("rbridge: error: ")]
        assert len(line) < 700
        return line

    return run_command
