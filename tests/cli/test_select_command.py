"""``rbridge select``: its JSON, files and text are those of the function."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rbridge_metrics import RBridgeError
from rbridge_tasks.decisions.select import select

from ..decisions.test_select import population
from ..tables.made_scores import as_json, invoke, table


def test_json_and_files_are_the_result_of_the_function(tmp_path: Path) -> None:
    """For a trained scorer and for a saved one."""
    scores, accuracies = (
        table(tmp_path / f"{at}.csv", part.to_dict("records")) for at, part in enumerate(population())
    )
    saved, ranked = tmp_path / "scorer.json", tmp_path / "ranking.csv"
    arguments = ("select", scores, "--target", accuracies, "--permutations", 19, "--seed", 3)
    printed = as_json(*arguments, "--save", saved, "-o", ranked)
    selection = select(scores, target=accuracies, permutations=19, seed=3)
    assert printed == selection.to_dict()
    assert pd.read_csv(ranked)["name"].tolist() == selection.ranking["name"].tolist()
    assert as_json("select", scores, "--scorer", saved) == select(scores, scorer=saved).to_dict()
    figure = tmp_path / "again.png"
    assert "ranked by sparse_linear" in invoke("select", scores, "--scorer", saved, "--plot", figure).stdout
    assert figure.stat().st_size > 1000
    with pytest.raises(RBridgeError, match=r"--save.*--scorer"):
        invoke("select", scores, "--scorer", saved, "--save", saved)


def test_noise_writes_nothing(tmp_path: Path) -> None:
    """If no scorer is better than chance, the text and a note say so, and no file is written."""
    parts = population(noise=True, seed=1)
    scores, accuracies = (table(tmp_path / f"{at}.csv", part.to_dict("records")) for at, part in enumerate(parts))
    saved = tmp_path / "scorer.json"
    result = invoke("select", scores, "--target", accuracies, "--permutations", 39, "--save", saved)
    assert "no scorer is better than chance: the models are not ranked" in result.stdout
    assert "nothing is written for --save" in result.stderr
    assert not saved.exists()
