"""``rbridge select`` on made-up tables: the scorer found, the ranking, saved scorers, what is left out, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError


from ..tables.made_scores import as_json, invoke, row, table

PROXIES = ("entropy", "rank", "margin", "top1_accuracy", "cross_entropy")
BENCHMARKS = ("gsm8k", "csqa", "math500", "arc_challenge", "mmlu_pro_stem")
SIZE = (1e9, 1e12)


def population(
    folder: Path, *, models: int = 12, judged: int = 10, seed: int = 0, noise: bool = False
) -> tuple[Path, Path]:
    """Proxies of models, and accuracies of some of them: made by three proxies, or by nothing."""
    rng = np.random.default_rng(seed)
    scores: list[dict[str, Any]] = []
    accuracies: list[dict[str, Any]] = []
    for model in range(models):
        run = f"family{model // 3}-{model % 3}"
        for benchmark in BENCHMARKS:
            values = rng.normal(size=len(PROXIES))
            scores += [
                row(run, value, size=SIZE, benchmark=benchmark, metric=name)
                for name, value in zip(PROXIES, values, strict=True)
            ]
            ability = rng.normal() if noise else values[3] - values[0] - values[1] + 0.2 * rng.normal()
            if model < judged:
                accuracy = 1 / (1 + np.exp(-ability))
                accuracies.append(row(run, accuracy, size=SIZE, benchmark=benchmark, metric="acc"))
    return table(folder / "proxies.csv", scores), table(folder / "accuracies.csv", accuracies)


def test_the_combination_is_found_and_all_models_are_ranked(tmp_path: Path) -> None:
    """Those without accuracies too; and the scorer, saved, ranks the same population alike."""
    proxies, accuracies = population(tmp_path)
    saved, ranked, figure = tmp_path / "scorer.json", tmp_path / "ranking.csv", tmp_path / "select.svg"
    found = as_json(
        "select", proxies, "--target", accuracies, "--save", saved, "-o", ranked, "--plot", figure, "--permutations", 39
    )
    assert found["trusted"] == found["ranked_by"] == "sparse_linear"
    sparse = next(one for one in found["scorers"] if one["name"] == "sparse_linear")
    assert set(sparse["weights"]) == {"entropy", "rank", "top1_accuracy"}
    assert sparse["weights"]["top1_accuracy"] > 0 > sparse["weights"]["entropy"]
    assert sparse["mean"] > max(found["single"].values())
    assert "clearly better than" in sparse["verdict"]
    names = [one["name"] for one in found["ranking"]]
    assert len(names) == 12
    assert [one["judged"] for one in found["ranking"]].count(False) == 2
    assert pd.read_csv(ranked)["name"].tolist() == names
    assert "sparse linear" in figure.read_text()
    again = as_json("select", proxies, "--scorer", saved)
    assert [one["name"] for one in again["ranking"]] == names
    np.testing.assert_allclose(
        [one["score"] for one in again["ranking"]], [one["score"] for one in found["ranking"]], atol=1e-9
    )
    text = invoke("select", proxies, "--scorer", saved, "--plot", tmp_path / "again.png").stdout
    assert "ranked by sparse_linear" in text
    assert (tmp_path / "again.png").stat().st_size > 1000


def test_another_population_is_ranked_by_a_saved_scorer(tmp_path: Path) -> None:
    """With other benchmarks, of which one lacks a proxy, and models, of which one lacks a score."""
    proxies, accuracies = population(tmp_path)
    saved = tmp_path / "scorer.json"
    as_json("select", proxies, "--target", accuracies, "--save", saved, "--permutations", 19)
    rng = np.random.default_rng(9)
    rows = [
        row(f"new-{model}", rng.normal(), size=SIZE, benchmark=benchmark, metric=name)
        for model in range(6)
        for benchmark in ("gsm8k", "humaneval", "drop")
        for name in PROXIES
        if not (benchmark == "drop" and name == "rank") and not (model == 5 and name == "entropy")
    ]
    found = as_json("select", table(tmp_path / "new.csv", rows), "--scorer", saved)
    assert len(found["ranking"]) == 5
    assert set(found["ranking"][0]) >= {"score_gsm8k", "score_humaneval"}
    notes = " ".join(found["notes"])
    assert "1 benchmark left out, a proxy of the scorer is lacking: drop" in notes
    assert "1 model left out" in notes
    assert "not trained on humaneval" in notes


def test_noise_ranks_nothing_unless_asked(tmp_path: Path) -> None:
    """No scorer is better than chance: no ranking, no file, and it says so; --by does it all the same."""
    proxies, accuracies = population(tmp_path, noise=True, seed=1)
    saved = tmp_path / "scorer.json"
    found = as_json("select", proxies, "--target", accuracies, "--save", saved, "--permutations", 39)
    assert found["trusted"] is None
    assert found["ranking"] == []
    assert all(one["verdict"] == "not better than chance" for one in found["scorers"])
    assert "nothing is written for --save" in " ".join(found["notes"])
    assert not saved.exists()
    text = invoke("select", proxies, "--target", accuracies, "--permutations", 39).output
    assert "no scorer is better than chance: the models are not ranked" in text
    forced = as_json(
        "select", proxies, "--target", accuracies, "--permutations", 19, "--by", "rbf_ranksvm", "--save", saved
    )
    assert len(forced["ranking"]) == 12
    assert as_json("select", proxies, "--scorer", saved)["name"] == "rbf_ranksvm"


def test_accuracies_may_stand_in_the_same_table(tmp_path: Path) -> None:
    """The target's metric is then no proxy."""
    proxies, accuracies = population(tmp_path)
    both = pd.concat([pd.read_csv(proxies), pd.read_csv(accuracies)])
    path = table(tmp_path / "both.csv", both.to_dict("records"))
    found = as_json("select", path, "--permutations", 19)
    assert "acc" not in found["metrics"]
    with pytest.raises(RBridgeError, match="acc is the accuracy itself"):
        invoke("select", path, "--metrics", "acc,entropy")


