"""Candidates side by side: the rows of a score table that compare, and what the target made of the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import RBridgeError, training_flops
from rbridge_tasks.tables.directions import Metric, check_one_unit
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import Size, count_text

_SAME_SIZE = 5e-3  # relative: 1.2B for a model of 1.204B parameters


class CandidatesError(RBridgeError, ValueError):
    """A score table without the rows asked for, or with rows that leave open which to take."""


@dataclass(frozen=True)
class Candidates:
    """Runs scored on one benchmark by one metric at one size, in the order of the table.

    Attributes:
        benchmark, metric: of the scores.
        params, tokens: counts, NaN where unknown.
        runs: shape (candidates,).
        value, stderr: shape (candidates,); a standard error is NaN where unknown.
    """

    benchmark: str
    metric: Metric
    params: float
    tokens: float
    runs: tuple[str, ...]
    value: npt.NDArray[np.float64]
    stderr: npt.NDArray[np.float64]

    @property
    def flops(self) -> float:
        """Training compute of one candidate, 6ND; NaN where params or tokens are unknown."""
        return float(training_flops(self.params, self.tokens))

    @property
    def size(self) -> str:
        """In words, for people."""
        return f"{count_text(self.params)} params, {count_text(self.tokens)} tokens"


def candidates_by_size(
    scores: pd.DataFrame, metric: Metric, *, benchmarks: Sequence[str] = (), at: Size | None = None
) -> tuple[list[Candidates], list[str]]:
    """Group a score table by benchmark and size, the cheapest size first.

    Args:
        scores: a checked score table.
        metric: which.
        benchmarks: only these; all where empty.
        at: only this size.

    Returns:
        The groups, and notes on what was left out.

    Raises:
        CandidatesError: nothing is left; or a run stands twice in a group.
    """
    rows = rows_of(scores, metric, benchmarks)
    notes = []
    untrained = rows["tokens"] == 0
    if untrained.any():
        notes.append(
            f"{counted(int(untrained.sum()), 'score')} of {metric.name} at 0 tokens left out: nothing was trained yet"
        )
        rows = rows[~untrained]
    if at is not None:
        rows = rows[_of_size(rows, at)]
        if rows.empty:
            raise CandidatesError(
                f"no {metric.name} at {_text(at)}; the sizes are {_sizes(rows_of(scores, metric, benchmarks))}"
            )
    groups = [
        _group(part, benchmark, metric, params, tokens)
        for (benchmark, params, tokens), part in rows.groupby(["benchmark", "params", "tokens"], dropna=False)
    ]
    if not groups:
        raise CandidatesError(f"no {metric.name} of a trained checkpoint is left")
    alone = sum(len(group.runs) == 1 for group in groups)
    if alone:
        notes.append(
            f"{alone} of {len(groups)} sizes have a single candidate of {metric.name} and nothing to rank: candidates "
            "compare at equal params and tokens, which rbridge collect --runs TABLE can give them"
        )
    return sorted(groups, key=_by_cost), notes


def rows_of(scores: pd.DataFrame, metric: Metric, benchmarks: Sequence[str]) -> pd.DataFrame:
    """The rows of a metric and of benchmarks.

    Raises:
        CandidatesError: no such metric, or a benchmark without it; names what there is.
    """
    rows = scores[scores["metric"] == metric.name]
    if rows.empty:
        raise CandidatesError(f"no scores of the metric {metric.name}; there are {_list(scores['metric'])}")
    for benchmark in benchmarks:
        if benchmark not in set(rows["benchmark"]):
            raise CandidatesError(f"no {metric.name} of {benchmark}; it is there for {_list(rows['benchmark'])}")
    return rows[rows["benchmark"].isin(benchmarks)] if benchmarks else rows


def compared_rows(scores: pd.DataFrame, metric: Metric, benchmarks: Sequence[str], at: Size | None) -> pd.DataFrame:
    """The rows that ``candidates_by_size`` makes candidates of."""
    rows = rows_of(scores, metric, benchmarks)
    rows = rows[rows["tokens"] != 0]
    return rows if at is None else rows[_of_size(rows, at)]


class Targets(NamedTuple):
    """What the target model scored on one benchmark, by run."""

    metric: Metric
    value: Mapping[str, float]


def target_values(
    targets: pd.DataFrame, metrics: Sequence[Metric], *, benchmarks: Sequence[str], at: Size | None = None
) -> dict[str, Targets]:
    """What the target model scored, by benchmark.

    Args:
        targets: a checked score table.
        metrics: of the target, in order of preference: the first that a benchmark has is taken.
        benchmarks: those of the proxy scores.
        at: the target's size, where the table holds several.

    Raises:
        CandidatesError: no such metric or size, none of the benchmarks, or several scores of one run.
    """
    names = [metric.name for metric in metrics]
    rows = targets[targets["metric"].isin(names)]
    if rows.empty:
        raise CandidatesError(f"no target scores of {' or '.join(names)}; there are {_list(targets['metric'])}")
    if at is not None:
        found = rows[_of_size(rows, at)]
        if found.empty:
            raise CandidatesError(f"no target {' or '.join(names)} at {_text(at)}; the sizes are {_sizes(rows)}")
        rows = found
    shared = sorted(set(rows["benchmark"]) & set(benchmarks))
    if not shared:
        raise CandidatesError(
            f"the targets are of {_list(rows['benchmark'])}, the scores of {', '.join(sorted(set(benchmarks)))}; give "
            "targets of the same benchmark, or one name to both with rbridge collect --rename TASK=BENCHMARK"
        )
    values = {}
    for benchmark in shared:
        part = rows[rows["benchmark"] == benchmark]
        metric = next(metric for metric in metrics if metric.name in set(part["metric"]))
        part = part[part["metric"] == metric.name]
        twice = part[part.duplicated("run", keep=False)]
        if not twice.empty:
            raise CandidatesError(
                f"run {twice['run'].iloc[0]!r} has several target scores of {benchmark} {metric.name}; the sizes are "
                f"{_sizes(part)}: choose one with --target-at PARAMS:TOKENS"
            )
        check_one_unit(metric.name, part["value"].tolist(), f"the targets of {benchmark}")
        values[benchmark] = Targets(metric, dict(zip(part["run"], part["value"], strict=True)))
    return values


def rows_at(targets: pd.DataFrame, values: Mapping[str, Targets], at: Size | None) -> pd.DataFrame:
    """The rows that ``target_values`` took its values from."""
    rows = targets[
        [
            benchmark in values and metric == values[benchmark].metric.name
            for benchmark, metric in zip(targets["benchmark"], targets["metric"], strict=True)
        ]
    ]
    return rows if at is None else rows[_of_size(rows, at)]


def _group(part: pd.DataFrame, benchmark: str, metric: Metric, params: float, tokens: float) -> Candidates:
    group = Candidates(
        benchmark, metric, float(params), float(tokens), tuple(part["run"]),
        part["value"].to_numpy(np.float64), part["stderr"].to_numpy(np.float64),
    )  # fmt: skip
    twice = part[part.duplicated("run", keep=False)]
    if not twice.empty:
        models = _list(twice["model"])
        raise CandidatesError(
            f"run {twice['run'].iloc[0]!r} has several {metric.name} of {benchmark} at {group.size} (models {models}); "
            "keep one, or give the runs different names"
        )
    check_one_unit(metric.name, part["value"].tolist(), f"the scores of {benchmark}")
    return group


def _by_cost(group: Candidates) -> tuple[str, float, float, float]:
    flops, params, tokens = np.nan_to_num(
        [group.flops, group.params, group.tokens], nan=np.inf
    )  # the unknown comes last
    return group.benchmark, flops, params, tokens


def is_of_size(group: Candidates, size: Size) -> bool:
    """Whether a group has a size, to the digits that people write."""
    return bool(np.isclose([group.params, group.tokens], size, rtol=_SAME_SIZE).all())


def _of_size(rows: pd.DataFrame, size: Size) -> npt.NDArray[np.bool_]:
    params = np.isclose(rows["params"], size.params, rtol=_SAME_SIZE)
    same: npt.NDArray[np.bool_] = params & np.isclose(rows["tokens"], size.tokens, rtol=_SAME_SIZE)
    return same


def _text(size: Size) -> str:
    return f"{count_text(size.params)}:{count_text(size.tokens)}"


def _sizes(rows: pd.DataFrame) -> str:
    sizes = rows[["params", "tokens"]].drop_duplicates().sort_values(["params", "tokens"])
    return _shortened([_text(Size(params, tokens)) for params, tokens in sizes.itertuples(index=False)])


def _list(column: pd.Series) -> str:
    return _shortened(sorted(set(column)))


def _shortened(names: Sequence[str]) -> str:
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
