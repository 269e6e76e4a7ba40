"""``rbridge forecast`` on made-up runs: which checkpoints it fits, its numbers and its notes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_metrics import RBridgeError

from ..tables.made_scores import as_json, invoke, row, table

TOKENS = np.arange(1, 13) * 1e9


def nll_at(tokens: float) -> float:
    return float(0.9 + 20 * tokens**-0.2)


def run_rows(name: str, values: Any = None, *, noise: float = 0.0, **changes: Any) -> list[dict[str, Any]]:
    """Twelve checkpoints of a run."""
    deviation = np.random.default_rng(0).normal(0, noise, TOKENS.size) if noise else np.zeros(TOKENS.size)
    printed = [nll_at(tokens) for tokens in TOKENS] if values is None else values
    return [
        row(name, float(value + off), size=(1e9, float(tokens)), **changes)
        for tokens, value, off in zip(TOKENS, printed, deviation, strict=True)
    ]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return table(tmp_path / "scores.csv", run_rows("dclm") + run_rows("c4", noise=0.002))


def test_a_run_without_noise_is_forecast_exactly(scores: Path) -> None:
    """The first half of a power law gives its values at four and eight times as many tokens."""
    printed = as_json("forecast", scores, "--run", "dclm", "--use-first", "0.5", "--at", "24B", "--at", "48e9")
    (entry,) = printed["forecasts"]
    assert (entry["checkpoints"], entry["until_tokens"]) == (6, 6e9)
    assert [point["tokens"] for point in entry["later"]] == [24e9, 48e9]
    for point in entry["later"]:
        assert point["value"] == pytest.approx(nll_at(point["tokens"]), abs=1e-4)
        assert point["low"] <= point["value"] <= point["high"]
    assert entry["c"] == pytest.approx(0.2, rel=0.01)
    assert entry["a"] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("options", "checkpoints"),
    [
        ((), 12),
        (("--until", "5B"), 5),
        (("--use-first", "0.75"), 9),
        (("--from", "3B"), 10),
        (("--from", "3B", "--until", "7B"), 5),
    ],
)
def test_the_part_to_fit_can_be_chosen(scores: Path, options: tuple[str, ...], checkpoints: int) -> None:
    """Options select checkpoints up to a token count, the first part of the run, or those after warm-up."""
    printed = as_json("forecast", scores, "--run", "dclm", "--at", "24B", *options)
    assert printed["forecasts"][0]["checkpoints"] == checkpoints


def test_a_backtest_shows_the_baselines(scores: Path) -> None:
    """The backtest prints errors on the hidden half, those of the last value and of a straight line, and a verdict."""
    printed = as_json("forecast", scores, "--backtest")
    assert [test["shown"] for test in printed["backtest"]["runs"]] == [6, 6]
    errors = printed["backtest"]["summary"]["mean_absolute_error"]
    assert set(errors) == {"power_law", "last_value", "linear_in_log_tokens"}
    assert errors["power_law"] < min(errors["last_value"], errors["linear_in_log_tokens"])
    assert "The forecast beats both baselines" in invoke("forecast", scores, "--backtest").stdout


def test_a_backtest_reports_that_a_baseline_is_better(tmp_path: Path) -> None:
    """On scores linear in log tokens the linear baseline is at least as good, and the output says so."""
    path = table(tmp_path / "scores.csv", run_rows("line", 2 - 0.1 * np.log(TOKENS / 1e9)))
    result = invoke("forecast", path, "--backtest")
    assert "does NOT beat the baseline linear in log tokens" in result.stdout
    assert "exponent at a limit" in result.stderr


def test_forecasts_of_accuracies_stay_in_their_range(tmp_path: Path) -> None:
    """Forecasts and intervals of fractions stay within 1, those of percentages within 100."""
    rising = 0.5 + 0.04 * (TOKENS / 1e9)
    for unit, values in ((1.0, rising), (100.0, 100 * rising)):
        path = table(tmp_path / f"{unit}.csv", run_rows("run", values, metric="acc"))
        point = as_json("forecast", path, "--metric", "acc", "--at", "10T")["forecasts"][0]["later"][0]
        assert 0 <= point["low"] <= point["value"] <= point["high"] <= unit


def test_accuracy_through_the_proxy(tmp_path: Path) -> None:
    """A fit to past runs turns the proxy's forecast into an accuracy near the true one, with an interval around it."""
    rows, later = run_rows("dclm"), 24e9

    def accuracy(nll: float) -> float:
        return 1 / (1 + math.exp(20 * (nll - 1.12)))

    # A past run whose scores cover the range of the forecast.
    for tokens in np.geomspace(1e9, 1e11, 16):
        nll = nll_at(float(tokens)) + 0.002 * math.sin(tokens)
        rows.append(row("past", nll, size=(1e9, float(tokens))))
        rows.append(row("past", accuracy(nll) + 0.01 * math.cos(tokens), size=(13e9, float(tokens)), metric="acc"))
    path, fit = table(tmp_path / "scores.csv", rows), tmp_path / "fit.json"
    sides = ("--proxy-metric", "rbridge_nll", "--target-metric", "acc", "--proxy", "1b", "--target", "13b")
    invoke("fit", path, *sides, "-o", fit)
    printed = as_json("forecast", path, "--run", "dclm", "--at", later, "--fit", fit)["forecasts"][0]["accuracy_pct"]
    assert printed[0]["value"] == pytest.approx(100 * accuracy(nll_at(later)), abs=2.0)
    assert printed[0]["low"] <= 100 * accuracy(nll_at(later)) <= printed[0]["high"]
    assert "Accuracy of the target" in invoke("forecast", path, "--run", "dclm", "--at", later, "--fit", fit).stdout
    with pytest.raises(RBridgeError, match="was fitted to rbridge_nll, not to acc"):
        invoke("forecast", path, "--metric", "acc", "--at", later, "--fit", fit)


