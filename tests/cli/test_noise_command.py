"""``rbridge noise``: a row a benchmark and metric, what to do about it, and the same as JSON and as a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rbridge_tasks.decisions.noise import noise

from ..decisions.test_noise import candidates, targets
from ..tables.made_scores import as_json, invoke


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Eight candidates with twelve checkpoints."""
    candidates().to_csv(tmp_path / "scores.csv", index=False)
    targets().to_csv(tmp_path / "targets.csv", index=False)
    return tmp_path / "scores.csv"


def test_the_table_says_what_to_average(table: Path, tmp_path: Path) -> None:
    """Printed: a row and the sentences; written: the frame and a figure."""
    files = ("-o", tmp_path / "noise.csv", "--plot", tmp_path / "noise.svg")
    printed = invoke("noise", table, "--target", tmp_path / "targets.csv", *files)
    for words in ("rbridge_nll", "implied", "observed", "--average-last auto"):
        assert words in printed.stdout
    assert pd.read_csv(tmp_path / "noise.csv")["candidates"].tolist() == [8]
    assert "<svg" in (tmp_path / "noise.svg").read_text()


def test_json_is_the_decision(table: Path) -> None:
    """``--json`` prints ``to_dict``."""
    assert as_json("noise", table) == noise(table).to_dict()
