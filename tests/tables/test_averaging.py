"""Means of checkpoints: which checkpoints they hold, in any order of rows, and how many."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics.noise import NoiseError
from rbridge_tasks.tables.averaging import average_blocks, average_last, noise_by_size
from rbridge_tasks.tables.score_table import checked_scores


def table(values: list[float], run: str = "web", metric: str = "rbridge_nll", params: float = 1e8) -> pd.DataFrame:
    tokens = np.arange(1, len(values) + 1) * 1e9
    columns = {"run": run, "params": params, "tokens": tokens, "benchmark": "gsm8k", "metric": metric, "value": values}
    return pd.DataFrame(columns)


def values_of(frame: pd.DataFrame, run: str = "web", metric: str = "rbridge_nll") -> list[float]:
    rows = frame[(frame["run"] == run) & (frame["metric"] == metric)].sort_values("tokens")
    return rows["value"].tolist()


def test_each_score_is_the_mean_of_the_last_checkpoints_of_its_run() -> None:
    """Two runs and metrics in shuffled rows; metrics that were not requested do not change."""
    parts = [table([1, 2, 6, 7]), table([9, 5, 1], run="code"), table([0.1, 0.4], metric="acc")]
    scores = checked_scores(pd.concat(parts).sample(frac=1, random_state=0))
    averaged, counts, notes = average_last(scores, 2, shared_trend=True, metrics=["rbridge_nll"])
    assert values_of(averaged) == [1.0, 1.5, 4.0, 6.5]
    assert values_of(averaged, run="code") == [9.0, 7.0, 3.0]
    assert values_of(averaged, metric="acc") == [0.1, 0.4]
    assert set(counts.values()) == {2}
    assert notes == ["scores are means of the last 2 checkpoints of a run"]


def test_without_a_count_the_table_does_not_change() -> None:
    """None and 1 return the table itself."""
    scores = checked_scores(table([1, 2, 3]))
    assert average_last(scores, None, shared_trend=True)[0] is scores
    assert average_blocks(scores, 1)[0] is scores


def test_auto_averages_noise_and_follows_a_trend() -> None:
    """Ten checkpoints that fluctuate are averaged, a straight run is not."""
    noisy = [1.0, 1.2, 0.9, 1.1, 0.95, 1.05, 1.15, 0.9, 1.0, 1.1]
    scores = checked_scores(pd.concat([table(noisy), table([*range(10)], metric="acc")]))
    _, counts, _ = average_last(scores, "auto", shared_trend=True)
    chosen = {key.metric: count for key, count in counts.items()}
    assert chosen["acc"] == 1
    assert chosen["rbridge_nll"] >= 5
    _, fitted_together, _ = average_last(scores, "auto", shared_trend=False)
    assert {*fitted_together.values()} == {1}  # one count for all metrics, so that their means lag equally


def test_blocks_are_disjoint_and_end_with_the_last_checkpoint() -> None:
    """Seven checkpoints in threes: the first is left out."""
    means, _ = average_blocks(checked_scores(table([9, 1, 2, 3, 4, 5, 9])), 3)
    assert means["tokens"].tolist() == [4e9, 7e9]
    assert means["value"].tolist() == [2.0, 6.0]


def test_a_duplicate_checkpoint_counts_once() -> None:
    """The first of several rows of a run at the same tokens is used."""
    scored = table([1, 2, 3, 4, 5]).assign(model="a")
    scores = checked_scores(pd.concat([scored, scored.assign(model="b", value=50.0).iloc[4:]]))
    (noise,) = noise_by_size(scores).values()
    assert noise.checkpoints == 5
    assert noise.noise == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("count", ["0", "many", "-2", "1.5"])
def test_a_bad_count_is_refused(count: str) -> None:
    """The message quotes it and says what is expected."""
    with pytest.raises(NoiseError, match=f"--average-last '{count}' is not known; expected auto or a whole number"):
        average_last(checked_scores(table([1, 2])), count, shared_trend=True)


def test_auto_without_checkpoints_is_refused() -> None:
    """Three checkpoints are too few to estimate noise."""
    with pytest.raises(NoiseError, match="no run has 5 checkpoints"):
        average_last(checked_scores(table([1, 2, 3])), "auto", shared_trend=True)
