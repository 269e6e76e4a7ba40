"""``rbridge fit``: what it prints, draws and writes, and which input it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError, cross_validate
from rbridge_tasks.decisions.fit_file import FitFileError, load_fit

from ..decisions.made_pairs import TOKENS, checkpoints, pairs, score_table, scores, written
from ..tables.made_scores import as_json, invoke

COLUMNS = ("--x", "score", "--y", "accuracy", "--group", "benchmark,metric", "--order", "tokens")
SOURCE = {"kind": "pairs", "x": "score", "y": "accuracy", "group": [], "order": None}
MODELS = ("--proxy-metric", "rbridge_nll", "--target-metric", "acc", "--proxy", "1b", "--target", "13b")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Pairs of two benchmarks."""
    return written(pairs(), tmp_path / "pairs.csv")


@pytest.mark.parametrize("recipe", ["robust", "paper"])
@pytest.mark.parametrize("cv", ["shuffled", "blocked", "forward"])
def test_numbers_are_those_of_the_library(table: Path, cv: str, recipe: str) -> None:
    """Each group's cross-validation is ``cross_validate`` of its rows."""
    printed = as_json("fit", table, *COLUMNS, "--recipe", recipe, "--cv", cv)
    assert [fit["group"]["benchmark"] for fit in printed["fits"]] == ["gsm8k", "csqa"]
    for seed, fit in enumerate(printed["fits"]):
        expected = cross_validate(*checkpoints(seed), scheme=cv, order=TOKENS, order_name="tokens", recipe=recipe)
        assert fit["cross_validation"] == json.loads(json.dumps(expected.to_dict()))


def test_table_verdict_and_means_are_printed(table: Path) -> None:
    """The table has a row for each group with three decimals and a row for the mean; each group has a sentence."""
    printed = as_json("fit", table, *COLUMNS)
    text = invoke("fit", table, *COLUMNS).stdout
    errors = [fit["cross_validation"]["test_mae_pct"] for fit in printed["fits"]]
    for error in (*errors, sum(errors) / 2):
        assert f"{error:.3f}" in text
    assert "mean of 2" in text
    for words in ("recipe robust, blocked folds", "log(tokens)", "last value", "saturating"):
        assert words in text
    for fit in printed["fits"]:
        assert f"{', '.join(fit['group'].values())}: {fit['cross_validation']['verdict']}" in text


def test_a_score_table_is_fitted_and_interpolated_targets_are_marked(tmp_path: Path) -> None:
    """One table holds both sizes; interpolated accuracies are counted in a note and marked in the file."""
    path = score_table(scores(target_tokens=TOKENS[::2]), tmp_path / "scores.csv")
    assert "interpolated" not in invoke("fit", path, *MODELS).stderr
    result = invoke("fit", path, *MODELS, "--recipe", "paper", "-o", tmp_path / "fit.json")
    assert "gsm8k: 5 of 11 accuracies interpolated in tokens" in result.stderr
    points = json.loads((tmp_path / "fit.json").read_text())["fits"][0]["points"]
    assert [point.get("interpolated", False) for point in points] == [False, True] * 5 + [False]
    assert {point["run"] for point in points} == {"web"}


def test_the_file_is_versioned_json_that_predicts(table: Path, tmp_path: Path) -> None:
    """fit.json holds settings, source, points and curves, and reads back as regressors."""
    invoke("fit", table, *COLUMNS, "-o", tmp_path / "out" / "fit.json")
    content = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert (content["format"], content["version"], content["recipe"]) == ("rbridge-fit", 1, "robust")
    assert content["source"] == {
        "kind": "pairs", "x": "score", "y": "accuracy", "group": ["benchmark", "metric"], "order": "tokens",
    }  # fmt: skip
    group = load_fit(tmp_path / "out" / "fit.json").group("csqa", "rbridge_nll")
    nll, accuracy = checkpoints(1)
    assert group.model.direction_ == "falling"
    assert np.abs(group.model.predict(nll) - accuracy).mean() < 1.5


