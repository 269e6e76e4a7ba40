"""``rbridge predict``: accuracies, intervals and ranks for new scores, and the scores it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError
from rbridge_tasks.decisions.fit_file import load_fit

from ..decisions.made_pairs import TOKENS, checkpoints, pairs, score_table, scores, written
from ..tables.made_scores import as_json, invoke
from .test_fit_command import COLUMNS, MODELS


@pytest.fixture
def fit(tmp_path: Path) -> Path:
    """Curves of two benchmarks, fitted to pairs."""
    invoke("fit", written(pairs(), tmp_path / "pairs.csv"), *COLUMNS, "-o", tmp_path / "fit.json")
    return tmp_path / "fit.json"


@pytest.fixture
def score_fit(tmp_path: Path) -> Path:
    """A curve fitted to a score table of the run web."""
    invoke("fit", score_table(scores(), tmp_path / "fitted.csv"), *MODELS, "-o", tmp_path / "score_fit.json")
    return tmp_path / "score_fit.json"


def test_every_row_gets_what_the_library_predicts(fit: Path, tmp_path: Path) -> None:
    """Predictions, intervals and ranks equal the regressor's, in the JSON and in the written table."""
    new = pairs().assign(score=lambda table: table["score"] + 0.01)
    printed = as_json("predict", fit, written(new, tmp_path / "new.csv"), "-o", tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert len(table) == 24
    assert [*new.columns] == [*table.columns[:5]]
    for seed, group in enumerate(printed["groups"]):
        model = load_fit(fit).group(*group["group"].values()).model
        x = checkpoints(seed)[0] + 0.01
        low, high = model.predict_interval(x, 0.9)
        rows = table[table["benchmark"] == group["group"]["benchmark"]]
        for name, expected in (("predicted_accuracy_pct", model.predict(x)), ("low_pct", low), ("high_pct", high)):
            np.testing.assert_allclose([row[name] for row in group["rows"]], expected)
            np.testing.assert_allclose(rows[name], expected)
        assert rows["rank"].tolist() == pd.Series(-model.predict(x)).rank(method="min").tolist()


def test_text_columns_identify_the_rows_of_a_table_of_pairs(fit: Path, tmp_path: Path) -> None:
    """A table of pairs has no runs or models, so its text columns are shown; its other numbers are not."""
    new = pairs().head(2).assign(mix=["web", "books"], seed=[987654, 987655])
    printed = invoke("predict", fit, written(new, tmp_path / "new.csv")).stdout
    assert "mix" in printed
    assert [word for word in ("web", "books", "seed", "98765") if word in printed] == ["web", "books"]


def test_another_level_is_another_interval(fit: Path, tmp_path: Path) -> None:
    """A lower --level gives a narrower interval; the default is the level of the fit."""
    table = written(pairs(), tmp_path / "new.csv")
    widths = []
    for options in ((), ("--level", "0.9"), ("--level", "0.5")):
        row = as_json("predict", fit, table, *options)["groups"][0]["rows"][5]
        widths.append(row["high_pct"] - row["low_pct"])
    assert widths[0] == widths[1] > widths[2]


def test_scores_outside_those_fitted_are_marked_and_counted(fit: Path, tmp_path: Path) -> None:
    """A prediction beyond the fitted range is printed, marked in its row and counted in a note."""
    new = pairs(("gsm8k",)).iloc[:3].assign(score=[0.1, 0.8, 1.5])
    path = written(new, tmp_path / "new.csv")
    assert [row["outside_fitted_range"] for row in as_json("predict", fit, path)["groups"][0]["rows"]] == [
        True,
        False,
        True,
    ]
    result = invoke("predict", fit, path)
    assert "gsm8k, rbridge_nll: 2 of 3 rows lie outside the fitted scores" in result.stderr
    assert "outside the fitted scores" in result.stdout


def test_known_accuracies_are_compared(fit: Path, tmp_path: Path) -> None:
    """With --y the error is printed; accuracies may be fractions."""
    new = pairs(("csqa",)).assign(accuracy=lambda table: table["accuracy"] / 100.0, benchmark="csqa")
    nll, accuracy = checkpoints(0)
    printed = as_json("predict", fit, written(new, tmp_path / "new.csv"), "--y", "accuracy")["groups"][0]
    model = load_fit(fit).group("csqa", "rbridge_nll").model
    assert printed["mae_pct"] == pytest.approx(np.abs(model.predict(nll) - accuracy).mean())
    assert 0.0 <= printed["coverage"] <= 1.0
    text = invoke("predict", fit, tmp_path / "new.csv", "--y", "accuracy").stdout
    assert f"mean absolute error {printed['mae_pct']:.3f} points" in text


def test_zero_shot_transfer_to_another_run(score_fit: Path, tmp_path: Path) -> None:
    """The curve of one data set predicts the rows of another one, and the output names the new runs."""
    table = score_table(scores(runs=("web", "code")), tmp_path / "new.csv")
    printed = as_json("predict", score_fit, table)
    group = printed["groups"][0]
    assert group["new_runs"] == ["code"]
    assert len(group["rows"]) == 24
    assert "24 rows skipped: of another metric than rbridge_nll" in printed["notes"]


def test_scores_of_another_size_are_not_predicted(score_fit: Path, tmp_path: Path) -> None:
    """A curve fitted to 1B models does not apply to the NLL of a 7B model."""
    frame = scores()
    large = frame[frame["metric"] == "rbridge_nll"].assign(params=7e9, model="web-7b")
    table = score_table(pd.concat([frame, large]), tmp_path / "new.csv")
    printed = as_json("predict", score_fit, table)
    assert len(printed["groups"][0]["rows"]) == 12
    assert "12 rows skipped: of another size than the proxy's 1.2e+09 parameters" in printed["notes"]


def test_rows_without_a_curve_are_skipped_and_counted(fit: Path, tmp_path: Path) -> None:
    """A benchmark without a curve and a missing score are skipped; --use applies a curve to another benchmark."""
    new = pairs(("gsm8k", "math500"))
    new.loc[0, "score"] = np.nan
    path = written(new, tmp_path / "new.csv")
    printed = as_json("predict", fit, path)
    assert [len(group["rows"]) for group in printed["groups"]] == [11]
    assert "1 row skipped: without a finite score" in printed["notes"]
    assert f"12 rows skipped: {fit} has no curve for math500, rbridge_nll" in printed["notes"]
    carried = as_json("predict", fit, path, "--use", "gsm8k, rbridge_nll")
    assert [len(group["rows"]) for group in carried["groups"]] == [23]


def test_predictions_are_drawn(fit: Path, tmp_path: Path) -> None:
    """The figure shows predictions on their curve, interval, range and known accuracies."""
    new = pairs(("gsm8k",)).assign(score=lambda table: table["score"] - 0.1)
    invoke("predict", fit, written(new, tmp_path / "new.csv"), "--y", "accuracy", "--plot", tmp_path / "new.svg")
    drawn = (tmp_path / "new.svg").read_text()
    for words in ("predicted", "predicted, outside the fitted range", "actual", "curve", "score"):
        assert words in drawn


def test_impossible_predictions_of_the_paper_recipe_have_a_warning(tmp_path: Path) -> None:
    """Far outside the fitted range the exponential's value is printed unchanged, with a warning."""
    frame = pairs(("gsm8k",)).assign(accuracy=lambda table: 2.0 + 90.0 * np.exp(-5.0 * (table["score"] - 0.65)))
    frame["accuracy"] = frame["accuracy"].clip(0, 100)
    invoke("fit", written(frame, tmp_path / "p.csv"), *COLUMNS, "--recipe", "paper", "-o", tmp_path / "fit.json")
    new = written(pairs(("gsm8k",)).iloc[:1].assign(score=-3.0), tmp_path / "new.csv")
    result = invoke("predict", tmp_path / "fit.json", new)
    assert "1 prediction of the paper recipe cannot be an accuracy" in result.stderr


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ("--x", "nll"), "no column nll"),
        ({"benchmark": "other"}, (), "no row can be predicted"),
        ({}, ("--use", "other"), "has no fit of other; it has: gsm8k, rbridge_nll; csqa, rbridge_nll"),
        ({"rank": 1}, (), "columns named rank already"),
        ({"score": "high"}, (), "holds 'high'; expected numbers"),
        ({}, ("-o", "out.txt"), "written as .csv or .parquet"),
    ],
)
def test_tables_that_do_not_match_the_fit_are_refused(
    fit: Path, tmp_path: Path, change: dict[str, object], arguments: tuple[str, ...], message: str
) -> None:
    """The error is one line that says what was found."""
    with pytest.raises(RBridgeError) as error:
        invoke("predict", fit, written(pairs().assign(**change), tmp_path / "new.csv"), *arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_predictions_can_be_written_as_parquet(fit: Path, tmp_path: Path) -> None:
    """The Parquet file has the same rows, and ranks are integers."""
    path = written(pairs(), tmp_path / "new.csv")
    invoke("predict", fit, path, "-o", tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["tokens"].tolist() == [*TOKENS, *TOKENS]
    assert table["rank"].dtype.kind == "i"
    assert json.loads(fit.read_text())["level"] == 0.9