def test_runs_that_cannot_be_fitted_are_counted(tmp_path: Path) -> None:
    """Short and flat runs are omitted and counted if other runs can be fitted; alone each is an error with a reason."""
    flat = run_rows("flat", np.full(12, 1.5))
    path = table(tmp_path / "scores.csv", run_rows("dclm") + run_rows("short")[:3] + flat)
    printed = as_json("forecast", path, "--at", "24B")
    assert [entry["run"] for entry in printed["forecasts"]] == ["dclm"]
    assert any("2 of 3 runs could not be fitted" in note for note in printed["notes"])
    with pytest.raises(RBridgeError, match=r"gsm8k of short .1B params.: 3 checkpoints"):
        invoke("forecast", path, "--run", "short", "--at", "24B")
    with pytest.raises(RBridgeError, match=r"1\.5 at all 12 checkpoints"):
        invoke("forecast", path, "--run", "flat", "--at", "24B")


def test_unknown_tokens_and_step_zero_are_counted(tmp_path: Path) -> None:
    """A checkpoint of unknown tokens or of 0 tokens is omitted and counted."""
    odd = [row("dclm", 9.0, size=(1e9, 0.0)), row("dclm", 1.0, size=(1e9, None))]
    notes = as_json("forecast", table(tmp_path / "scores.csv", run_rows("dclm") + odd), "--at", "24B")["notes"]
    assert "1 score of unknown tokens left out" in notes
    assert any(note.startswith("1 score at 0 tokens") for note in notes)


def test_two_checkpoints_at_the_same_tokens_are_refused(tmp_path: Path) -> None:
    """Two values at one token count are ambiguous, so the command refuses them."""
    again = row("dclm", 1.0, size=(1e9, 3e9)) | {"model": "again"}
    with pytest.raises(RBridgeError, match="two checkpoints at 3e"):
        invoke("forecast", table(tmp_path / "scores.csv", [*run_rows("dclm"), again]), "--at", "24B")


def test_doubtful_forecasts_have_a_note(tmp_path: Path) -> None:
    """A note reports a metric that gets worse, and a forecast far beyond the data."""
    path = table(tmp_path / "scores.csv", run_rows("worse", 2 - 20 * TOKENS**-0.2))
    notes = as_json("forecast", path, "--at", "120B")["notes"]
    assert any("rbridge_nll rises, and so gets worse, in 1 of 1 runs" in note for note in notes)
    assert any("120B tokens is 10 times as far as the last checkpoint" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --at TOKENS, or --backtest"),
        (("--at", "24B", "--until", "5B", "--use-first", "0.5"), "both say what to fit"),
        (("--at", "24B", "--plot", "x.svg"), "--plot draws one run, not 2"),
    ],
)
def test_options_that_do_not_go_together(scores: Path, options: tuple[str, ...], message: str) -> None:
    """The error says which options to give instead."""
    with pytest.raises(RBridgeError, match=message):
        invoke("forecast", scores, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--run", "web"), "no rbridge_nll of the run 'web'; there are c4, dclm"),
        (("--metric", "acc"), "metric acc"),
        (("--params", "7B"), "no rbridge_nll at 7B params; sizes are 1B"),
        (("--at", "soon"), "'soon' is no count"),
        (("--use-first", "50"), "--use-first 50; it is a fraction"),
        (("--backtest", "--until", "12B"), "none is left to test on"),
        (("--fit", "none.json"), "there is no file 'none.json'"),
    ],
)
def test_an_absent_run_metric_or_file_is_named(scores: Path, options: tuple[str, ...], message: str) -> None:
    """The error names the missing value and the available ones."""
    with pytest.raises(RBridgeError, match=message):
        invoke("forecast", scores, "--at", "24B", *options)


def test_the_forecast_is_drawn(scores: Path, tmp_path: Path) -> None:
    """The figure has fitted and hidden checkpoints, curve, interval and units; each run writes the same bytes."""
    plot = tmp_path / "forecast.svg"
    arguments = ("forecast", scores, "--run", "c4", "--use-first", "0.5", "--at", "24B", "--plot", plot)
    invoke(*arguments)
    first = plot.read_text()
    for text in ("training tokens", "rbridge_nll (nats per token)", "not shown to the fit", "90 % interval"):
        assert text in first
    invoke(*arguments)
    assert plot.read_text() == first
