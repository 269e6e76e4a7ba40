"""``rbridge collect``, ``rbridge rank`` and ``rbridge report`` on files written by ``lm_eval --log_samples``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..support import tiny_model
from ..tables.made_scores import as_json, invoke

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluated(tokenizers: dict[str, Any], warm_commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and samples of two candidates of the same size with different scores."""
    home = tmp_path_factory.mktemp("ranked")
    tokenizer = tokenizers["bos"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("RBRIDGE")}
    env["XDG_CACHE_HOME"] = str(home / "user-cache")
    for run, activation in (("web", "silu"), ("books", "relu")):
        folder = home / run / "16M" / "step1-tokens1B"
        tiny_model("llama", len(tokenizer), hidden_act=activation).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        options = [
            "--model",
            "hf",
            "--model_args",
            f"pretrained={folder}",
            "--tasks",
            "rbridge_gsm8k",
            "--batch_size",
            "4",
        ]
        options += ["--num_fewshot", "1", "--metadata", '{"rbridge_weights": "spans"}', "--log_samples"]
        done = subprocess.run(
            [str(warm_commands / "lm_eval"), *options, "--output_path", str(home / "out" / run)],
            cwd=home, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize("metric", ["rbridge_nll", "trace_bits_per_byte"])
def test_samples_of_lm_eval_give_paired_intervals(evaluated: Path, metric: str) -> None:
    """Scores from samples equal those of the results file, for means and corpus ratios, and intervals are paired."""
    table = evaluated / f"{metric}.csv"
    invoke("collect", evaluated / "out", "-o", table, "--include-sample")
    options = [part for run in ("web", "books") for part in ("--samples", f"{run}={evaluated / 'out' / run}")]
    paired, unpaired = as_json("rank", table, "--metric", metric, *options), as_json("rank", table, "--metric", metric)
    (group,), (loose,) = paired["rankings"], unpaired["rankings"]
    assert "the same draw for all candidates" in group["method"]
    assert {candidate["run"] for candidate in group["candidates"]} == {"web", "books"}
    for ours, theirs in zip(group["candidates"], loose["candidates"], strict=True):
        assert ours["value"] == theirs["value"]
        (low, high), (lower, higher) = ours["value_interval"], theirs["value_interval"]
        assert high - low == pytest.approx(higher - lower, rel=0.25)  # a bootstrap of ten items is narrower


def test_the_report_shows_what_lm_eval_wrote(evaluated: Path) -> None:
    """The report has exact scores, paired intervals of the two runs, and every token of every trace."""
    from rbridge_tasks.report.coloured_tokens import weighted_traces
    from rbridge_tasks.tables.score_table import read_scores
    from rbridge_tasks.tables.trace_samples import evaluations

    table, page = evaluated / "reported.parquet", evaluated / "report.html"
    invoke("collect", evaluated / "out", "-o", table, "--include-sample")
    invoke("report", table, "-o", page, "--samples", evaluated / "out", "--traces", 50)
    text = page.read_text()
    for value in read_scores(table)["value"]:
        assert f'<data value="{value!r}">' in text
    assert "items resampled, the same draw for all candidates" in text
    assert "weights are 1 inside marked key steps" in text
    shown = weighted_traces(evaluations([evaluated / "out"])[1])[0]
    assert text.count("weight\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}NLL") == sum(trace.nll.size for trace in shown)
