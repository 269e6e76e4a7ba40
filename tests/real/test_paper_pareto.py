"""The frontier and the savings of arXiv 2509.21013, from the points of its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import compute_savings, pareto_frontier, training_flops

MEASURES = {
    "on_frontier_decision_accuracy": "decision_accuracy_pct",
    "on_frontier_kendall": "kendall_tau",
}
#: The figures have coordinates of five decimals.
READ_TO = 1e-5


@pytest.fixture(scope="module")
def points(paper: Path) -> pd.DataFrame:
    """Decision accuracy and Kendall tau of every size, by metric."""
    return pd.read_csv(paper / "pareto.csv")


def disagreements(points: pd.DataFrame, flag: str, measure: str) -> pd.DataFrame:
    """Return the points whose computed flag differs from the drawn one."""
    wrong_points = [
        part[pareto_frontier(part["flops"], part[measure]) != part[flag].astype(bool)]
        for _, part in points.groupby("metric")
    ]
    return pd.concat(wrong_points)


def test_every_frontier_of_decision_accuracy(points: pd.DataFrame) -> None:
    """All 665 points of the six metrics have the drawn flag."""
    assert disagreements(points, "on_frontier_decision_accuracy", "decision_accuracy_pct").empty


def test_every_frontier_of_tau_except_for_one_tie(points: pd.DataFrame) -> None:
    """664 of 665 points have the drawn flag.

    The remaining point has the same tau as a cheaper point, 0.48333 to five decimals, so it is not on the frontier; the
    figure draws it there. The figure draws five similar ties off the frontier. A difference below the figure's
    precision explains the point.
    """
    odd = disagreements(points, "on_frontier_kendall", "kendall_tau")
    assert len(odd) == 1
    tied = points[(points["metric"] == odd["metric"].iloc[0]) & (points["kendall_tau"] == odd["kendall_tau"].iloc[0])]
    assert tied["flops"].min() < odd["flops"].iloc[0]
    settled = points.copy()
    settled.loc[odd.index, "kendall_tau"] += READ_TO / 10
    assert disagreements(settled, "on_frontier_kendall", "kendall_tau").empty


@pytest.mark.parametrize("measure", ["decision_accuracy_pct", "kendall_tau"])
def test_every_saving(points: pd.DataFrame, paper: Path, measure: str) -> None:
    """Costs and ratios at every level equal the figure's, with one frontier of the other metrics in log compute."""
    drawn = pd.read_csv(paper / "flops_savings.csv")
    drawn = drawn[drawn["measure"] == measure]
    ours, comparators = points[points["metric"] == "rbridge"], points[points["metric"] != "rbridge"]
    saved = compute_savings(ours["flops"], ours[measure], comparators["flops"], comparators[measure])
    reached = ~np.isnan(saved.ratio)
    assert saved.cost[reached] == pytest.approx(drawn["rbridge_flops"].to_numpy(), rel=1e-4)
    assert saved.other_cost[reached] == pytest.approx(drawn["alternative_frontier_flops"].to_numpy(), rel=1e-4)
    assert saved.ratio[reached] == pytest.approx(drawn["ratio"].to_numpy(), rel=1e-4)
    assert np.round(saved.ratio[reached], 1) == pytest.approx(drawn["printed_ratio"].to_numpy(), abs=0.11)
    assert saved.unreached == (0 if measure == "decision_accuracy_pct" else 2)  # levels that no other metric reaches
    assert not saved.bound.any()


def test_compute_is_six_n_d(points: pd.DataFrame) -> None:
    """FLOPs of every point are 6ND, to the printed digits."""
    flops = training_flops(1e6 * points["model_size_m"], 1e6 * points["tokens_m"])
    assert flops == pytest.approx(points["flops"].to_numpy(), rel=1e-4)
