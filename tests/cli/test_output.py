"""What commands print is aligned, complete and free of control sequences."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_tasks.cli import main
from rbridge_tasks.cli.output import note, print_json, print_table
from rbridge_tasks.tables.sizes import count_text

from ..tables.made_scores import row, table
from .conftest import Refused


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of every library are JSON numbers, NaN and infinity are null, in any container."""
    print_json(
        {
            "a": np.float32(0.5),
            "b": np.array([[1, math.nan]]),
            "c": pd.Series([math.inf]),
            ("d", 1): {"e": np.int64(3), "f": np.bool_(True), "g": None},
            "h": "Ü\u202e",
        }
    )

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    got = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert got == {
        "a": 0.5,
        "b": [[1, None]],
        "c": [None],
        "('d', 1)": {"e": 3, "f": True, "g": None},
        "h": "Ü\u202e",
    }


def test_numbers_are_aligned_and_text_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are aligned right, text left; escapes, markup and lone surrogates are printed as text."""
    rows = [("[red]a[/red]", "1.5"), ("b\x1b[2J", "-"), ("c\ud800", "100 %"), ("longer name", "12 ± 3")]
    print_table("scores", ("run", "value"), rows)
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "[red]a[/red]" in output
    assert r"b\x1b[2J" in output
    assert r"c\ud800" in output
    lines = [line for line in output.splitlines() if line.startswith("│")]
    assert {line.rindex("│") - len(line.rstrip("│ ")) for line in lines} == {1}


def test_a_note_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends and escapes in quoted names do not reach the terminal."""
    note("left out:\n a\x1b[31m")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "left out: a\\x1b[31m\n"


def test_output_in_an_encoding_without_its_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or terminal with another encoding than UTF-8 gets the missing characters spelled out, as on Windows."""
    table(tmp_path / "scores.csv", [row("모델", 0.5, metric="acc")])
    output = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "argv", ["rbridge", "log", str(tmp_path / "scores.csv"), "--to", "markdown"])
    with pytest.raises(SystemExit) as end:
        main()
    output.seek(0)
    text = output.read()
    assert end.value.code in (0, None)
    assert "### acc \\u2191" in text
    assert "\\ubaa8\\ub378" in text


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_an_empty_output_file_is_refused(refused: Refused, tmp_path: Path, option: str) -> None:
    """The value is often an unset shell variable: without the check the command would write nothing."""
    scores = table(tmp_path / "scores.csv", [row(name, value) for name, value in (("a", 1.0), ("b", 1.1))])
    assert "'' has no suffix" in refused("rank", scores, option, "")


@pytest.mark.parametrize(
    ("number", "text"), [(999.6e6, "1B"), (97_900_000, "97.9M"), (0, "0"), (1_484_916_736, "1.48B"), (1e16, "10000T")]
)
def test_counts_are_short(number: float, text: str) -> None:
    """Counts have three digits and a unit, also if rounding reaches the next unit."""
    assert count_text(number) == text
