"""``select`` on small tables: the scorer chosen, the ranking, saved scorers, what is left out, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import RBridgeError
from rbridge_tasks.decisions.select import Selection, select

from ..tables.made_scores import row

PROXIES = ("entropy", "rank", "margin", "top1_accuracy", "cross_entropy")
BENCHMARKS = ("gsm8k", "csqa", "math500", "arc_challenge", "mmlu_pro_stem")
SIZE = (1e9, 1e12)


def population(*, seed: int = 0, noise: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Proxies of 12 models and accuracies of 10 of them, which depend on three proxies or are random."""
    rng = np.random.default_rng(seed)
    scores, accuracies = [], []
    for model in range(12):
        run = f"family{model // 3}-{model % 3}"
        for benchmark in BENCHMARKS:
            values = rng.normal(size=len(PROXIES))
            scores += [
                row(run, value, size=SIZE, benchmark=benchmark, metric=name)
                for name, value in zip(PROXIES, values, strict=True)
            ]
            ability = rng.normal() if noise else values[3] - values[0] - values[1] + 0.2 * rng.normal()
            if model < 10:
                accuracy = 1 / (1 + np.exp(-ability))
                accuracies.append(row(run, accuracy, size=SIZE, benchmark=benchmark, metric="acc"))
    return pd.DataFrame(scores), pd.DataFrame(accuracies)


@pytest.fixture(scope="module")
def selection() -> Selection:
    """A population in which a combination of three proxies predicts accuracy."""
    scores, accuracies = population()
    return select(scores, target=accuracies, permutations=39)


def test_the_combination_is_chosen_and_all_models_are_ranked(selection: Selection) -> None:
    """Models without accuracies are ranked too."""
    assert selection.trials is not None
    assert selection.trials.trusted == selection.ranked_by == "sparse_linear"
    sparse = selection.trials.trial("sparse_linear")
    weights = selection.weights(sparse)
    assert set(weights) == {"entropy", "rank", "top1_accuracy"}
    assert weights["top1_accuracy"] > 0 > weights["entropy"]
    assert sparse.mean > max(selection.to_dict()["single"].values())
    assert "clearly better than" in selection.verdict(sparse)
    assert len(selection.ranking) == 12
    assert selection.ranking["judged"].sum() == 10


def test_a_selection_as_table_html_and_figure(selection: Selection, tmp_path: Path) -> None:
    """The table is the ranking; the scorers have another table."""
    assert selection.to_frame()["name"].tolist() == [model["name"] for model in selection.to_dict()["ranking"]]
    assert selection.ranking["name"][0] in selection._repr_html_()
    assert "sparse_linear" in selection.trials_frame()["name"].tolist()
    selection.plot(tmp_path / "select.svg")
    assert "sparse linear" in (tmp_path / "select.svg").read_text()


def test_a_saved_scorer_gives_the_same_ranking(selection: Selection, tmp_path: Path) -> None:
    """Its file is plain JSON, from which the scores are computed by hand."""
    scores, _ = population()
    path = tmp_path / "scorer.json"
    selection.save(path)
    repeated = select(scores, scorer=path)
    pd.testing.assert_frame_equal(repeated.ranking.drop(columns="judged"), selection.ranking.drop(columns="judged"))
    assert len(repeated.plot().axes) == 1
    with pytest.raises(RBridgeError, match=r"scorer\.json"):
        repeated.save(tmp_path / "copy.json")
    content = json.loads(path.read_text())
    assert (content["format"], content["version"]) == ("rbridge-scorer", 1)
    table = scores[scores["benchmark"] == "gsm8k"].pivot_table(index="run", columns="metric", values="value")
    values = table[content["metrics"]]
    score = ((values - values.mean()) / values.std(ddof=0)).to_numpy() @ np.array(content["scorer"]["weights"])
    by_hand = pd.Series((score - score.mean()) / score.std(), index=values.index)
    np.testing.assert_allclose(selection.ranking["score_gsm8k"], by_hand[selection.ranking["run"]])


def test_another_population_is_ranked_by_a_saved_scorer(selection: Selection, tmp_path: Path) -> None:
    """It has other benchmarks, one of which lacks a proxy, and other models, one of which lacks a score."""
    selection.save(tmp_path / "scorer.json")
    rng = np.random.default_rng(9)
    rows = [
        row(f"new-{model}", rng.normal(), size=SIZE, benchmark=benchmark, metric=name)
        for model in range(6)
        for benchmark in ("gsm8k", "humaneval", "drop")
        for name in PROXIES
        if not (benchmark == "drop" and name == "rank") and not (model == 5 and name == "entropy")
    ]
    ranked = select(pd.DataFrame(rows), scorer=tmp_path / "scorer.json")
    assert len(ranked.ranking) == 5
    assert set(ranked.ranking) >= {"score_gsm8k", "score_humaneval"}
    notes = " ".join(ranked.notes)
    assert "1 benchmark left out, a proxy of the scorer is lacking: drop" in notes
    assert "1 model left out" in notes
    assert "not trained on humaneval" in notes


