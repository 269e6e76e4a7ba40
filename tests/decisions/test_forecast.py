"""``forecast`` and ``gate`` from Python give the results that the commands print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import ForecastError
from rbridge_tasks.decisions.forecast import forecast
from rbridge_tasks.decisions.gate import gate
from rbridge_tasks.decisions.gate_result import GateError

from ..tables.made_scores import as_json, row, samples, table


def checkpoints(last: float = 1.0) -> pd.DataFrame:
    """Ten checkpoints of a run, the NLL of the last multiplied by ``last``."""
    nll = 0.6 + 0.4 * np.arange(1, 11) ** -0.4 + 0.001 * np.random.default_rng(0).normal(size=10)
    nll[-1] *= last
    return pd.DataFrame([row("dclm", value, size=(1e9, at * 1e11)) for at, value in enumerate(nll, start=1)])


def test_forecasts_are_what_the_command_prints(tmp_path: Path) -> None:
    """From a DataFrame, with counts as numbers or strings."""
    frame = checkpoints()
    result = forecast(frame, at=["2T", 4e12], use_first=0.7, backtest=True)
    path = table(tmp_path / "scores.csv", frame.to_dict("records"))
    options = ("--at", "2T", "--at", "4T", "--use-first", "0.7", "--backtest")
    assert result.to_dict() == as_json("forecast", path, *options)
    assert result.to_frame()["tokens"].tolist() == [2e12, 4e12]
    assert forecast(frame, at="2T", runs="dclm", benchmarks="gsm8k").to_frame()["tokens"].tolist() == [2e12]
    assert "<table" in result._repr_html_()
    assert result.plot(tmp_path / "forecast.svg").axes
    with pytest.raises(ForecastError, match="--at"):
        forecast(frame)


def test_a_gate_by_forecast_takes_a_table(tmp_path: Path) -> None:
    """A DataFrame holds the checkpoint and its run; 2 % worse than the run predicts is a regression."""
    frame = checkpoints(last=1.02)
    result = gate(frame, forecast=frame)
    assert (result.passed, result.regressed, len(result.to_frame())) == (False, ["gsm8k"], 1)
    assert gate(frame, forecast=frame, max_regression="5%").passed
    assert gate(frame, forecast=frame, tokens="0.9T").to_dict()["benchmarks"][0]["change"]["checkpoints"] == 8
    assert result.plot(tmp_path / "gate.svg").axes
    with pytest.raises(GateError, match="DataFrame"):
        gate(frame, tmp_path)


def test_only_the_past_of_the_checkpoint_has_to_be_over_its_items() -> None:
    """Another size of the run, and later checkpoints, may have been scored on other items."""
    frame = checkpoints().assign(n=100.0)
    smaller = frame.assign(params=5e8, n=50.0)
    later = frame[-1:].assign(tokens=2e12, n=200.0)
    expected = gate(frame, forecast=frame).to_dict()["benchmarks"]
    assert gate(frame, forecast=pd.concat([frame, smaller, later])).to_dict()["benchmarks"] == expected
    with pytest.raises(GateError, match="scored on 100 items of gsm8k and its past on 50"):
        gate(frame, forecast=frame.assign(n=50.0))


def test_a_gate_by_baseline_is_what_the_command_prints(tmp_path: Path) -> None:
    """Item by item over two folders of samples."""
    nll = np.random.default_rng(0).gamma(4.0, 0.2, 50)
    for name in ("now", "before"):
        samples(tmp_path / name / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": nll.tolist()})
    now, before = tmp_path / "now", tmp_path / "before"
    result = gate(now, before, resamples=100)
    for benchmarks in ("gsm8k", ["gsm8k", "gsm8k"]):  # a benchmark named twice is tested, and corrected for, once
        assert gate(now, before, benchmarks=benchmarks, resamples=100).to_dict() == result.to_dict()
    assert result.to_dict() == as_json("gate", now, before, "--resamples", "100")
    assert result.passed
