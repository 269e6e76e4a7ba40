"""``rbridge rank``: its JSON is the function's result; its tables and figures are readable."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rbridge_metrics import RBridgeError
from rbridge_tasks.decisions.rank import rank

from ..decisions.test_rank import SCORES, TARGETS
from ..tables.made_scores import as_json, invoke, table


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return table(tmp_path / "scores.csv", SCORES.to_dict("records"))


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    return table(tmp_path / "targets.csv", TARGETS.to_dict("records"))


def test_json_is_the_result_of_the_function(scores: Path, targets: Path) -> None:
    """The call sets every option that changes the result."""
    printed = as_json(
        "rank", scores, "-m", "rbridge_nll:lower", "-b", "gsm8k", "--target", targets, "--target-metric", "acc",
        "--target-at", "1.2B:98B", "--against", "acc", "--resamples", 200, "--level", 0.8, "--seed", 3,
    )  # fmt: skip
    ranking = rank(
        scores, metric="rbridge_nll:lower", benchmarks=["gsm8k"], target=targets, target_at="1.2B:98B", against="acc",
        resamples=200, level=0.8, seed=3,
    )  # fmt: skip
    assert printed == ranking.to_dict()


def test_the_table_is_readable(scores: Path, targets: Path) -> None:
    """The best candidate is first; only the largest size is shown without --all; agreement and savings follow."""
    result = invoke("rank", scores, "--target", targets, "--against", "acc")
    assert result.stdout.index("books") < result.stdout.index("wiki") < result.stdout.index("code")
    assert "lower is better, by its name" in result.stdout
    assert "98M params" in result.stdout
    assert "16M params" not in result.stdout
    assert "1 smaller size not shown; --all prints them" in result.stderr
    assert "16M params" in invoke("rank", scores, "--all").stdout
    assert "0.833 (" in result.stdout
    assert "Compute at equal decision accuracy" in result.stdout


def test_figures_are_drawn(scores: Path, targets: Path, tmp_path: Path) -> None:
    """Ranks and frontier are SVG with text: axes have units, lines have names; each run writes the same bytes."""
    ranks, frontier = tmp_path / "ranks.svg", tmp_path / "frontier.svg"
    arguments = ("rank", scores, "--target", targets, "--against", "acc", "--plot", ranks, "--frontier-plot", frontier)
    invoke(*arguments)
    for text in ("rbridge_nll (nats per token), lower is better", "books", "rank, with 90 % interval"):
        assert text in ranks.read_text()
    for text in ("training compute of one candidate (FLOPs)", "decision accuracy (% of pairs)", "acc, frontier"):
        assert text in frontier.read_text()
    before = ranks.read_bytes(), frontier.read_bytes()
    invoke(*arguments)
    assert (ranks.read_bytes(), frontier.read_bytes()) == before


@pytest.mark.parametrize(
    ("options", "message"), [(("--plot", "ranks.pdf"), ".pdf"), (("--frontier-plot", "frontier.svg"), "--target")]
)
def test_impossible_figures_are_refused(scores: Path, options: tuple[str, str], message: str) -> None:
    """A wrong suffix, and a frontier without a target."""
    with pytest.raises(RBridgeError, match=message):
        invoke("rank", scores, *options)


def test_targets_that_tie_have_no_frontier(scores: Path, targets: Path, tmp_path: Path) -> None:
    """Equal targets have no order: the command fails in one line, and the report has no panel for them."""
    table = pd.read_csv(targets)
    table.assign(value=0.5).to_csv(tmp_path / "equal.csv", index=False)
    drawn = tmp_path / "frontier.svg"
    with pytest.raises(RBridgeError, match="differ"):
        invoke("rank", scores, "--target", tmp_path / "equal.csv", "--frontier-plot", drawn)
    assert not drawn.exists()
    report = tmp_path / "report.html"
    invoke("report", scores, "--target", tmp_path / "equal.csv", "-o", report)
    assert "frontier-0" not in report.read_text()


def test_a_long_list_is_shortened(tmp_path: Path) -> None:
    """Of 40 candidates the first 20 and last 5 are printed; --all-candidates, JSON and the file have all."""
    runs = [f"mix{at:02}" for at in range(40)]
    columns = {"run": runs, "params": 1e8, "tokens": 1e9, "benchmark": "gsm8k", "metric": "rbridge_nll"}
    path = tmp_path / "scores.csv"
    pd.DataFrame({**columns, "value": range(1, 41)}).to_csv(path, index=False)
    short, whole = invoke("rank", path, "-o", tmp_path / "ranks.csv"), invoke("rank", path, "--all-candidates")
    assert [run for run in runs if run in short.stdout] == [*runs[:20], *runs[-5:]]
    assert "40 candidates" in short.stdout
    assert "15 candidates" in short.stderr
    assert all(run in whole.stdout for run in runs)
    assert len(as_json("rank", path)["rankings"][0]["candidates"]) == 40
    assert pd.read_csv(tmp_path / "ranks.csv")["run"].tolist() == runs
