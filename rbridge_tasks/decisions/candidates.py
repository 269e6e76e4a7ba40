"""Candidates: runs on different data, scored by one metric at one size; and the target model's scores of these runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import RBridgeError, training_flops
from rbridge_tasks.tables.directions import Metric, check_one_unit
from rbridge_tasks.tables.names import check_benchmarks, check_metrics, listed
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import Size, count_text, parse_size
from rbridge_tasks.tables.table_settings import check_rows

_SAME_SIZE = 5e-3  # relative tolerance: 1.2B for a model of 1.204B parameters


class CandidatesError(RBridgeError, ValueError):
    """A score table lacks the rows asked for, or several of its rows fit."""


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
    def key(self) -> tuple[str, str, float]:
        """Benchmark, metric and params: what training noise is known by."""
        return self.benchmark, self.metric.name, self.params

    @property
    def size(self) -> str:
        """Params and tokens as text."""
        return f"{count_text(self.params)} params, {count_text(self.tokens)} tokens"


class Targets(NamedTuple):
    """The target model's scores on one benchmark, by run, and the rows of the table that hold them."""

    metric: Metric
    value: Mapping[str, float]
    rows: pd.DataFrame


def candidates_by_size(
    scores: pd.DataFrame, metric: Metric, *, benchmarks: Sequence[str] = (), at: Size | None = None
) -> tuple[list[Candidates], list[str]]:
    """Group a checked score table by benchmark and size, the cheapest size first; and notes on rows left out.

    Raises:
        UnknownNameError: no such metric, or a benchmark without it.
        CandidatesError: no row is left, or a run occurs twice in a group.
    """
    notes = []
    known = rows_of(scores, metric, benchmarks)
    if untrained := int((known["tokens"] == 0).sum()):
        notes.append(f"{counted(untrained, 'score')} of {metric.name} at 0 tokens left out: nothing was trained yet")
    rows = compared_rows(scores, metric, benchmarks, at)
    if at is not None and rows.empty:
        raise CandidatesError(f"no {metric.name} at {size_text(at)}; the sizes are {_sizes(known)}")
    groups = [
        _group(part, benchmark, metric, params, tokens)
        for (benchmark, params, tokens), part in rows.groupby(["benchmark", "params", "tokens"], dropna=False)
    ]
    if not groups:
        raise CandidatesError(f"no {metric.name} of a trained checkpoint is left")
    if alone := sum(len(group.runs) == 1 for group in groups):
        notes.append(
            f"{alone} of {len(groups)} sizes have a single candidate of {metric.name} and nothing to rank: candidates "
            "compare at equal params and tokens, which rbridge collect --runs TABLE can give them"
        )
    return sorted(groups, key=_by_cost), notes


def largest(groups: Iterable[Candidates]) -> list[Candidates]:
    """Of each benchmark the group at the most training compute; one of unknown compute only where no other is."""
    best: dict[str, Candidates] = {}
    for group in groups:
        held = best.get(group.benchmark)
        if held is None or group.flops > held.flops or (math.isnan(held.flops) and not math.isnan(group.flops)):
            best[group.benchmark] = group
    return [*best.values()]


def rows_of(scores: pd.DataFrame, metric: Metric, benchmarks: Sequence[str]) -> pd.DataFrame:
    """The rows of a metric and of benchmarks.

    Raises:
        UnknownNameError: no such metric, or a benchmark without it.
    """
    rows = scores[scores["metric"] == metric.name]
    check_metrics(scores, [metric.name])
    check_benchmarks(rows, benchmarks, where=f"{metric.name} in the score table")
    return rows[rows["benchmark"].isin(benchmarks)] if benchmarks else rows


def compared_rows(scores: pd.DataFrame, metric: Metric, benchmarks: Sequence[str], at: Size | None) -> pd.DataFrame:
    """The rows that ``candidates_by_size`` groups: those of trained checkpoints, of size ``at`` if it is given."""
    rows = rows_of(scores, metric, benchmarks)
    rows = rows[rows["tokens"] != 0]
    return rows if at is None else rows[_of_size(rows, at)]


def check_candidates(
    scores: pd.DataFrame, metric: Metric, benchmarks: Sequence[str], at: Size | None, *, allow: bool
) -> list[str]:
    """Refuse candidates of one size whose scores were measured under different settings; see ``check_rows``."""
    return check_rows(compared_rows(scores, metric, benchmarks, at), allow=allow, within=("params", "tokens"))


