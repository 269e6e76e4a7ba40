"""``fit`` and ``predict`` from Python: inputs, results and the file of a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import ProxyRegressor, RBridgeError
from rbridge_tasks.decisions.fit import fit
from rbridge_tasks.decisions.fit_file import Fit, FitFileError, load_fit, predict
from rbridge_tasks.decisions.pairing import PairError
from rbridge_tasks.decisions.prediction import PredictionError

from ..tables.made_scores import as_json
from .made_pairs import TOKENS, checkpoints, pairs, score_table, scores, written


@pytest.fixture(scope="module")
def by_benchmark() -> Fit:
    """Curves of two benchmarks, fitted to a table of pairs."""
    return fit(pairs(), x="score", y="accuracy", group="benchmark", order="tokens")


def test_a_frame_a_file_and_arrays_give_one_curve(tmp_path: Path) -> None:
    """Every form of the table gives the predictions of the regressor."""
    nll, accuracy = checkpoints()
    frame = pairs(("gsm8k",))
    expected = ProxyRegressor().fit(nll, accuracy).predict([0.8])
    for result in (
        fit(frame, x="score", y="accuracy"),
        fit(written(frame, tmp_path / "pairs.csv"), x="score", y="accuracy", order="tokens"),
        fit((nll, accuracy)),
        fit(scores(), proxy="1b", target="13b"),
        fit(score_table(scores(), tmp_path / "scores.parquet"), proxy="1b", target="13b", target_metric=["acc", "em"]),
    ):
        assert result.predict([0.8]).to_frame()["predicted_accuracy_pct"].to_numpy() == pytest.approx(expected)


def test_a_fit_is_what_the_command_prints_and_writes(by_benchmark: Fit, tmp_path: Path) -> None:
    """``to_dict`` equals ``--json``; the saved bytes come back as the same fit and as the same bytes."""
    columns = ("--x", "score", "--y", "accuracy", "--group", "benchmark", "--order", "tokens")
    assert by_benchmark.to_dict() == as_json("fit", written(pairs(), tmp_path / "pairs.csv"), *columns)
    by_benchmark.save(tmp_path / "fit.json")
    loaded = load_fit(tmp_path / "fit.json")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "fit.json").read_bytes()
    assert loaded.to_frame().equals(by_benchmark.to_frame())
    assert predict(tmp_path / "fit.json", pairs(), y="accuracy").to_frame().equals(loaded.predict(pairs()).to_frame())


def test_results_as_tables_and_figures(by_benchmark: Fit, tmp_path: Path) -> None:
    """One row per group or prediction, as a table in a notebook and as a figure."""
    predictions = by_benchmark.predict(pairs(), y="accuracy")
    assert by_benchmark.to_frame()["benchmark"].tolist() == ["gsm8k", "csqa"]
    assert len(predictions.to_frame()) == 2 * len(TOKENS)
    for name, result in (("fit", by_benchmark), ("predictions", predictions)):
        assert "<table" in result._repr_html_()
        assert len(result.plot(tmp_path / f"{name}.svg").axes) == 2
        assert (tmp_path / f"{name}.svg").stat().st_size > 0


def test_an_array_of_scores_needs_one_curve(by_benchmark: Fit) -> None:
    """If there are several, ``use`` names the curve."""
    with pytest.raises(PredictionError, match="use"):
        by_benchmark.predict([0.8])
    assert by_benchmark.predict(0.8, use="csqa").to_frame().equals(by_benchmark.predict([0.8], use="csqa").to_frame())
    (group,) = by_benchmark.predict(np.array([0.8, np.nan]), use="csqa").groups
    assert group.rows["predicted_accuracy_pct"].tolist() == [by_benchmark.group("csqa").model.predict([0.8])[0]]
    with pytest.raises(FitFileError, match="arc"):
        by_benchmark.predict([0.8], use="arc")


def test_arguments_of_pairs_and_of_scores_exclude_each_other() -> None:
    """The message names what is missing or contradictory."""
    for options, name in (
        ({"x": "score"}, "--y"),
        ({"proxy": "1b"}, "--target"),
        ({"x": "score", "y": "accuracy", "proxy": "1b"}, "one set"),
        ({"x": "score", "y": "accuracy", "proxy_metric": "trace_nll"}, "one set"),
    ):
        with pytest.raises(PairError, match=name):
            fit(pairs(), **options)


def test_arrays_and_columns_that_do_not_fit_are_one_clear_line(by_benchmark: Fit) -> None:
    """Arrays of two lengths or dimensions, text among scores, and two columns of one name."""
    doubled = pd.concat([pairs(), pairs()[["score"]]], axis=1)
    for arguments, message in (
        (([1.0, 2.0], [1.0]), r"shapes \(2,\) and \(1,\)"),
        (([[1.0, 2.0]], [[1.0, 2.0]]), r"shapes \(1, 2\)"),
    ):
        with pytest.raises(PairError, match=message):
            fit(arguments)
    for scores_given, message in (([[0.8, 0.9]], r"shape \(1, 2\)"), (["high"], "'high'")):
        with pytest.raises(RBridgeError, match=message):
            by_benchmark.predict(scores_given, use="csqa")
    with pytest.raises(PairError, match="several columns score"):
        fit(doubled, x="score", y="accuracy", group="benchmark")
    with pytest.raises(PairError, match="several columns score"):
        by_benchmark.predict(doubled)


def test_rows_without_a_group_are_named_and_skipped_in_order(by_benchmark: Fit) -> None:
    """Missing cells, also those of pandas' own missing value; the notes have the order of the table."""
    names = ["arc"] * 12 + [None] * 12
    for table in (pairs().assign(benchmark=names), pairs().assign(benchmark=names).convert_dtypes()):
        with pytest.raises(PredictionError, match=r"no curve for arc; 12 rows.*no curve for rows without benchmark"):
            by_benchmark.predict(table)
    assert fit(pairs().assign(benchmark=None), x="score", y="accuracy", group="benchmark").groups[0].name == (
        "rows without benchmark"
    )
