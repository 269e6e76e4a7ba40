"""Noise of AI2's model ladder: the published order of benchmarks, and rankings that averages improve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_tasks.decisions.noise import noise
from rbridge_tasks.decisions.rank import rank
from rbridge_tasks.tables.score_table import as_scores


@pytest.fixture(scope="module")
def ladder(data: Path) -> pd.DataFrame:
    """Scores of all runs and targets."""
    path = data / "ladder" / "scores.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return as_scores(pd.read_csv(path))


def test_the_order_of_benchmarks_by_relative_noise_is_the_published_one(ladder: pd.DataFrame) -> None:
    """The noise of accuracy is lowest for HellaSwag, then PIQA, and highest for OpenBookQA (arXiv 2508.13144)."""
    relative = noise(ladder, metrics="acc_norm").relative_noise()
    names = [benchmark for benchmark, _ in sorted(relative, key=lambda key: relative[key])]
    assert (names[0], names[1], names[-1]) == ("hellaswag", "piqa", "openbookqa")


def test_averages_order_runs_more_often_right(ladder: pd.DataFrame) -> None:
    """Runs of each size are ordered by accuracy; bits per byte, which has much less noise, gives the true order.

    Tokens are rescaled to shares of each run, so that all runs of a size end at the same value.
    """
    small = ladder[ladder["params"] < 6e9]
    ends = small.groupby(["run", "benchmark", "metric"])["tokens"].transform("max")
    small = small.assign(tokens=1e9 * small["tokens"] / ends)
    right: dict[str | None, list[float]] = {None: [], "auto": []}
    for _, table in small.groupby("params"):
        truth = table[(table["metric"] == "bits_per_byte") & (table["benchmark"] == "hellaswag")]
        last = truth[truth["tokens"] == 1e9]
        targets = pd.concat([last.assign(benchmark=name) for name in ("hellaswag", "openbookqa", "piqa")])
        for count, shares in right.items():
            ranking = rank(
                table, metric="acc_norm", benchmarks=["hellaswag", "openbookqa", "piqa"], target=targets,
                target_metric="bits_per_byte", average_last=count, resamples=10,
                at=f"{table['params'].iloc[0]:.0f}:1e9",
            )  # fmt: skip
            shares += [point.value["decision_accuracy"] for point in ranking.agreement if point.candidates > 4]
    assert np.mean(right["auto"]) > np.mean(right[None])
