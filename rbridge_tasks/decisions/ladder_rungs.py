"""The rungs of a ladder in a score table: one for each run and size, its end and the course to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.ladder.rungs import Rungs, end_of_run, stages
from rbridge_tasks.decisions.training_runs import Array
from rbridge_tasks.tables.chance import chance_of
from rbridge_tasks.tables.directions import Metric, bounds_of, check_one_unit
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

_FEWEST_SIZES, _FEWEST_TOKENS = 3, 2
_SAME = 1.02  # ratio of tokens up to which two runs count as equally long
_GUESSES = (0.5, 1 / 3, 0.25, 0.2, 0.1, 0.0)
_BELOW_CHANCE = 0.02
_NEAR_CHANCE = 0.05  # of the range from chance to 1; below it no run has learnt the task


class LadderError(RBridgeError, ValueError):
    """Runs that are no ladder: too few sizes or lengths, unknown sizes, or a metric that does not improve."""


def check_reach(accuracies: Sequence[float]) -> None:
    """Check accuracies whose cheapest size is wanted.

    Raises:
        LadderError: one is no fraction.
    """
    if wrong := [value for value in accuracies if not 0 < value < 1]:
        raise LadderError(f"--reach {wrong[0]:g}: an accuracy is a fraction between 0 and 1 here, such as 0.6")


class BenchmarkRungs(NamedTuple):
    """A ladder on one benchmark.

    Attributes:
        rungs: arrays for the fits.
        names: of the runs.
        unit: of the target metric in the table: 1 for fractions, 100 for per cent.
        notes: what was assumed.
    """

    rungs: Rungs
    names: tuple[str, ...]
    unit: float
    notes: tuple[str, ...]


def benchmark_rungs(
    rows: pd.DataFrame, benchmark: str, metric: Metric, target: Metric, chance: float | Mapping[str, float] | None
) -> BenchmarkRungs:
    """Read the ladder of one benchmark from rows of both metrics whose sizes and tokens are known.

    ``chance`` is a fraction, of this or of every benchmark; None to look it up.

    Raises:
        LadderError: fewer than three sizes, a size with fewer than two token counts, or no gain with size.
        DirectionError: fractions beside percentages.
    """
    rows = rows[rows["benchmark"] == benchmark]
    for name in (metric.name, target.name):
        check_one_unit(name, rows.loc[rows["metric"] == name, "value"].tolist(), benchmark)
    measured = rows[rows["metric"] == target.name]["value"].tolist()
    unit = 100.0 if bounds_of(target.name, measured)[1] == 100.0 or max(measured, default=0.0) > 1.0 else 1.0
    wide = rows.pivot_table(index=["run", "params", "tokens"], columns="metric", values="value", aggfunc="mean")
    lacking = [name for name in (metric.name, target.name) if name not in wide.columns]
    if lacking:
        raise LadderError(f"{benchmark} has no {' and no '.join(lacking)}; a ladder needs both at every run's end")
    wide = wide.dropna(subset=[metric.name, target.name]).reset_index().sort_values("tokens")
    wide = wide[wide["tokens"] > 0]
    if wide.empty:
        raise LadderError(
            f"{benchmark}: no run has {metric.name} and {target.name} at the same tokens; a ladder needs both at every "
            "run's end"
        )
    check_ladder(wide, benchmark)
    loss = as_loss(wide[metric.name].to_numpy(np.float64), metric)
    wide = wide.assign(loss=loss, accuracy=wide[target.name] / unit)
    ends, points, scatters, names = [], [], [], []
    for index, ((run, params), part) in enumerate(wide.groupby(["run", "params"], sort=True)):
        tokens, losses, accuracies = (part[name].to_numpy(np.float64) for name in ("tokens", "loss", "accuracy"))
        accuracy, scatter = end_of_run(tokens, accuracies)
        ends.append((params, tokens[-1], max(end_of_run(tokens, losses)[0], 1e-9), accuracy))
        points += [(index, *pair) for pair in zip(*stages(tokens, losses, accuracies), strict=True)]
        scatters.append(scatter)
        names.append(str(run))
    sizes, lengths, end_loss, end_accuracy = np.array(ends, dtype=np.float64).T
    run, point_loss, point_accuracy = np.array(points, dtype=np.float64).T
    if end_loss[sizes == sizes.max()].min() >= end_loss[sizes == sizes.min()].min():
        raise LadderError(
            f"{metric.name} of {benchmark} does not improve from {count_text(sizes.min())} to "
            f"{count_text(sizes.max())} params ({metric.direction}); choose another --metric, or give its direction"
        )
    floor, notes = _floor(benchmark, target, chance, float(end_accuracy.min()))
    highest = float(end_accuracy.max())
    if highest - floor < _NEAR_CHANCE * (1.0 - floor):
        notes += (
            f"{benchmark}: no run is more than {100 * max(highest - floor, 0.0):.1f} points above chance; the ladder "
            "cannot show a rise that starts at larger models, and the interval does not cover it",
        )
    known = np.array(scatters)[np.isfinite(scatters)]
    rungs = Rungs(
        sizes, lengths, end_loss, end_accuracy, run.astype(np.int64), point_loss, point_accuracy, floor,
        float(np.sqrt((known**2).mean())) if known.size else _sampling(rows, target, end_accuracy),
    )  # fmt: skip
    return BenchmarkRungs(rungs, tuple(names), unit, notes)


def check_ladder(wide: pd.DataFrame, benchmark: str) -> None:
    """Refuse runs of fewer than three sizes or fewer than two token counts a size.

    Raises:
        LadderError: names the sizes that there are.
    """
    ends = wide.groupby(["run", "params"])["tokens"].max().reset_index()
    sizes = sorted(ends["params"].unique())
    listed = ", ".join(map(count_text, sizes)) or "none"
    if len(sizes) < _FEWEST_SIZES:
        raise LadderError(
            f"{benchmark} has runs of {counted(len(sizes), 'size')} ({listed}); a ladder needs {_FEWEST_SIZES} or more"
        )
    for size in sizes:
        lengths = np.sort(ends.loc[ends["params"] == size, "tokens"].to_numpy(np.float64))
        if 1 + np.count_nonzero(lengths[1:] > _SAME * lengths[:-1]) < _FEWEST_TOKENS:
            raise LadderError(
                f"{benchmark} has runs of {count_text(size)} params that end at {count_text(lengths[0])} tokens only; "
                f"a ladder needs {_FEWEST_TOKENS} or more token counts a size, each a run trained to its end"
            )


def as_loss(values: Array, metric: Metric) -> Array:
    """A metric as a loss above 0 that falls as the model improves, shape (values,).

    A loss above 0 stays as it is, a fraction becomes its negative logarithm, and any other metric its distance from
    its bound; without a bound, from a point as far beyond the best value as the worst is from the best.

    >>> as_loss(np.array([1.5, 1.2]), Metric("rbridge_nll", True, told=False))
    array([1.5, 1.2])
    >>> as_loss(np.array([0.5, 1.0]), Metric("acc", False, told=False)).round(3)
    array([0.693, 0.   ])
    """
    low, high = bounds_of(metric.name, values.tolist())
    if metric.lower_is_better and values.min() > 0:
        return values
    if not metric.lower_is_better and (low, high) in ((0.0, 1.0), (0.0, 100.0)) and values.min() > 0:
        return np.maximum(-np.log(values / high), 1e-9)
    distance = values if metric.lower_is_better else -values
    bound = low if metric.lower_is_better else -high
    if not np.isfinite(bound):
        bound = float(distance.min() - np.ptp(distance))
    return np.maximum(distance - bound, 1e-9)


def _floor(
    benchmark: str, target: Metric, chance: float | Mapping[str, float] | None, lowest: float
) -> tuple[float, tuple[str, ...]]:
    given = chance.get(benchmark) if isinstance(chance, Mapping) else chance
    if given is not None:
        if not 0 <= given < 1:
            raise LadderError(f"a chance of {given:g} on {benchmark}; it is a fraction from 0 up to below 1: 0.25")
        return float(given), ()
    if (known := chance_of(benchmark, target.name)) is not None:
        return known, ()
    guess = next(value for value in (*_GUESSES, -np.inf) if value <= max(lowest + _BELOW_CHANCE, 0.0))
    return guess, (f"chance on {benchmark} is unknown; {guess:.3g} fits its lowest accuracy: give it with --chance",)


def _sampling(rows: pd.DataFrame, target: Metric, accuracy: Array) -> float:
    """Standard deviation from the number of items, where no run has enough checkpoints for a trend; else 0."""
    items = rows.loc[rows["metric"] == target.name, "n"].dropna()
    mean = float(accuracy.mean())
    return float(np.sqrt(mean * (1.0 - mean) / items.median())) if len(items) else 0.0
