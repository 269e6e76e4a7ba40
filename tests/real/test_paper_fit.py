"""The paper's own numbers: its table comes out of its figures, and the default recipe predicts them better."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rbridge_metrics import ProxyRegressor, cross_validate
from rbridge_tasks.cli import app
from rbridge_tasks.fitting.score_pairs import interpolated

PAPER = Path(__file__).parents[3] / "shared" / "paper"
COLUMNS = ("--x", "proxy_score", "--y", "target_accuracy_pct", "--group", "benchmark,metric", "--order", "tokens_b")

# Of Table 1: train R2 and test MAE.
PRINTED = {
    ("arc_c", "rbridge_negated"): ("0.969", "1.246"),
    ("arc_c", "accuracy_pct"): ("0.200", "7.287"),
    ("cqa", "rbridge_negated"): ("0.890", "2.182"),
    ("cqa", "accuracy_pct"): ("0.666", "3.989"),
    ("math500", "accuracy_pct"): ("0.127", "1.276"),
}
# Here the figures give other numbers than the table has.
NOT_PRINTED = {("math500", "rbridge_negated"), ("gsm8k", "rbridge_negated"), ("gsm8k", "accuracy_pct")}


@pytest.fixture(scope="session")
def pairs() -> Path:
    """Proxy scores and 13B accuracies, read from the paper's figures; tests that need them are skipped without."""
    if not PAPER.is_dir():
        pytest.skip(f"the paper's numbers are not at {PAPER}")
    return PAPER / "proxy_target_1b_13b.csv"


def fitted(pairs: Path, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What ``rbridge fit`` finds, by benchmark and metric."""
    result = CliRunner().invoke(app, ["fit", str(pairs), *COLUMNS, *arguments, "--json"], catch_exceptions=False)
    return {tuple(fit["group"].values()): fit["cross_validation"] for fit in json.loads(result.stdout)["fits"]}


def test_the_papers_table_comes_out_to_three_decimals(pairs: Path) -> None:
    """Every row that the paper's figures agree with, as the command prints it."""
    found = fitted(pairs, "--recipe", "paper", "--cv", "shuffled")
    for key, (r2, mae) in PRINTED.items():
        assert (f"{found[key]['train_r2']:.3f}", f"{found[key]['test_mae_pct']:.3f}") == (r2, mae), key
    assert set(found) == set(PRINTED) | NOT_PRINTED


def test_rows_on_the_gold_labels_nll_come_out_too(pairs: Path) -> None:
    """The same recipe, on scores that are drawn in another figure: three more rows of the table, to three decimals."""
    nll = pd.read_csv(PAPER / "nll_by_checkpoint.csv")
    targets = pd.read_csv(pairs).query("metric == 'accuracy_pct'").set_index(["benchmark", "tokens_label_b"])
    printed = {"arc_c": (0.166, 7.058), "cqa": (0.139, 5.483), "math500": (0.861, 0.593)}
    for benchmark, (r2, mae) in printed.items():
        rows = nll[nll["benchmark"] == benchmark].sort_values("tokens_b")
        accuracy = targets.loc[benchmark].loc[rows["tokens_label_b"], "target_accuracy_pct"]
        found = cross_validate(rows["nll"], accuracy, scheme="shuffled", order=rows["tokens_b"], recipe="paper")
        assert (round(found.train_r2, 3), round(found.test_mae, 3)) == (r2, mae)


@pytest.mark.parametrize("cv", ["blocked", "forward"])
def test_the_default_recipe_errs_at_least_15_per_cent_less(pairs: Path, cv: str) -> None:
    """Mean over the four benchmarks of the rBridge proxy's test error, on contiguous and on later checkpoints."""
    errors = {}
    for recipe in ("paper", "robust"):
        found = fitted(pairs, "--recipe", recipe, "--cv", cv)
        errors[recipe] = statistics.fmean(one["test_mae_pct"] for key, one in found.items() if "rbridge" in key[1])
    assert errors["robust"] <= 0.85 * errors["paper"]


def test_targets_are_interpolated_as_the_paper_does(pairs: Path) -> None:
    """13B accuracies at the 1B model's tokens, from the 13B model's own checkpoints, are those that are drawn."""
    checkpoints = pd.read_csv(PAPER / "inferred_checkpoints.csv")
    own = pd.read_csv(PAPER / "checkpoint_accuracy.csv").query("model == '13b'")
    drawn = pd.read_csv(PAPER / "inferred_targets.csv")
    compared = 0
    for benchmark, rows in drawn.groupby("benchmark"):
        accuracy = own[own["benchmark"] == benchmark].set_index("tokens_label_b")["accuracy_pct"]
        known = checkpoints[checkpoints["tokens_label_b"].isin(accuracy.index)]
        values = accuracy.loc[known["tokens_label_b"]].to_numpy()
        tokens = rows["tokens_1b_b"].to_numpy(float)
        found, _ = interpolated(tokens, known["tokens_13b_b"].to_numpy(float), values)
        inside = np.isfinite(found)
        np.testing.assert_allclose(found[inside], rows["target_13b_accuracy_pct"].to_numpy()[inside], atol=2e-3)
        compared += int(inside.sum())
    assert compared >= 48


def test_every_prediction_on_the_papers_scores_is_an_accuracy(pairs: Path) -> None:
    """Far outside its scores, where the published recipe predicts thousands of per cent."""
    table = pd.read_csv(pairs)
    for _, rows in table.groupby(["benchmark", "metric"]):
        fit = ProxyRegressor().fit(rows["proxy_score"], rows["target_accuracy_pct"])
        far = rows["proxy_score"].mean() + np.linspace(-50, 50, 1001) * rows["proxy_score"].std()
        assert ((fit.predict(far) >= 0) & (fit.predict(far) <= 100)).all()
