"""The tables of docs/evidence.md equal the shipped results."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from analysis import ACCURACY, Analysis
from corpora import CANDIDATES
from results import last_checkpoints

import rbridge_tasks as rb

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "evidence.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Last checkpoints of the proxies, and the targets, as means over the shipped seeds."""
    folder = tmp_path_factory.mktemp("analysis")
    proxies, targets = Analysis(PROJECT / "examples" / "replication" / "results", folder).write_tables()
    return last_checkpoints(proxies), targets


def row(name: str) -> list[str]:
    """Return the cells of the page's first table row that begins with a name, without the name."""
    cells = re.findall(rf"^\| {name} \|(.*)\|$", PAGE, re.MULTILINE)[0]
    return [cell.strip() for cell in cells.split("|")]


@pytest.mark.parametrize("corpus", CANDIDATES)
def test_accuracies_and_losses_of_a_corpus(tables: tuple[pd.DataFrame, pd.DataFrame], corpus: str) -> None:
    """Means over the families of the target's accuracy, the proxies' accuracies and their rBridge NLL."""

    def means(scores: pd.DataFrame, metric: str) -> list[float]:
        rows = scores[(scores["run"] == corpus) & (scores["metric"] == metric)]
        return list(rows.groupby("params")["value"].mean())

    proxies, targets = tables
    percent = [*means(targets, ACCURACY), *means(proxies, ACCURACY)]
    expected = [f"{100 * value:.1f}" for value in percent] + [f"{value:.3f}" for value in means(proxies, "rbridge_nll")]
    assert row(f"`{corpus}`")[1:] == expected


def test_decision_accuracies(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Decision accuracy of every metric of the page at every size, with its interval over corpora."""
    proxies, targets = tables
    names = [line.partition("`")[0] for line in re.findall(r"^\| `(\w+`) \| \d+ \(", PAGE, re.MULTILINE)]
    metrics = {name: f"`{name}`" for name in names} | {ACCURACY: "accuracy of the proxy"}
    for place, (_, scores) in enumerate(proxies.groupby("params")):
        comparison = rb.compare(scores, target=targets, target_metric=ACCURACY, metrics=list(metrics), fits=False)
        (mean,) = (part for part in comparison.benchmarks if part.benchmark == "mean of benchmarks")
        compared = {metric.name: metric for metric in mean.rows}
        for name, label in metrics.items():
            measured = (compared[name].low, compared[name].value, compared[name].high)
            low, value, high = (100 * side["decision_accuracy"] for side in measured)
            assert row(label)[place] == f"{value:.0f} ({low:.0f} to {high:.0f})"
    assert len(metrics) == 9
