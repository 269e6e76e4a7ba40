"""``compare`` on the paper's 1B scores and 13B accuracies: rBridge is best; log tokens are close to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import cross_validate
from rbridge_tasks.decisions.compare import compare
from rbridge_tasks.tables.score_table import write_scores

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "proxy_target_1b_13b.csv"
METRICS = {"rbridge_negated": "rbridge_negated", "accuracy_pct": "acc"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run at two sizes as a score table; tests are skipped without the paper's numbers."""
    if not PAPER.is_file():
        pytest.skip(f"the paper's numbers are not at {PAPER}")
    rows = []
    for row in pd.read_csv(PAPER).itertuples():
        point = {"run": "olmo", "tokens": row.tokens_b * 1e9, "benchmark": row.benchmark}
        rows.append({**point, "params": 1.2e9, "metric": METRICS[row.metric], "value": row.proxy_score})
        rows.append({**point, "params": 13.7e9, "metric": "acc", "value": row.target_accuracy_pct})
    path = tmp_path_factory.mktemp("paper") / "runs.csv"
    # Each accuracy was read from two figures; one of them is kept.
    write_scores(pd.DataFrame(rows).drop_duplicates(["params", "tokens", "benchmark", "metric"]), path)
    return path


def test_rbridge_is_best_on_every_benchmark_and_tokens_are_close(runs: Path) -> None:
    """rBridge beats the small model's accuracy on all four; on three, log tokens are not significantly different."""
    parts = compare(runs, proxy="1b", target_model="13b").benchmarks
    metrics = {part.benchmark: {row.name: row for row in part.rows} for part in parts}
    for benchmark in ("arc_c", "cqa", "math500", "gsm8k"):
        assert metrics[benchmark]["rbridge_negated"].best
        assert not metrics[benchmark]["acc"].alike
    assert sum(metrics[name]["log(tokens)"].alike for name in ("arc_c", "cqa", "math500", "gsm8k")) == 3
    frame = pd.read_csv(PAPER)
    cqa = frame[(frame["benchmark"] == "cqa") & (frame["metric"] == "rbridge_negated")]
    fit = cross_validate(cqa["proxy_score"], cqa["target_accuracy_pct"], order=np.array(cqa["tokens_b"]))
    assert metrics["cqa"]["rbridge_negated"].value["mae"] == pytest.approx(fit.test_mae, rel=1e-3)