def test_noise_gives_no_ranking_unless_requested(tmp_path: Path) -> None:
    """If no scorer is better than chance there is no ranking and nothing to save; ``by`` ranks anyway."""
    scores, accuracies = population(noise=True, seed=1)
    unranked = select(scores, target=accuracies, permutations=39)
    assert unranked.ranked_by is None
    assert unranked.to_dict()["ranking"] == []
    assert unranked.trials is not None
    assert {unranked.verdict(trial) for trial in unranked.trials.trials} == {"not better than chance"}
    with pytest.raises(RBridgeError, match="chance"):
        unranked.save(tmp_path / "scorer.json")
    forced = select(scores, target=accuracies, permutations=19, by="rbf_ranksvm")
    assert len(forced.ranking) == 12
    forced.save(tmp_path / "scorer.json")
    assert select(scores, scorer=tmp_path / "scorer.json").ranked_by == "rbf_ranksvm"


def test_accuracies_may_be_in_the_same_table() -> None:
    """Then the target's metric is not a proxy."""
    both = pd.concat(population())
    assert "acc" not in select(both, permutations=19).metrics
    with pytest.raises(RBridgeError, match="acc is the accuracy itself"):
        select(both, metrics="acc,entropy")


def test_runs_of_several_sizes_are_joined_by_size() -> None:
    """Models of one run are joined with the accuracy of the same number of parameters."""
    scores, accuracies = (
        table.assign(params=(1 + table["run"].str[-1].astype(int)) * 1e9, run=table["run"].str[:-2], model="")
        for table in population()
    )
    selection = select(scores, target=accuracies, permutations=19)
    assert selection.judged_models == 10
    assert {*selection.ranking["name"]} >= {"family0 1B:1T", "family3 3B:1T"}


def test_accuracies_of_other_checkpoints_are_not_used() -> None:
    """Of several target checkpoints of a run only that with the proxies' tokens counts."""
    scores, accuracies = population()
    later = accuracies.assign(tokens=2e12, value=1 - accuracies["value"])
    selection = select(scores, target=pd.concat([accuracies, later]), permutations=19)
    assert selection.trials is not None
    assert selection.trials.trial("sparse_linear").mean > 0.8
    assert "10 checkpoints of the targets without proxies left out" in " ".join(selection.notes)


def test_notes_name_what_is_left_out() -> None:
    """A constant metric, a metric that is mostly missing, a target benchmark without proxies."""
    scores, accuracies = population()
    scores.loc[(scores["metric"] == "margin") & (scores["benchmark"] == "csqa"), "value"] = 0.3
    scores = scores[~((scores["metric"] == "cross_entropy") & (scores["run"] > "family1"))]
    extra = accuracies[accuracies["benchmark"] == "csqa"].assign(benchmark="drop")
    notes = " ".join(select(scores, target=pd.concat([accuracies, extra]), permutations=19).notes)
    assert "1 metric left out, known for less than 80% of the models and tasks: cross_entropy" in notes
    assert "1 metric left out, equal for all models on a task: margin" in notes
    assert "1 benchmark of the targets without proxies: drop" in notes


SCORES, ACCURACIES = population()
OTHER_BENCHMARK = ACCURACIES.assign(benchmark="other").drop_duplicates(["run"])
MIXED = ACCURACIES.assign(value=ACCURACIES["value"].where(ACCURACIES.index % 3 > 0, 60.0 + ACCURACIES.index))


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        (OTHER_BENCHMARK, {}, "the targets are of other"),
        (ACCURACIES.assign(run="x" + ACCURACIES["run"]), {}, "no model has both"),
        (ACCURACIES, {"target_metric": "exact_match"}, "exact_match"),
        (ACCURACIES, {"target_metric": "great"}, "'great'"),
        (MIXED, {}, "mixes fractions and per cent"),
        (pd.concat([ACCURACIES, ACCURACIES.assign(model="other")]), {}, "several acc"),
        (ACCURACIES[ACCURACIES["benchmark"].isin(BENCHMARKS[:2])], {}, "2 tasks"),
        (ACCURACIES[ACCURACIES["run"] < "family1"], {}, "3 models|0 tasks"),
        (ACCURACIES, {"by": "best"}, "--by 'best'"),
        (ACCURACIES, {"metrics": "nothing"}, "no metric nothing"),
        (ACCURACIES, {"metrics": "entropy,rank,entropy"}, "entropy more than once"),
        (ACCURACIES, {"scorer": "scorer.json"}, "--scorer.*--target"),
    ],
)
def test_bad_input_is_one_clear_line(target: pd.DataFrame, arguments: dict[str, Any], message: str) -> None:
    """Targets of other benchmarks or models, mixed units, two scores of one model, clashing arguments."""
    with pytest.raises(RBridgeError, match=message) as caught:
        select(SCORES, target=target, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file"),
        ("{", "JSON"),
        ("[]", "object"),
        ('{"format": "rbridge-scorer", "version": 2}', "version, it has 2"),
        ('{"format": "rbridge-scorer", "version": 1}', "scorer"),
    ],
)
def test_a_file_that_is_no_scorer_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """A file that is missing, damaged, of another kind or of a later version: the message names the file."""
    path = tmp_path / "scorer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RBridgeError, match=rf"scorer\.json.*{message}|{message}.*scorer\.json") as caught:
        select(SCORES, scorer=path)
    assert "\n" not in str(caught.value)
