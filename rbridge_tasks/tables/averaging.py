"""Means of the last checkpoints: the one way in which decisions reduce training noise."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics.noise import LAST, MIN_CHECKPOINTS, NoiseError, TrainingNoise, common_average, training_noise
from rbridge_tasks.tables.names import listed
from rbridge_tasks.tables.rows import counted

#: Means of a run that ``average_blocks`` leaves at least: a curve along training needs several.
MIN_MEANS = 6


class NoiseKey(NamedTuple):
    """What noise is pooled over: runs of one size, on one benchmark and metric. ``params`` is -1 where unknown."""

    benchmark: str
    metric: str
    params: float


def run_series(scores: pd.DataFrame) -> Iterator[tuple[NoiseKey, str, npt.NDArray[np.intp]]]:
    """Positions in a checked score table of the checkpoints of every run, in order of tokens.

    Rows of unknown or no tokens are left out, and so are further rows of one run, size, benchmark and metric at the
    same tokens: the first counts.
    """
    rows = scores.reset_index(drop=True)
    rows = rows[rows["tokens"] > 0].sort_values("tokens", kind="stable")
    keys = [rows["benchmark"], rows["metric"], rows["params"].fillna(-1.0), rows["run"]]
    for (benchmark, metric, params, run), part in rows.groupby(keys, sort=False):
        places = part.index.to_numpy()[~part["tokens"].duplicated().to_numpy()]
        yield NoiseKey(str(benchmark), str(metric), float(params)), str(run), places


def noise_by_size(scores: pd.DataFrame, *, last: int = LAST) -> dict[NoiseKey, TrainingNoise]:
    """Noise of each benchmark, metric and size whose runs have enough checkpoints."""
    values, tokens = scores["value"].to_numpy(np.float64), scores["tokens"].to_numpy(np.float64)
    series: dict[NoiseKey, list[npt.NDArray[np.intp]]] = {}
    for key, _, places in run_series(scores):
        series.setdefault(key, []).append(places)
    result = {}
    for key, runs in series.items():
        try:
            result[key] = training_noise(
                [values[places] for places in runs], [tokens[places] for places in runs], last=last
            )
        except NoiseError:
            continue
    return result


def noise_of_mean(
    noise: Mapping[NoiseKey, TrainingNoise], counts: Mapping[NoiseKey, int], benchmark: str, metric: str, params: float
) -> float:
    """Noise of a score that is the mean of as many checkpoints as ``counts`` says, one by default; NaN if unknown."""
    key = NoiseKey(benchmark, metric, -1.0 if math.isnan(params) else params)
    return noise[key].of_mean(counts.get(key, 1)) if key in noise else math.nan


def average_last(
    scores: pd.DataFrame,
    count: int | str | None,
    *,
    shared_trend: bool,
    metrics: Collection[str] = (),
    last: int = LAST,
) -> tuple[pd.DataFrame, dict[NoiseKey, int], list[str]]:
    """Every score as the mean of its checkpoint and the ones before it, of the same run.

    A checkpoint with fewer before it takes those it has. Standard errors over items stay: all checkpoints were scored
    on the same items.

    Args:
        scores: a checked score table.
        count: checkpoints in a mean; ``auto`` chooses it for each benchmark, metric and size, see
            ``TrainingNoise.best_average``; None or 1 leaves the table as it is.
        shared_trend: candidates are compared with each other, see ``TrainingNoise.best_average``. Otherwise scores are
            fitted to each other, and ``auto`` takes one number for all metrics and sizes of a benchmark, so that they
            lag alike: ``noise.common_average``.
        metrics: only these are averaged; all if empty.
        last: final checkpoints that ``auto`` estimates noise from, and the most it averages.

    Returns:
        The table, the number of checkpoints in a mean by benchmark, metric and size, and notes.

    Raises:
        NoiseError: ``count`` is neither ``auto`` nor a whole number from 1; or ``auto``, and no run has enough
            checkpoints.
    """
    wanted = checked_count(count)
    if wanted == 1:
        return scores, {}, []
    table = scores.reset_index(drop=True)
    chosen = table[table["metric"].isin(metrics)] if metrics else table
    counts, notes = _counts(chosen, wanted, shared_trend, last)
    values = table["value"].to_numpy(np.float64).copy()
    for key, _, places in run_series(table):
        if (mean_of := counts.get(key, 1)) > 1:
            values[places] = trailing_means(values[places], mean_of)
    return table.assign(value=values), counts, notes


def average_blocks(scores: pd.DataFrame, count: int | str | None) -> tuple[pd.DataFrame, list[str]]:
    """Every run as means of successive checkpoints, each checkpoint in one mean, for a fit along training.

    Unlike ``average_last``, neighbouring means share no checkpoint, so that their errors stay independent. Means are
    counted back from the last checkpoint and stand at the tokens of their last; the earliest checkpoints that do not
    fill a mean are left out.

    Args:
        scores: a checked score table.
        count: see ``average_last``; ``auto`` leaves at least ``MIN_MEANS`` means of every run.

    Raises:
        NoiseError: see ``average_last``.
    """
    wanted = checked_count(count)
    if wanted == 1:
        return scores, []
    table = scores.reset_index(drop=True)
    counts, notes = _counts(table, wanted, shared_trend=True, last=LAST)
    values = table["value"].to_numpy(np.float64).copy()
    kept = []
    for key, _, places in run_series(table):
        mean_of = counts.get(key, 1)
        if wanted is None:
            mean_of = max(1, min(mean_of, len(places) // MIN_MEANS))
        ends = places[::-1][::mean_of][: len(places) // mean_of][::-1]
        blocks = places[len(places) % mean_of :].reshape(-1, mean_of)
        values[ends] = values[blocks].mean(axis=1)
        kept.extend(ends.tolist())
    return table.assign(value=values).iloc[sorted(kept)].reset_index(drop=True), notes


def trailing_means(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Mean of each value and up to ``count - 1`` before it, shape of ``values``.

    >>> trailing_means(np.array([1.0, 2.0, 6.0, 7.0]), 2).tolist()
    [1.0, 1.5, 4.0, 6.5]
    """
    return np.array([values[max(0, end - count) : end].mean() for end in range(1, len(values) + 1)])