def test_runs_of_several_sizes_are_joined_by_size(tmp_path: Path) -> None:
    """A family as run, its sizes told apart by parameters: each has its own accuracy."""
    proxies, accuracies = population(tmp_path)
    frames = []
    for path in (proxies, accuracies):
        frame = pd.read_csv(path)
        frame["params"] = (1 + frame["run"].str[-1].astype(int)) * 1e9
        frame["run"] = frame["run"].str[:-2]
        frame["model"] = ""
        frame.to_csv(path, index=False)
        frames.append(frame)
    found = as_json("select", proxies, "--target", accuracies, "--permutations", 19)
    assert found["judged_models"] == 10
    assert {one["name"] for one in found["ranking"]} >= {"family0 1B:1T", "family3 3B:1T"}


def test_accuracies_of_other_checkpoints_are_not_taken(tmp_path: Path) -> None:
    """A run that has more checkpoints in the targets than in the proxies: that of the same tokens counts."""
    proxies, accuracies = population(tmp_path)
    frame = pd.read_csv(accuracies)
    other = frame.assign(tokens=2e12, value=1 - frame["value"])
    pd.concat([frame, other]).to_csv(accuracies, index=False)
    found = as_json("select", proxies, "--target", accuracies, "--permutations", 19)
    assert next(one for one in found["scorers"] if one["name"] == "sparse_linear")["mean"] > 0.8
    assert "10 checkpoints of the targets without proxies left out" in " ".join(found["notes"])