def target_values(
    targets: pd.DataFrame, metrics: Sequence[Metric], *, benchmarks: Sequence[str], at: Size | None = None
) -> dict[str, Targets]:
    """The target model's scores in a checked score table, on those of the proxy's ``benchmarks`` that have any.

    The first of ``metrics`` that a benchmark has is taken. ``at`` is needed if the table holds several sizes.

    Raises:
        UnknownNameError: none of the metrics.
        CandidatesError: no such size, none of the benchmarks, or several scores of one run.
    """
    if not metrics:
        raise CandidatesError("no metric of the target is given; name one with --target-metric")
    names = " or ".join(metric.name for metric in metrics)
    rows = targets[targets["metric"].isin([metric.name for metric in metrics])]
    if rows.empty:
        check_metrics(targets, [metric.name for metric in metrics], where="the target table", option="--target-metric")
    if at is not None:
        sizes, rows = _sizes(rows), rows[_of_size(rows, at)]
        if rows.empty:
            raise CandidatesError(f"no target {names} at {size_text(at)}; the sizes are {sizes}")
    shared = sorted(set(rows["benchmark"]) & set(benchmarks))
    if not shared:
        raise CandidatesError(
            f"the targets are of {listed(set(rows['benchmark']))}, the scores of {', '.join(sorted(set(benchmarks)))}; "
            "give targets of the same benchmark, or one name to both with rbridge collect --rename TASK=BENCHMARK"
        )
    values = {}
    for benchmark in shared:
        part, metric = first_metric(rows[rows["benchmark"] == benchmark], metrics)
        twice = part[part.duplicated("run", keep=False)]
        if not twice.empty:
            raise CandidatesError(
                f"run {twice['run'].iloc[0]!r} has several target scores of {benchmark} {metric.name}; the sizes are "
                f"{_sizes(part)}: choose one with --target-at PARAMS:TOKENS"
            )
        check_one_unit(metric.name, part["value"].tolist(), f"the targets of {benchmark}")
        values[benchmark] = Targets(metric, dict(zip(part["run"], part["value"], strict=True)), part)
    return values


def check_targets(targets: Mapping[str, Targets], *, allow: bool) -> list[str]:
    """Refuse target scores that were measured under different settings; see ``check_rows``."""
    return check_rows(pd.concat([part.rows for part in targets.values()]).sort_index(), allow=allow)


def first_metric(rows: pd.DataFrame, metrics: Sequence[Metric]) -> tuple[pd.DataFrame, Metric]:
    """The rows of the first of ``metrics`` that occurs in them, and that metric."""
    metric = next(metric for metric in metrics if metric.name in set(rows["metric"]))
    return rows[rows["metric"] == metric.name], metric


def is_of_size(group: Candidates, size: Size) -> bool:
    """Whether a group has a size, up to the digits that people write."""
    return bool(np.isclose([group.params, group.tokens], size, rtol=_SAME_SIZE).all())


def as_size(size: Size | str | None) -> Size | None:
    """A size from ``PARAMS:TOKENS``, such as ``98M:10B``.

    Raises:
        SizeError: the text is not two counts.
    """
    return parse_size(size) if isinstance(size, str) else size


def as_names(names: str | Sequence[str]) -> list[str]:
    """One name or several, as a list."""
    return [names] if isinstance(names, str) else [*names]


def size_text(size: Size) -> str:
    """``PARAMS:TOKENS``, rounded."""
    return f"{count_text(size.params)}:{count_text(size.tokens)}"


def _group(part: pd.DataFrame, benchmark: str, metric: Metric, params: float, tokens: float) -> Candidates:
    group = Candidates(
        benchmark, metric, float(params), float(tokens), tuple(part["run"]),
        part["value"].to_numpy(np.float64), part["stderr"].to_numpy(np.float64),
    )  # fmt: skip
    twice = part[part.duplicated("run", keep=False)]
    if len(twice):
        raise CandidatesError(
            f"run {twice['run'].iloc[0]!r} has several {metric.name} of {benchmark} at {group.size} (models "
            f"{listed(set(twice['model']))}); keep one, or give the runs different names"
        )
    check_one_unit(metric.name, part["value"].tolist(), f"the scores of {benchmark}")
    return group


def _by_cost(group: Candidates) -> tuple[str, float, float, float]:
    """Sort key: benchmark, then compute; unknown counts last."""
    flops, params, tokens = np.nan_to_num([group.flops, group.params, group.tokens], nan=np.inf)
    return group.benchmark, flops, params, tokens


def _of_size(rows: pd.DataFrame, size: Size) -> npt.NDArray[np.bool_]:
    params = np.isclose(rows["params"], size.params, rtol=_SAME_SIZE)
    same: npt.NDArray[np.bool_] = params & np.isclose(rows["tokens"], size.tokens, rtol=_SAME_SIZE)
    return same


def _sizes(rows: pd.DataFrame) -> str:
    sizes = rows[["params", "tokens"]].drop_duplicates().sort_values(["params", "tokens"])
    return listed([size_text(Size(params, tokens)) for params, tokens in sizes.itertuples(index=False)])
