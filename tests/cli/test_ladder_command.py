"""``rbridge ladder``: its JSON and file are the result of the function; bad input is one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rbridge_tasks as rb
from rbridge_tasks.cli import main

from ..decisions.test_ladder import SIZES, table
from ..tables.made_scores import as_json, invoke

MIXED = pd.concat([table(), table(unit=100.0).assign(run=lambda rows: rows["run"] + "-percent")])


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Four sizes at three token counts."""
    table().to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path / "scores.csv"


def test_json_and_file_are_the_result_of_the_function(scores: Path, tmp_path: Path) -> None:
    """The call sets every option that changes a number."""
    options: dict[str, Any] = {"least_ratio": 15, "chance": 0.25, "level": 0.8, "resamples": 100, "seed": 3}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    flags += ["-m", "bits_per_byte", "--predict", "7B:1T", "--up-to", "1B", "--reach", 0.6, "-o", tmp_path / "f.csv"]
    printed = as_json("ladder", scores, *flags)
    result = rb.ladder(scores, "bits_per_byte", predict=["7B:1T"], up_to="1B", reach=[0.6], **options)
    assert printed == result.to_dict()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "f.csv"), result.to_frame(), check_dtype=False)


def test_a_long_list_of_targets_shows_its_ends(scores: Path, tmp_path: Path) -> None:
    """Of forty targets the first twenty, the last five and the count are printed; the file has all."""
    targets = [part for size in range(5, 45) for part in ("--predict", f"{size}B:1T")]
    options = ("-m", "bits_per_byte", "--resamples", 100, "-o", tmp_path / "f.csv")
    printed = invoke("ladder", scores, *options, *targets)
    assert "40 forecasts" in printed.stdout
    assert "15 forecasts amid a long list not shown" in printed.stderr
    assert len(pd.read_csv(tmp_path / "f.csv")) == 40


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (table(sizes=SIZES[:2]), (), "2 sizes"),
        (table(multiples=(20,)), (), "token counts"),
        (table().drop(columns="params"), (), "params of all runs are unknown"),
        (table(improve=-0.3), (), "does not improve"),
        (MIXED, (), "mixes fractions"),
        (table(), ("--chance", "a half"), "--chance"),
        (table(), ("--chance", "0.2", "--chance", "gsm8k=0.25"), "one fraction for all benchmarks, or one for each"),
        (table(), ("--chance", "0.2", "--chance", "0.25"), "one fraction for all benchmarks, or one for each"),
        (table(), ("-o", ""), "has no suffix, but forecasts"),
        (table(), ("--reach", "60"), "--reach 60"),
        (table(), ("--predict", "7B"), "PARAMS:TOKENS"),
        (table(), ("--average-last", "auto"), "--average-last"),
    ],
)
def test_bad_input_is_one_line(
    rows: pd.DataFrame,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error is on stderr, the exit code is not 0 and stdout is empty."""
    rows.to_csv(tmp_path / "scores.csv", index=False)
    arguments = ["rbridge", "ladder", str(tmp_path / "scores.csv"), "-m", "bits_per_byte", "--predict", "20B:1T"]
    monkeypatch.setattr(sys, "argv", [*arguments, *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code not in (0, None)
    output = capsys.readouterr()
    assert message in output.err
    assert "\n" not in output.err.strip()
    assert not output.out
