"""A metric along training: the checkpoints of each run, size and benchmark in a score table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import ForecastError
from rbridge_tasks.decisions.candidates import CandidatesError
from rbridge_tasks.tables.directions import bounds_of, check_one_unit
from rbridge_tasks.tables.names import check_metrics, listed
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text, parse_count

Array = npt.NDArray[np.float64]


def as_count(value: float | str) -> float:
    """A count of tokens or parameters, given as a number or as a text such as ``"4T"``."""
    return parse_count(value) if isinstance(value, str) else float(value)


class Later(NamedTuple):
    """A forecast at a number of tokens, with its interval."""

    tokens: float
    value: float
    low: float
    high: float


def later(times: Sequence[float], values: Array, interval: tuple[Array, Array]) -> tuple[Later, ...]:
    """A forecast for each of these tokens; values and both ends of the intervals have the shape (times,)."""
    return tuple(Later(*row) for row in np.stack([np.asarray(times), values, *interval], axis=1).tolist())


@dataclass(frozen=True)
class TrainingRun:
    """The checkpoints of one run on one benchmark, in order of tokens.

    Attributes:
        run, benchmark, metric: names.
        params: count, NaN if unknown.
        tokens, values: shape (checkpoints,).
        bounds: lowest and highest value that the metric can have.
    """

    run: str
    benchmark: str
    metric: str
    params: float
    tokens: Array
    values: Array
    bounds: tuple[float, float]

    @property
    def name(self) -> str:
        """Benchmark, run and size, for messages."""
        size = "" if math.isnan(self.params) else f" ({count_text(self.params)} params)"
        return f"{self.benchmark} of {self.run}{size}"

    def shown(self, until: float | None, use_first: float | None) -> npt.NDArray[np.bool_]:
        """The checkpoints up to ``until`` tokens, or in the first part of the tokens, or all; shape (checkpoints,).

        Raises:
            ForecastError: a fraction outside (0, 1].
        """
        if use_first is not None and not 0 < use_first <= 1:
            raise ForecastError(f"--use-first {use_first:g}; it is a fraction of the run's tokens, such as 0.5")
        end = until if until is not None else self.tokens[-1] * (1.0 if use_first is None else use_first)
        shown: npt.NDArray[np.bool_] = self.tokens <= end * (1 + 1e-9)
        return shown


def training_runs(
    scores: pd.DataFrame,
    metric: str,
    *,
    runs: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    params: float | None = None,
    start: float = 0.0,
) -> tuple[list[TrainingRun], pd.DataFrame, list[str]]:
    """Every run, size and benchmark with this metric in a checked score table, their rows, and notes on those left out.

    ``runs``, ``benchmarks`` and ``params`` choose from them; checkpoints before ``start`` tokens are left out.

    Raises:
        UnknownNameError: no such metric.
        CandidatesError: nothing is left; lists what the table has.
        DirectionError: fractions and percentages in one run.
    """
    rows = scores[scores["metric"] == metric]
    check_metrics(scores, [metric])
    for column, names in (("run", runs), ("benchmark", benchmarks)):
        for name in names:
            if name not in set(rows[column]):
                raise CandidatesError(f"no {metric} of the {column} {name!r}; there are {listed(set(rows[column]))}")
        rows = rows[rows[column].isin(names)] if names else rows
    if params is not None:
        sizes = ", ".join(count_text(size) for size in sorted(set(rows["params"].dropna())))
        rows = rows[np.isclose(rows["params"], params, rtol=5e-3)]
        if rows.empty:
            raise CandidatesError(f"no {metric} at {count_text(params)} params; sizes are {sizes or 'unknown'}")
    notes = [
        f"{counted(int(left_out.sum()), 'score')} {why} left out"
        for left_out, why in (
            (rows["tokens"].isna(), "of unknown tokens"),
            (rows["tokens"] == 0, "at 0 tokens, where a - b t^(-c) has no value"),
            (rows["tokens"].between(0, start, inclusive="neither"), f"before {count_text(start)} tokens"),
        )
        if left_out.any()
    ]
    rows = rows[rows["tokens"].ge(max(start, np.nextafter(0, 1)))]
    if rows.empty:
        reasons = "".join(f"; {text}" for text in notes)
        raise CandidatesError(f"no checkpoint with {metric} and known tokens is left{reasons}")
    selected = []
    for (run, benchmark, size), part in rows.groupby(["run", "benchmark", "params"], dropna=False):
        part = part.sort_values("tokens", kind="stable")
        tokens, values = (part[name].to_numpy(np.float64) for name in ("tokens", "value"))
        check_one_unit(metric, values.tolist(), f"{benchmark} of {run}")
        bounds = bounds_of(metric, values.tolist())
        selected.append(TrainingRun(run, benchmark, metric, float(size), tokens, values, bounds))
    return selected, rows, notes
