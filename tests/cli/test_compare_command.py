"""``rbridge compare``: its JSON and table file are the function's result; its text names the best metric."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rbridge_tasks.decisions.compare import compare

from ..decisions import made_pairs
from ..decisions.test_compare import candidates
from ..tables.made_scores import as_json, invoke, table


def test_json_is_the_result_of_the_function(tmp_path: Path) -> None:
    """For a table of candidates and for a table of checkpoints."""
    small, large = candidates(benchmarks=("gsm8k",))
    scores, targets = (table(tmp_path / f"{at}.csv", part.to_dict("records")) for at, part in enumerate((small, large)))
    options = ("--no-fits", "--metrics", "trace_nll,rbridge_nll", "--resamples", 200, "--level", 0.8, "--seed", 3)
    printed = as_json("compare", scores, "--target", targets, "-b", "gsm8k", "--by", "spearman", *options)
    comparison = compare(
        scores, target=targets, benchmarks=["gsm8k"], by="spearman", fits=False, metrics=["trace_nll", "rbridge_nll"],
        resamples=200, level=0.8, seed=3,
    )  # fmt: skip
    assert printed == comparison.to_dict()
    runs = made_pairs.score_table(made_pairs.scores(benchmarks=("gsm8k",)), tmp_path / "runs.csv")
    printed = as_json("compare", runs, "--proxy", "1b", "--target-model", "13b", "--cv", "forward", "--min-train", 5)
    assert printed == compare(runs, proxy="1b", target_model="13b", cv="forward", min_train=5).to_dict()


def test_files_and_text(tmp_path: Path) -> None:
    """It writes a row for each metric and benchmark and a figure, names the best metric, and repeats every byte."""
    small, large = candidates()
    scores, targets = (table(tmp_path / f"{at}.csv", part.to_dict("records")) for at, part in enumerate((small, large)))
    files = tmp_path / "compare.csv", tmp_path / "compare.svg"
    command = ("compare", scores, "--target", targets, "--no-fits", "-o", files[0], "--plot", files[1])
    text = invoke(*command).stdout
    assert "best by decision accuracy: rbridge_nll" in text
    assert pd.read_csv(files[0])["best"].sum() == 3
    before = [path.read_bytes() for path in files]
    assert invoke(*command).stdout == text
    assert [path.read_bytes() for path in files] == before
