"""DuckDB and pandas read Parquet files of scores directly, with the queries of the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from rbridge_tasks.tables.score_table import read_scores, read_table, write_scores

DOCS = Path(__file__).parents[2] / "docs"
FIVE, ZERO = ({"n-shot": shots, "traces": "abc"} for shots in "50")


@pytest.fixture
def scores() -> pd.DataFrame:
    """Three checkpoints of a run, one checkpoint of another run at 0 shots, and a handmade score without settings."""
    rows = [
        ("dclm", 1e9, "gsm8k", "rbridge_nll", 0.75, 0.02, FIVE), ("dclm", 3e9, "gsm8k", "rbridge_nll", 0.5, 0.01, FIVE),
        ("dclm", 2e9, "gsm8k", "rbridge_nll", 0.625, 0.03, FIVE), ("c4", 2e9, "gsm8k", "rbridge_nll", 0.4, 0.01, ZERO),
        ("c4", 2e9, "csqa", "acc", 0.3, None, None),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["run", "tokens", "benchmark", "metric", "value", "stderr", "settings"])
    return frame.assign(params=1e9, n=50, settings=frame["settings"].map(lambda row: json.dumps(row) if row else ""))


def test_settings_are_columns_and_come_back(scores: pd.DataFrame, tmp_path: Path) -> None:
    """The file has no index and no JSON; reading it gives the same settings."""
    write_scores(scores, tmp_path / "scores.parquet")
    plain = pd.read_parquet(tmp_path / "scores.parquet")
    assert {*plain.columns[9:]} == {"settings.n-shot", "settings.traces"}
    assert plain["settings.n-shot"].astype(object).where(plain["settings.n-shot"].notna(), None).to_list() == [
        "5", "5", "5", "0", None
    ]  # fmt: skip
    back = read_scores(tmp_path / "scores.parquet")
    assert [json.loads(cell) if cell else None for cell in back["settings"]] == [FIVE, FIVE, FIVE, ZERO, None]


@pytest.mark.parametrize("cell", ["high", "[1]", '{"layers": 3}'])
def test_a_user_column_named_settings_is_kept(scores: pd.DataFrame, tmp_path: Path, cell: str) -> None:
    """A column that does not hold JSON objects of strings is not split."""
    write_scores(scores.assign(settings=cell), tmp_path / "scores.parquet")
    assert {*read_scores(tmp_path / "scores.parquet")["settings"]} == {cell}


def test_text_that_parquet_cannot_hold_is_escaped(scores: pd.DataFrame, tmp_path: Path) -> None:
    """JSON can hold a lone surrogate, Parquet cannot."""
    write_scores(scores.assign(settings='{"dtype": "\\ud800"}'), tmp_path / "scores.parquet")
    assert {*pd.read_parquet(tmp_path / "scores.parquet")["settings.dtype"]} == {"\\ud800"}


def test_user_columns_with_a_settings_prefix_are_kept(scores: pd.DataFrame, tmp_path: Path) -> None:
    """Columns of numbers, and columns of tables without scores."""
    user_scores = scores.drop(columns="settings").assign(**{"settings.lr": 0.5})
    write_scores(user_scores, tmp_path / "own.parquet")
    assert {*read_scores(tmp_path / "own.parquet")["settings.lr"]} == {0.5}
    pd.DataFrame({"proxy": [1.0], "settings.mix": ["web"]}).to_parquet(tmp_path / "pairs.parquet")
    assert [*read_table(tmp_path / "pairs.parquet").columns] == ["proxy", "settings.mix"]


def test_the_queries_of_the_documentation(
    scores: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In DuckDB, on the numbers above."""
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    write_scores(scores, "scores.parquet")
    types = {name: kind for name, kind, *_ in duckdb.sql("DESCRIBE SELECT * FROM 'scores.parquet'").fetchall()}
    assert {kind for name, kind in types.items() if name.startswith("settings.")} == {"VARCHAR"}
    assert [types[name] for name in ("run", "params", "value", "n")] == ["VARCHAR", "DOUBLE", "DOUBLE", "BIGINT"]
    page = (DOCS / "exporting.md").read_text(encoding="utf-8")
    last, change = re.findall(r"^```sql\n(.*?)^```", page, re.M | re.S)
    assert duckdb.sql(last).fetchall() == [("c4", 1e9, 2e9, 0.4, 0.01), ("dclm", 1e9, 3e9, 0.5, 0.01)]
    assert duckdb.sql(change).fetchall() == [
        ("dclm", "gsm8k", 1e9, None), ("dclm", "gsm8k", 2e9, -0.125), ("dclm", "gsm8k", 3e9, -0.125)
    ]  # fmt: skip
