"""``rbridge noise``: a row for each benchmark and metric, advice, and the same numbers as JSON and in a file."""

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


def test_the_table_recommends_averages(table: Path, tmp_path: Path) -> None:
    """The command prints a row and sentences, and writes the table and a figure."""
    files = ("-o", tmp_path / "noise.csv", "--plot", tmp_path / "noise.svg")
    printed = invoke("noise", table, "--target", tmp_path / "targets.csv", *files)
    for words in ("rbridge_nll", "implied", "observed", "--average-last auto"):
        assert words in printed.stdout
    assert pd.read_csv(tmp_path / "noise.csv")["candidates"].tolist() == [8]
    assert "<svg" in (tmp_path / "noise.svg").read_text()


def test_json_is_the_decision(table: Path) -> None:
    """``--json`` prints ``to_dict``."""
    assert as_json("noise", table) == noise(table).to_dict()
