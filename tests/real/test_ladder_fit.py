"""Fits of real runs: points are measured accuracies, and intervals cover held-out checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_tasks.decisions.fit import fit
from rbridge_tasks.tables.score_table import as_scores


def run_pair(data: Path, proxy: str, target: str) -> pd.DataFrame:
    """Return the scores of a run of AI2's ladder and of a target model."""
    path = data / "ladder" / "scores.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    table = pd.read_csv(path)
    rows = table[(table["run"] == proxy) | (table["model"] == target)]
    return as_scores(rows[rows["metric"].isin(["bits_per_byte", "acc_norm"])])


def test_intervals_cover_blocks_of_real_checkpoints(data: Path) -> None:
    """Coverage is within five points of 90 %, over four benchmarks and three pairs of 12 to 30 checkpoints."""
    coverage = []
    for proxy, target in (("1B-10xC", "7B"), ("3B-10xC", "7B"), ("3B-10xC", "13B")):
        table = run_pair(data, proxy, target)
        result = fit(table, proxy=proxy, target=target, proxy_metric="bits_per_byte", target_metric="acc_norm")
        measured = table[(table["model"] == target) & (table["metric"] == "acc_norm")]
        for group in result.groups:
            accuracies = 100 * measured.loc[measured["benchmark"] == group.name, "value"].to_numpy()
            assert np.abs(np.array([point.y for point in group.points])[:, None] - accuracies).min(axis=1).max() < 1e-9
            assert group.cross_validation is not None
            coverage.append(group.cross_validation.coverage)
    assert abs(np.mean(coverage) - 0.9) < 0.05


def test_the_papers_recipe_still_interpolates_accuracies(data: Path) -> None:
    """The paper's recipe has a point for every checkpoint of the proxy within the target's tokens."""
    table = run_pair(data, "1B-10xC", "7B")
    names = {"proxy": "1B-10xC", "target": "7B", "proxy_metric": "bits_per_byte", "target_metric": "acc_norm"}
    paper, robust = (fit(table[table["benchmark"] == "piqa"], **names, recipe=recipe) for recipe in ("paper", "robust"))
    assert len(paper.groups[0].points) > 10 * len(robust.groups[0].points)
