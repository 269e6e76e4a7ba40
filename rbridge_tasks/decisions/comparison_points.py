"""What metrics are compared on: points that all of them score, of candidate data sets or of checkpoints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import RBridgeError, training_flops
from rbridge_tasks.decisions.candidates import (
    Candidates,
    Targets,
    candidates_by_size,
    compared_rows,
    is_of_size,
    rows_at,
    target_values,
)
from rbridge_tasks.decisions.pairing import Group, PairError, in_percent
from rbridge_tasks.decisions.score_pairs import pairs_from_scores, rows_of_model
from rbridge_tasks.tables.directions import Metric, bounds_of, check_one_unit
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import Size, count_text
from rbridge_tasks.tables.table_settings import check_rows

Values = npt.NDArray[np.float64]

#: A metric known for a smaller share of a benchmark's points is left out; else the points that it lacks are.
MIN_KNOWN = 0.8


class CompareError(RBridgeError, ValueError):
    """Scores and targets that leave nothing to compare."""


@dataclass(frozen=True)
class Points:
    """Points of one benchmark, known by every metric.

    Attributes:
        benchmark: whose.
        metrics: the metrics.
        scores: shape (metrics, points).
        target: shape (points,): accuracies in percent, or whatever the target's metric is.
        target_metric: of the target.
        runs: of each point.
        keys: what a point is called across benchmarks: its run, and its tokens where a run has several.
        tokens: of each point, shape (points,); None where all are the same or unknown.
        flops: training compute of what is scored: of one candidate, or of a run up to its last point. NaN if unknown.
        is_accuracy: the target is in percent, and can be fitted.
    """

    benchmark: str
    metrics: tuple[Metric, ...]
    scores: Values
    target: Values
    target_metric: Metric
    runs: tuple[str, ...]
    keys: tuple[Hashable, ...]
    tokens: Values | None
    flops: float
    is_accuracy: bool


@dataclass(frozen=True)
class _Scored:
    """One metric of one benchmark: score by point, and what belongs to the points whatever the metric."""

    metric: Metric
    score: dict[Hashable, float]
    target: dict[Hashable, float]
    target_metric: Metric
    flops: float
    is_accuracy: bool


def candidate_points(
    scores: pd.DataFrame,
    targets: pd.DataFrame,
    metrics: Sequence[Metric],
    target_metrics: Sequence[Metric],
    *,
    at: Size | None,
    target_at: Size | None,
    unit: str = "auto",
    allow: bool = False,
) -> tuple[list[Points], list[str]]:
    """Runs at one size, against what the target made of the same runs.

    The size is ``at``, else for each benchmark the one with the most training compute that any metric has.

    Returns:
        The points of each benchmark, and notes on what was left out.

    Raises:
        CompareError, CandidatesError: nothing to compare; targets of other benchmarks, runs or sizes.
        IncomparableError: scores of one metric and size, or targets, had different settings, and not ``allow``.
        PairError, DirectionError: accuracies in mixed units.
    """
    said: Counter[str] = Counter()
    groups: list[tuple[Metric, Candidates]] = []
    for metric in metrics:
        found, notes = candidates_by_size(scores, metric)
        said.update(note.replace(f" of {metric.name} ", " of a metric ") for note in notes if "single" not in note)
        groups += [(metric, group) for group in found if at is None or is_of_size(group, at)]
    if not groups:
        raise CompareError(
            f"none of {counted(len(metrics), 'metric')} has scores at {count_text(at.params)}:{count_text(at.tokens)}; "
            "give another --at" if at else "no metric to compare; name some with --metrics"
        )  # fmt: skip
    benchmarks = list(dict.fromkeys(group.benchmark for _, group in groups))
    values = target_values(targets, target_metrics, benchmarks=benchmarks, at=target_at)
    for metric in metrics:
        rows = compared_rows(scores, metric, (), at)
        said.update(check_rows(rows, allow=allow, within=("params", "tokens")))
    said.update(check_rows(rows_at(targets, values, target_at), allow=allow))
    lacking = [name for name in benchmarks if name not in values]
    if lacking:
        said[f"{counted(len(lacking), 'benchmark')} without targets left out: {', '.join(lacking)}"] = 1
    scored: dict[str, list[_Scored]] = {}
    for benchmark in values:
        own = [(metric, group) for metric, group in groups if group.benchmark == benchmark]
        largest = max(own, key=lambda one: (not math.isnan(one[1].flops), np.nan_to_num(one[1].flops)))[1]
        kept = [one for one in own if one[1].size == largest.size]
        if len(kept) < len({metric.name for metric, _ in own}):
            missing = len({metric.name for metric, _ in own}) - len(kept)
            said[f"{benchmark}: {counted(missing, 'metric')} without scores at {largest.size} left out"] = 1
        truth, accuracy = _truths(values[benchmark], benchmark, unit, said)
        scored[benchmark] = [
            _Scored(
                metric,
                {(run,): float(value) for run, value in zip(group.runs, group.value, strict=True) if run in truth},
                {(run,): value for run, value in truth.items()},
                values[benchmark].metric,
                group.flops,
                accuracy,
            )
            for metric, group in kept
        ]
    return _all_points(scored, said)


def checkpoint_points(
    scores: pd.DataFrame,
    metrics: Sequence[Metric],
    target_metrics: Sequence[Metric],
    *,
    proxy: str,
    target: str,
    unit: str = "auto",
    allow: bool = False,
) -> tuple[list[Points], list[str]]:
    """Checkpoints of a small model against a large one's accuracy at the same tokens, joined as ``rbridge fit`` does.

    Raises:
        CompareError, PairError: nothing can be joined.
        IncomparableError: scores of one metric of a model had different settings, and not ``allow``.
    """
    said: Counter[str] = Counter()
    scored: dict[str, list[_Scored]] = {}
    names = [metric.name for metric in target_metrics]
    large = rows_of_model(scores[scores["metric"].isin(names)], target, f"with {' or '.join(names)}")
    shared = scores[scores["benchmark"].isin(set(large["benchmark"]))]
    skipped: list[str] = []
    for metric in metrics:
        try:
            rows_of_model(shared[shared["metric"] == metric.name], proxy, f"with {metric.name}")
        except PairError as error:
            skipped.append(str(error))
            continue
        pairs = pairs_from_scores(shared, metric.name, names, proxy, target, unit, allow_incomparable=allow)
        said.update(pairs.notes)
        for group in pairs.groups:
            there = set(large[large["benchmark"] == group.key["benchmark"]]["metric"])
            truth = next(one for one in target_metrics if one.name in there)
            found = _of_group(group, metric, truth, pairs.source.proxy_params)
            scored.setdefault(group.key["benchmark"], []).append(found)
    if skipped and not scored:
        raise CompareError(skipped[0])
    if skipped:
        said[f"{counted(len(skipped), 'metric')} left out: {skipped[0]}"] = 1
    return _all_points(scored, said)


def _of_group(group: Group, metric: Metric, truth: Metric, params: Sequence[float]) -> _Scored:
    order = np.full(len(group.x), math.nan) if group.order is None else group.order
    keys = list(zip(group.run or [""] * len(group.x), order.tolist(), strict=True))
    known = len(params) == 1 and group.order is not None and order.max() > 0
    flops = float(training_flops(params[0], order.max())) if known else math.nan
    score: dict[Hashable, float] = dict(zip(keys, group.x.tolist(), strict=True))
    target: dict[Hashable, float] = dict(zip(keys, group.y.tolist(), strict=True))
    return _Scored(metric, score, target, truth, flops, is_accuracy=True)


def _truths(targets: Targets, benchmark: str, unit: str, said: Counter[str]) -> tuple[dict[str, float], bool]:
    """Targets by run, in percent where they are accuracies."""
    values = np.array([*targets.value.values()])
    if not math.isfinite(bounds_of(targets.metric.name, values.tolist())[1]) or targets.metric.lower_is_better:
        said[f"targets of {benchmark} are {targets.metric.name}, no accuracies: nothing is fitted to them"] = 1
        return dict(targets.value), False
    percent, notes = in_percent(values, {(benchmark,): range(len(values))}, unit, targets.metric.name)
    said.update(notes)
    return dict(zip(targets.value, percent.tolist(), strict=True)), True


def _all_points(scored: dict[str, list[_Scored]], said: Counter[str]) -> tuple[list[Points], list[str]]:
    points = []
    for benchmark, own in scored.items():
        found = _points(benchmark, own, said)
        points += [found] if found else []
    notes = [text if count == 1 else f"{text} ({count} times)" for text, count in said.items()]
    if not points:
        raise CompareError(f"no benchmark has two points with a target; {'; '.join(notes) or 'give more runs'}")
    return points, notes


def _points(benchmark: str, scored: Sequence[_Scored], said: Counter[str]) -> Points | None:
    """What all metrics share. None, with a note, where that is fewer than two points."""
    keys = list(dict.fromkeys(key for one in scored for key in one.score))
    kept = [one for one in scored if len(one.score) >= MIN_KNOWN * len(keys)]
    for metric in (one.metric.name for one in scored if one not in kept):
        said[f"{benchmark}: {metric} left out, known for less than {MIN_KNOWN:.0%} of {len(keys)} points"] = 1
    shared = [key for key in keys if all(key in one.score for one in kept)]
    if lost := len(keys) - len(shared):
        said[f"{benchmark}: {counted(lost, 'point')} of {len(keys)} left out, a metric is unknown there"] = 1
    if len(shared) < 2:
        said[f"{benchmark} left out: {counted(len(shared), 'point')} with a target and every metric, 2 are needed"] = 1
        return None
    for one in kept:
        check_one_unit(one.metric.name, [one.score[key] for key in shared], f"the scores of {benchmark}")
    runs = [str(key[0]) for key in shared if isinstance(key, tuple)]
    at = np.array([key[1] if isinstance(key, tuple) and len(key) > 1 else math.nan for key in shared])
    return Points(
        benchmark=benchmark,
        metrics=tuple(one.metric for one in kept),
        scores=np.array([[one.score[key] for key in shared] for one in kept]),
        target=np.array([kept[0].target[key] for key in shared]),
        target_metric=kept[0].target_metric,
        runs=tuple(runs),
        keys=tuple(shared),
        tokens=at if np.isfinite(at).all() else None,
        flops=max(_known(one.flops for one in kept), default=math.nan),
        is_accuracy=kept[0].is_accuracy,
    )


def _known(numbers: Iterable[float]) -> list[float]:
    return [number for number in numbers if not math.isnan(number)]