def test_the_same_arguments_write_the_same_bytes(table: Path, tmp_path: Path) -> None:
    """Files and figures are the same in each run with the same seed."""
    for name in ("a", "b"):
        files = [tmp_path / f"{name}.{suffix}" for suffix in ("json", "svg", "png")]
        invoke("fit", table, *COLUMNS, "--cv", "shuffled", "-o", files[0], "--plot", files[1])
        invoke("fit", table, *COLUMNS, "--cv", "shuffled", "--plot", files[2])
    for suffix in ("json", "svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    drawn = (tmp_path / "a.svg").read_text()
    for words in ("gsm8k", "target accuracy (%)", "90% interval", "fitted", "predicted when left out (shuffled)"):
        assert words in drawn


def test_a_group_that_cannot_be_fitted_is_skipped_with_its_reason(tmp_path: Path) -> None:
    """Constant scores exclude only their own group; a group too short to validate is still fitted."""
    frame = pairs(("gsm8k", "csqa", "math500"))
    frame.loc[frame["benchmark"] == "csqa", "score"] = 0.7
    frame = frame.drop(frame[(frame["benchmark"] == "math500") & (frame["tokens"] > TOKENS[3])].index)
    result = invoke("fit", written(frame, tmp_path / "pairs.csv"), *COLUMNS)
    assert "csqa, rbridge_nll skipped: every score is 0.7" in result.stderr
    assert "math500, rbridge_nll: not cross-validated: 4 checkpoints in 5 folds" in result.stderr
    assert "gsm8k" in result.stdout


def test_a_proxy_that_runs_the_wrong_way_is_reported(tmp_path: Path) -> None:
    """A warning is printed if accuracy rises with NLL, or if it contradicts --direction."""
    frame = pairs(("gsm8k",)).assign(score=lambda table: -table["score"])
    path = written(frame, tmp_path / "pairs.csv")
    wrong = "the proxy runs the wrong way: accuracy is rising with rbridge_nll, expected falling"
    assert wrong in invoke("fit", path, *COLUMNS).stderr
    assert "wrong way" not in invoke("fit", path, *COLUMNS, "--direction", "rising").stderr
    right = written(pairs(("gsm8k",)), tmp_path / "right.csv")
    assert "wrong way" not in invoke("fit", right, *COLUMNS).stderr
    assert "expected rising" in invoke("fit", right, *COLUMNS, "--direction", "rising").stderr


def test_without_an_order_there_is_no_baseline_of_tokens(table: Path) -> None:
    """Without --order the baselines are the mean and the last value only."""
    printed = as_json("fit", table, "--x", "score", "--y", "accuracy", "--group", "benchmark")
    assert set(printed["fits"][0]["cross_validation"]["baseline_mae_pct"]) == {"last value", "mean"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--x", "score"), "--y missing; give --x and --y"),
        ((), "--x, --y missing"),
        ((*COLUMNS, "--proxy", "1b"), "give one set of them"),
        (("--proxy", "1b"), "--target missing"),
        ((*COLUMNS, "--recipe", "best"), "expected one of robust, paper"),
        ((*COLUMNS, "--cv", "random"), "expected one of shuffled, blocked, forward"),
        ((*COLUMNS, "--direction", "up"), "expected one of rising, falling"),
        ((*COLUMNS, "-o", "fit.yaml"), "written as .json"),
        ((*COLUMNS, "--plot", "fit.pdf"), "written as .svg or .png"),
        (("--x", "score", "--y", "tokens"), "24 values of tokens lie outside 0..100"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(table: Path, arguments: tuple[str, ...], message: str) -> None:
    """The error is one line."""
    with pytest.raises(RBridgeError) as error:
        invoke("fit", table, *arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_without_a_fittable_group_is_refused(tmp_path: Path) -> None:
    """The error gives the reason of the first group."""
    frame = pairs().assign(accuracy=50.0)
    with pytest.raises(RBridgeError, match="no group of 2 can be fitted; gsm8k, rbridge_nll: every accuracy is 50"):
        invoke("fit", written(frame, tmp_path / "pairs.csv"), *COLUMNS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        ("{", "is not JSON"),
        ("[]", "has format None"),
        ('{"format": "rbridge-fit", "version": 2}', "version 2"),
        ('{"format": "rbridge-fit", "version": 1}', "is damaged"),
        ('{"format": "rbridge-fit", "version": 1, "fits": [], "source": {}, "level": 0.9}', "is damaged"),
        ({"fits": [{"group": {}, "points": [], "notes": [], "model": {}}]}, "format None"),
    ],
)
def test_a_file_that_is_not_a_fit_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    """The file is missing, damaged, of a later version or of another format."""
    path = tmp_path / "fit.json"
    if isinstance(content, dict):
        content = json.dumps({"format": "rbridge-fit", "version": 1, "source": SOURCE, "level": 0.9, **content})
    if content is not None:
        path.write_text(content)
    with pytest.raises(FitFileError, match=message):
        load_fit(path)


def test_more_panels_than_a_figure_has_room_for_are_refused(tmp_path: Path) -> None:
    """Thirty panels exceed the limit of 24."""
    frame = pd.concat([pairs(("gsm8k",)).assign(benchmark=f"task{number}") for number in range(30)])
    with pytest.raises(RBridgeError, match="30 panels, more than 24"):
        invoke("fit", written(frame, tmp_path / "pairs.csv"), *COLUMNS, "--plot", tmp_path / "fit.svg")
    assert not (tmp_path / "fit.svg").exists()