def test_what_is_left_out_is_said_with_names(tmp_path: Path) -> None:
    """A constant metric, a metric mostly lacking, a benchmark of the targets without proxies."""
    proxies, accuracies = population(tmp_path)
    rows = pd.read_csv(proxies)
    rows.loc[(rows["metric"] == "margin") & (rows["benchmark"] == "csqa"), "value"] = 0.3
    rows = rows[~((rows["metric"] == "cross_entropy") & (rows["run"] > "family1"))]
    rows.to_csv(proxies, index=False)
    extra = pd.read_csv(accuracies)
    other = extra[extra["benchmark"] == "csqa"].assign(benchmark="drop")
    pd.concat([extra, other]).to_csv(accuracies, index=False)
    notes = " ".join(as_json("select", proxies, "--target", accuracies, "--permutations", 19)["notes"])
    assert "1 metric left out, known for less than 80% of the models and tasks: cross_entropy" in notes
    assert "1 metric left out, equal for all models on a task: margin" in notes
    assert "1 benchmark of the targets without proxies: drop" in notes


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    """Targets of other benchmarks or models, mixed units, two scores of one model, clashing options."""
    proxies, accuracies = population(tmp_path)
    frame = pd.read_csv(accuracies)

    def refused(match: str, changed: pd.DataFrame, *options: str) -> None:
        path = tmp_path / "changed.csv"
        changed.to_csv(path, index=False)
        with pytest.raises(RBridgeError, match=match) as caught:
            invoke("select", proxies, "--target", path, *options)
        assert "\n" not in str(caught.value)

    refused("the targets are of other", frame.assign(benchmark="other").drop_duplicates(["run"]))
    refused("no model has both", frame.assign(run="x" + frame["run"]))
    refused("no accuracies exact_match", frame, "--target-metric", "exact_match")
    refused("nothing is known of the metric 'great'", frame, "--target-metric", "great")
    mixed = frame.copy()
    mixed.loc[mixed.index[::3], "value"] = 60 + mixed.index[::3]
    refused("mixes fractions and per cent", mixed)
    refused("several acc", pd.concat([frame, frame.assign(model="other")]))
    refused("2 tasks", frame[frame["benchmark"].isin(BENCHMARKS[:2])])
    refused("3 models|0 tasks", frame[frame["run"] < "family1"])
    refused("--by 'best'", frame, "--by", "best")
    refused("no metric nothing", frame, "--metrics", "nothing")
    refused("entropy more than once", frame, "--metrics", "entropy,rank,entropy")
    with pytest.raises(RBridgeError, match="--target trains a new one"):
        invoke("select", proxies, "--target", accuracies, "--scorer", "scorer.json")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "no file"),
        ("{", "not a scorer"),
        ("[]", "not a scorer"),
        ('{"format": "rbridge-scorer", "version": 2}', "at version, it has 2"),
        ('{"format": "rbridge-scorer", "version": 1}', "not a scorer"),
    ],
)
def test_a_file_that_is_no_scorer_is_refused(tmp_path: Path, content: str | None, match: str) -> None:
    """Missing, damaged, something else, or of a later version."""
    proxies, _ = population(tmp_path)
    path = tmp_path / "scorer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RBridgeError, match=match):
        invoke("select", proxies, "--scorer", path)


def test_a_saved_scorer_is_plain_json(tmp_path: Path) -> None:
    """Readable by anything, and complete: the same numbers by hand."""
    proxies, accuracies = population(tmp_path)
    saved = tmp_path / "scorer.json"
    found = as_json("select", proxies, "--target", accuracies, "--save", saved, "--permutations", 19)
    content = json.loads(saved.read_text())
    assert (content["format"], content["version"]) == ("rbridge-scorer", 1)
    frame = pd.read_csv(proxies)
    own = frame[frame["benchmark"] == "gsm8k"].pivot_table(index="run", columns="metric", values="value")
    own = own[content["metrics"]]
    score = ((own - own.mean()) / own.std(ddof=0)).to_numpy() @ np.array(content["scorer"]["weights"])
    expected = dict(zip(own.index, (score - score.mean()) / score.std(), strict=True))
    for one in found["ranking"]:
        assert one["score_gsm8k"] == pytest.approx(expected[one["run"]])
