"""``rbridge gate``: which checkpoints pass or fail, and what is reported to CI."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rbridge_metrics import RBridgeError
from rbridge_tasks.cli import app

from ..tables.made_scores import samples


def evaluation(folder: Path, *, worse: dict[str, float], seed: int = 0) -> Path:
    """Write samples of three benchmarks: every folder has the same items, its own noise, and some worse benchmarks."""
    for number, benchmark in enumerate(("gsm8k", "csqa", "arc_challenge")):
        nll = np.random.default_rng(number).gamma(4.0, 0.2, 200)
        noise = 0.01 * np.random.default_rng((seed, number)).normal(size=200)
        nats = (nll * (1 + worse.get(benchmark, 0.0)) + noise).tolist()
        samples(
            folder / f"samples_rbridge_{benchmark}_2026-01-01T00-00-00.jsonl",
            {"rbridge_nll": nats, "rbridge_bits_per_byte": [[score, 4] for score in nats]},
        )
    return folder


def gate(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Return exit code and the object printed with --json."""
    result = CliRunner().invoke(app, ["gate", *map(str, arguments), "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """Samples of the earlier checkpoint."""
    return evaluation(tmp_path / "before", worse={}, seed=1)


@pytest.mark.parametrize("metric", ["rbridge_nll", "rbridge_bits_per_byte"])
def test_a_checkpoint_as_good_as_the_last_passes(baseline: Path, tmp_path: Path, metric: str) -> None:
    """Exit code 0; every benchmark is compared over all items."""
    code, printed = gate(evaluation(tmp_path / "now", worse={}, seed=2), baseline, "--metric", metric)
    assert code == 0
    assert printed["verdict"].startswith("passed: none of 3 benchmarks")
    assert [(row["benchmark"], row["change"]["items"]) for row in printed["benchmarks"]] == [
        ("arc_challenge", 200), ("csqa", 200), ("gsm8k", 200),
    ]  # fmt: skip


def test_a_regression_fails_by_name_and_an_improvement_does_not(baseline: Path, tmp_path: Path) -> None:
    """Exit code 1; the output has the size of the change."""
    code, printed = gate(evaluation(tmp_path / "now", worse={"csqa": 0.02, "gsm8k": -0.05}, seed=2), baseline)
    assert code == 1
    assert printed["verdict"] == "failed: significantly worse than the baseline: csqa"
    csqa = printed["benchmarks"][1]
    assert csqa["relative"] == pytest.approx(0.02, abs=0.003)
    assert 0 < csqa["detectable"] < 0.02


def test_a_tolerated_regression_passes(baseline: Path, tmp_path: Path) -> None:
    """2 % worse is within a limit of 5 % or 0.05, and not within 0.5 %."""
    now = evaluation(tmp_path / "now", worse={"csqa": 0.02}, seed=2)
    assert gate(now, baseline, "--max-regression", "5%")[0] == gate(now, baseline, "--max-regression", "0.05")[0] == 0
    assert gate(now, baseline, "--max-regression", "0.5%")[0] == 1


def test_reports_for_ci(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Markdown summary is appended to GitHub's summary file, and JUnit XML counts the failures."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    code, _ = gate(
        evaluation(tmp_path / "now", worse={"csqa": 0.02}, seed=2), baseline, "--junit", tmp_path / "gate.xml"
    )
    assert code == 1
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("before\n### rBridge gate: failed")
    table = [line.count("|") for line in summary.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert len(set(table)) == 1
    suite = ET.parse(tmp_path / "gate.xml").getroot()  # noqa: S314  # the command wrote it
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["csqa"]


def test_the_table_shows_rows_and_verdict(baseline: Path, tmp_path: Path) -> None:
    """Without --json the output is a table with a row for each benchmark, and the verdict."""
    now = evaluation(tmp_path / "now", worse={"csqa": 0.02}, seed=2)
    result = CliRunner().invoke(app, ["gate", str(now), str(baseline)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "regressed" in result.stdout
    assert "failed: significantly worse than the baseline: csqa" in result.stdout


def test_a_benchmark_that_was_not_scored_cannot_pass(baseline: Path, tmp_path: Path) -> None:
    """A benchmark that the checkpoint lacks is an error, unless --benchmark names only other ones."""
    now = evaluation(tmp_path / "now", worse={}, seed=2)
    next(now.glob("*csqa*")).unlink()
    with pytest.raises(RBridgeError, match="holds no samples of csqa"):
        gate(now, baseline)
    assert gate(now, baseline, "--benchmark", "gsm8k")[0] == 0


def test_other_items_are_refused(baseline: Path, tmp_path: Path) -> None:
    """A checkpoint scored with another --limit cannot be paired with the baseline."""
    now = tmp_path / "now" / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl"
    samples(now, {"rbridge_nll": [1.0] * 100})
    with pytest.raises(RBridgeError, match="scored on 100 items and the baseline on 200"):
        gate(now, baseline, "--benchmark", "gsm8k")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-regression", "much"), "no share"),
        (("--metric", "surprise"), "is lower or higher better"),
        (("--metric", "acc"), "holds no samples with acc"),
    ],
)
def test_bad_arguments_are_refused(baseline: Path, arguments: tuple[str, ...], message: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(RBridgeError, match=message):
        gate(baseline, baseline, *arguments)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """The error says that the folder does not exist."""
    with pytest.raises(RBridgeError, match="there is no file or folder"):
        gate(tmp_path / "now", tmp_path / "before")


class TestFewItems:
    """For few items an interval is either short enough to read or not shown."""

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_too_few_items_are_one_line(self, tmp_path: Path, count: int) -> None:
        """With fewer than five items, all of them get worse by chance with a probability above 5 %."""
        paths = self.pair(tmp_path, [1.0] * count, [2.0] * count)
        with pytest.raises(RBridgeError, match=rf"gsm8k has {count} items? on both sides; at least 5 are needed"):
            gate(*paths)

    @pytest.mark.parametrize(
        ("old", "new", "code"),
        [
            ([1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.3, 2.1, 2.6, 2.2], 1),
            ([0.0] * 4 + [1.0], [0.0] * 5, 0),
            ([0.0] * 29 + [1.0], [0.0] * 30, 0),
            ([1.0] * 5, [1.0] * 5, 0),
            ([1.0] * 5, [1.5] * 5, 1),
            ([0.0] * 5, [0.0] * 5, 0),
            ([0.0] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1),
        ],
    )
    def test_printed_numbers_are_short_and_finite(
        self, tmp_path: Path, old: list[float], new: list[float], code: int
    ) -> None:
        """Cases: sparse differences, the same change on every item, no change, a baseline of 0."""
        paths = self.pair(tmp_path, old, new)
        done = CliRunner().invoke(app, ["gate", *map(str, paths)], catch_exceptions=False)
        assert done.exit_code == code
        assert max(len(word) for word in done.stdout.replace("│", " ").split() if word.strip("─┌┐└┘┬┴├┤┼━┏┓┡┩╇")) < 200
        assert not any(character.isdigit() for word in re.findall(r"\d{12,}", done.stdout) for character in word)
        _, printed = gate(*paths)
        (row,) = printed["benchmarks"]
        for name in ("low", "high"):
            assert row["change"][name] is None or abs(row["change"][name]) < 100

    @pytest.mark.parametrize("new", [[1.0] * 8, [1.5] * 8])
    def test_no_spread_has_no_detectable_change(self, tmp_path: Path, new: list[float]) -> None:
        """The standard error of the change is 0, so no detectable change can be computed."""
        _, printed = gate(*self.pair(tmp_path, [1.0] * 8, new))
        assert printed["benchmarks"][0]["detectable"] is None

    def pair(self, tmp_path: Path, old: list[float], new: list[float]) -> tuple[Path, Path]:
        """Write samples of the checkpoint and of the baseline; return their folders."""
        paths = tmp_path / "now", tmp_path / "before"
        for path, scores in zip(paths, (new, old), strict=True):
            samples(path / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": scores})
        return paths
