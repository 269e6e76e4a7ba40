"""``rbridge gate CURRENT --forecast PAST``: from score tables and folders of results to a verdict."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rbridge_metrics import RBridgeError
from rbridge_tasks.cli import app

from ..tables.made_scores import row, table

CHECKPOINTS = 10


def rows(run: str = "dclm", *, worse: dict[str, float] | None = None, last: int = CHECKPOINTS) -> list[dict[str, Any]]:
    """Return checkpoints of a run on two benchmarks and their mean; the last checkpoint may be worse."""
    entries = []
    for number, benchmark in enumerate(("gsm8k", "csqa", "rbridge")):
        noise = 0.001 * np.random.default_rng(number).normal(size=CHECKPOINTS)
        for step in range(1, last + 1):
            nll = 0.6 + 0.1 * number + 0.4 * step**-0.4 + noise[step - 1]
            nll *= 1 + (worse or {}).get(benchmark, 0.0) * (step == last)
            entries.append(row(run, float(nll), size=(1e9, step * 1e11), benchmark=benchmark))
    return entries


def gate(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Return exit code and the object printed with --json."""
    result = CliRunner().invoke(app, ["gate", *map(str, arguments), "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)


def results(folder: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """Results files of lm-eval, one for each checkpoint."""
    for tokens in {entry["tokens"] for entry in entries}:
        checkpoint_rows = [entry for entry in entries if entry["tokens"] == tokens]
        tasks = {entry["benchmark"]: f"rbridge_{entry['benchmark']}" for entry in checkpoint_rows}
        name = f"ckpts/{checkpoint_rows[0]['run']}-1B/step{tokens / 1e8:.0f}-tokens{tokens / 1e9:.0f}B"
        data = {
            "results": {
                tasks[entry["benchmark"]]: {"rbridge_nll,none": entry["value"], "rbridge_nll_stderr,none": 0.01}
                for entry in checkpoint_rows
            },
            "config": {"model_args": {"pretrained": name}},
            "n-samples": {task: {"original": 100, "effective": 100} for task in tasks.values()},
        }
        file = folder / Path(name).name / "results_2026-01-01T00-00-00.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(data))
    return folder


def test_a_run_that_follows_its_trend_passes(tmp_path: Path) -> None:
    """The last checkpoint is tested against the earlier ones on each benchmark; the benchmarks' mean is not tested."""
    scores = table(tmp_path / "scores.parquet", rows())
    code, printed = gate(scores, "--forecast", scores)
    assert code == 0
    assert printed["verdict"] == "passed: none of 2 benchmarks is significantly worse than the forecast"
    assert [(entry["benchmark"], entry["change"]["checkpoints"]) for entry in printed["benchmarks"]] == [
        ("csqa", 9), ("gsm8k", 9),
    ]  # fmt: skip


def test_a_regression_fails_by_name_and_is_reported_to_ci(tmp_path: Path) -> None:
    """2 % worse on one benchmark gives exit code 1; the summary and JUnit XML name the benchmark."""
    scores = table(tmp_path / "scores.csv", rows(worse={"csqa": 0.02, "gsm8k": -0.02}))
    reports = ("--junit", tmp_path / "gate.xml", "--summary", tmp_path / "summary.md")
    code, printed = gate(scores, "--forecast", scores, *reports)
    assert code == 1
    assert printed["verdict"] == "failed: significantly worse than the forecast: csqa"
    assert printed["benchmarks"][0]["relative"] == pytest.approx(0.02, abs=0.005)
    assert 0 < printed["benchmarks"][0]["detectable"] < 0.02
    summary = (tmp_path / "summary.md").read_text()
    assert "### rBridge gate: failed" in summary
    assert "| csqa | 9 |" in summary
    suite = ET.parse(tmp_path / "gate.xml").getroot()  # noqa: S314  # the command wrote it
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["csqa"]
    assert gate(scores, "--forecast", scores, "--max-regression", "5%")[0] == 0


def test_control_characters_in_names_are_spelled_out(tmp_path: Path) -> None:
    """The verdict and the summary send nothing to the terminal, and the JUnit file is valid XML."""
    entries = [{**entry, "benchmark": entry["benchmark"] + "\x01\x1b[31m"} for entry in rows(worse={"csqa": 0.02})]
    scores = table(tmp_path / "scores.csv", entries)
    reports = ("--junit", tmp_path / "gate.xml", "--summary", tmp_path / "summary.md")
    arguments = ["gate", *map(str, (scores, "--forecast", scores, *reports))]
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    for text in (printed, (tmp_path / "summary.md").read_text()):
        assert r"worse than the forecast: csqa\x01\x1b[31m" in text
        assert not {"\x01", "\x1b"} & {*text}
    suite = ET.parse(tmp_path / "gate.xml").getroot()  # noqa: S314  # the command wrote it
    assert r"csqa\x01\x1b[31m" in [case.get("name") for case in suite]


def test_folders_of_results_give_the_same_verdict_as_a_table(tmp_path: Path) -> None:
    """lm_eval's results of the new checkpoint are tested against its results of the run, and against their table."""
    entries = rows(worse={"gsm8k": 0.03})
    run = results(tmp_path / "run", entries)
    now = run / f"step{CHECKPOINTS * 1000}-tokens{CHECKPOINTS * 100}B"
    code, by_folder = gate(now, "--forecast", run)
    assert code == 1
    assert by_folder["verdict"].endswith(": gsm8k")
    scores = table(tmp_path / "scores.csv", entries)
    _, by_table = gate(now, "--forecast", scores)
    assert by_table["benchmarks"] == by_folder["benchmarks"]


def test_an_earlier_checkpoint_and_one_of_several_runs_can_be_named(tmp_path: Path) -> None:
    """Only checkpoints before the named one are the past."""
    scores = table(tmp_path / "scores.csv", [*rows(), *rows("other", worse={"csqa": 0.02})])
    assert gate(scores, "--forecast", scores, "--run", "other")[0] == 1
    code, printed = gate(scores, "--forecast", scores, "--run", "dclm", "--tokens", "800B")
    assert code == 0
    assert printed["current"] == "dclm at 800B tokens"
    assert {entry["change"]["checkpoints"] for entry in printed["benchmarks"]} == {7}
    with pytest.raises(RBridgeError, match=r"holds 2 runs: dclm \(1B params\), other \(1B params\); name"):
        gate(scores, "--forecast", scores)


def test_missing_or_contradictory_input_is_refused(tmp_path: Path) -> None:
    """The error is one line that says what was found and what to do; missing data never passes."""
    scores = table(tmp_path / "scores.csv", rows())
    short = table(tmp_path / "short.csv", rows(last=4))
    last_rows = [entry for entry in rows() if entry["tokens"] == CHECKPOINTS * 1e11]
    lacking = table(tmp_path / "lacking.csv", [entry for entry in last_rows if entry["benchmark"] != "csqa"])
    smaller = table(tmp_path / "smaller.csv", [entry | {"n": 50} for entry in last_rows])
    unknown = table(tmp_path / "unknown.csv", [entry | {"tokens": None} for entry in last_rows])
    (tmp_path / "empty.csv").write_text("")
    refused: list[tuple[tuple[str | Path, ...], str]] = [
        ((short, "--forecast", short), "3 checkpoints; a - b .* compare with a baseline"),
        ((lacking, "--forecast", scores), "was not scored on csqa"),
        ((smaller, "--forecast", scores), "on 50 items of csqa and its past on 100"),
        ((unknown, "--forecast", scores), "give --tokens, for example 4T"),
        ((scores, "--forecast", scores, "--tokens", "9T"), "no checkpoint at 9T tokens"),
        ((scores, "--forecast", scores, "--run", "dolma"), "no rbridge_nll of the run 'dolma'"),
        ((scores, "--forecast", scores, "--params", "7B"), "at 7B params; sizes are 1B"),
        ((scores, "--forecast", scores, "--metric", "acc"), "metric acc"),
        ((tmp_path / "empty.csv", "--forecast", scores), "header is missing"),
        ((scores, "--forecast", tmp_path / "none.csv"), "there is no file"),
        ((scores,), "neither of BASELINE and --forecast"),
        ((scores, scores, "--forecast", scores), "both of BASELINE and --forecast"),
        ((scores, scores), "is a table, and a baseline is compared item by item"),
        ((tmp_path, tmp_path, "--run", "dclm"), "give --forecast"),
    ]
    for arguments, message in refused:
        with pytest.raises(RBridgeError, match=message) as caught:
            gate(*arguments)
        assert "\n" not in str(caught.value)


def test_checkpoints_of_unknown_tokens_are_judged_at_those_given(tmp_path: Path) -> None:
    """``--tokens`` gives the tokens of a checkpoint whose tokens are unknown."""
    scores = table(tmp_path / "scores.csv", rows(last=9))
    last = [entry | {"tokens": None} for entry in rows() if entry["tokens"] == CHECKPOINTS * 1e11]
    code, printed = gate(table(tmp_path / "now.csv", last), "--forecast", scores, "--tokens", "1T")
    assert (code, printed["current"]) == (0, "dclm at 1T tokens")