def checked_count(count: int | str | None) -> int | None:
    """A number of checkpoints to average; None stands for ``auto``.

    Raises:
        NoiseError: neither ``auto`` nor a whole number from 1.

    >>> checked_count("auto"), checked_count("5"), checked_count(None)
    (None, 5, 1)
    """
    if count is None:
        return 1
    if str(count) == "auto":
        return None
    try:
        number = int(str(count))
    except ValueError:
        number = 0
    if number < 1:
        raise NoiseError(f"--average-last {count!r} is not known; expected auto or a whole number from 1")
    return number


def _counts(
    table: pd.DataFrame, wanted: int | None, shared_trend: bool, last: int
) -> tuple[dict[NoiseKey, int], list[str]]:
    series = {key for key, _, _ in run_series(table)}
    if wanted is not None:
        return dict.fromkeys(series, wanted), [f"scores are means of the last {wanted} checkpoints of a run"]
    noise = noise_by_size(table, last=last)
    if not noise:
        raise NoiseError(
            f"--average-last auto: no run has {MIN_CHECKPOINTS} checkpoints or more, so its noise is unknown; score "
            "more checkpoints, or leave the option out"
        )
    if shared_trend:
        counts = {key: part.best_average(shared_trend=True) for key, part in noise.items()}
    else:
        together = {
            name: [part for key, part in noise.items() if key.benchmark == name] for name in {*table["benchmark"]}
        }
        counts = {key: common_average(together[key.benchmark]) for key in noise}
    texts = sorted({f"{key.benchmark} {key.metric} {count}" for key, count in counts.items()})
    lacking = len(series) - len(counts)
    return counts, [
        f"scores are means of the last checkpoints, their number chosen by noise and trend: {listed(texts)}"
        + (f"; {counted(lacking, 'series')} too short, left as they are" if lacking else "")
    ]
