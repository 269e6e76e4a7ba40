"""The replication runs from an empty folder to its report with the command of the Makefile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

RUN = Path(__file__).parents[2] / "examples" / "replication" / "run.py"


@pytest.mark.slow(seconds=100)
def test_quick(tmp_path: Path) -> None:
    """Two corpora and the smallest size: every stage leaves its files, and the report holds both candidates."""
    done = subprocess.run(
        [sys.executable, str(RUN), "quick", "--out", str(tmp_path), "--jobs", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(tmp_path) not in pd.read_parquet(tmp_path / "results" / "seed0" / "scores.parquet").to_csv()
    analysis = tmp_path / "analysis"
    for name in ("proxies", "targets", "eighty"):
        assert set(pd.read_parquet(analysis / f"{name}.parquet")["run"]) == {"clean", "answers100"}
    assert "rbridge_nll" in set(pd.read_parquet(analysis / "proxies.parquet")["metric"])
    assert "answers100" in (analysis / "report.html").read_text(encoding="utf-8")
    assert (analysis / "traces_needed.csv").stat().st_size
    assert (analysis / "commands.txt").read_text(encoding="utf-8").startswith("rbridge compare proxies.parquet")
