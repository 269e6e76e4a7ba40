"""Points on which metrics are compared: candidate data sets or checkpoints that all metrics score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import RBridgeError, training_flops
from rbridge_tasks.decisions.candidates import (
    Candidates,
    Targets,
    candidates_by_size,
    check_candidates,
    check_targets,
    first_metric,
    is_of_size,
    largest,
    size_text,
    target_values,
)
from rbridge_tasks.decisions.pairing import Group, PairError, in_percent
from rbridge_tasks.decisions.score_pairs import pairs_from_scores, rows_of_model
from rbridge_tasks.tables.directions import Metric, bounds_of, check_one_unit
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import Size

Values = npt.NDArray[np.float64]

#: A metric known for a smaller share of a benchmark's points is left out; otherwise the points without it are.
MIN_KNOWN = 0.8


class CompareError(RBridgeError, ValueError):
    """Scores, targets or arguments that give nothing to compare."""


class PointKey(NamedTuple):
    """A point, the same on every benchmark: a run, and its tokens if the points are checkpoints."""

    run: str
    tokens: float | None = None


@dataclass(frozen=True)
class Points:
    """Points of one benchmark, scored by every metric.

    Attributes:
        benchmark: name.
        metrics: the metrics.
        scores: shape (metrics, points).
        target: shape (points,): accuracies in percent, or values of another metric.
        target_metric: of the target.
        keys: shape (points,).
        tokens: training tokens, shape (points,); None for candidates and if unknown.
        flops: training compute of one candidate, or of a run up to its last point; NaN if unknown.
        is_accuracy: the target is an accuracy in percent, and can be fitted.
    """

    benchmark: str
    metrics: tuple[Metric, ...]
    scores: Values
    target: Values
    target_metric: Metric
    keys: tuple[PointKey, ...]
    tokens: Values | None
    flops: float
    is_accuracy: bool

    @property
    def runs(self) -> list[str]:
        """The run of each point."""
        return [key.run for key in self.keys]


class _MetricScores(NamedTuple):
    """One metric on one benchmark: its score of each point, and the target's."""

    metric: Metric
    score: Mapping[PointKey, float]
    target: Mapping[PointKey, float]
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
    """Runs at one size, with the target model's scores of the same runs.

    The size is ``at``, else for each benchmark the one with the most training compute that any metric has.

    Returns:
        The points of each benchmark, and notes on what was left out.

    Raises:
        CompareError, CandidatesError: nothing to compare; targets of other benchmarks, runs or sizes.
        IncomparableError: scores of one metric and size, or targets, had different settings, and not ``allow``.
        PairError, DirectionError: accuracies in mixed units.
    """
    notes: Counter[str] = Counter()
    groups: list[Candidates] = []
    for metric in metrics:
        sized, lines = candidates_by_size(scores, metric)
        notes.update(line.replace(f" of {metric.name} ", " of a metric ") for line in lines if "single" not in line)
        groups += [group for group in sized if at is None or is_of_size(group, at)]
    if not groups:
        raise CompareError(
            f"none of {counted(len(metrics), 'metric')} has scores at {size_text(at)}; give another --at"
            if at
            else "no metric to compare; name some with --metrics"
        )
    benchmarks = list(dict.fromkeys(group.benchmark for group in groups))
    values = target_values(targets, target_metrics, benchmarks=benchmarks, at=target_at)
    for metric in metrics:
        notes.update(check_candidates(scores, metric, (), at, allow=allow))
    notes.update(check_targets(values, allow=allow))
    lacking = [name for name in benchmarks if name not in values]
    if lacking:
        notes[f"{counted(len(lacking), 'benchmark')} without targets left out: {', '.join(lacking)}"] = 1
    scored = {
        benchmark: _candidate_scores([group for group in groups if group.benchmark == benchmark], target, unit, notes)
        for benchmark, target in values.items()
    }
    return _all_points(scored, notes)


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
    """Checkpoints of a small model, with a large one's accuracy at the same tokens, joined as ``rbridge fit`` does.

    Raises:
        CompareError, PairError: nothing can be joined.
        IncomparableError: scores of one metric of a model had different settings, and not ``allow``.
    """
    notes: Counter[str] = Counter()
    scored: dict[str, list[_MetricScores]] = {}
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
        notes.update(pairs.notes)
        for group in pairs.groups:
            benchmark = group.key["benchmark"]
            _, truth = first_metric(large[large["benchmark"] == benchmark], target_metrics)
            metric_scores = _checkpoint_scores(group, metric, truth, pairs.source.proxy_params)
            scored.setdefault(benchmark, []).append(metric_scores)
    if skipped and not scored:
        raise CompareError(skipped[0])
    if skipped:
        notes[f"{counted(len(skipped), 'metric')} left out: {skipped[0]}"] = 1
    return _all_points(scored, notes)


def _candidate_scores(
    groups: Sequence[Candidates], targets: Targets, unit: str, notes: Counter[str]
) -> list[_MetricScores]:
    """The metrics of one benchmark that have scores at its largest size, as it is written with three digits."""
    (top,) = largest(groups)
    benchmark, size = top.benchmark, top.size
    kept = {group.metric.name: group for group in groups if group.size == size}  # of several the costliest, the last
    if missing := len({group.metric.name for group in groups}) - len(kept):
        notes[f"{benchmark}: {counted(missing, 'metric')} without scores at {size} left out"] = 1
    truth, is_accuracy = _percent(targets, benchmark, unit, notes)
    target = {PointKey(run): value for run, value in truth.items()}
    return [
        _MetricScores(
            group.metric,
            {PointKey(run): float(v) for run, v in zip(group.runs, group.value, strict=True) if run in truth},
            target,
            targets.metric,
            group.flops,
            is_accuracy,
        )
        for group in kept.values()
    ]


def _percent(targets: Targets, benchmark: str, unit: str, notes: Counter[str]) -> tuple[dict[str, float], bool]:
    """Targets by run, in percent if they are accuracies; and whether they are."""
    values = np.array([*targets.value.values()])
    if not math.isfinite(bounds_of(targets.metric.name, values.tolist())[1]) or targets.metric.lower_is_better:
        notes[f"targets of {benchmark} are {targets.metric.name}, no accuracies: nothing is fitted to them"] = 1
        return dict(targets.value), False
    (percent,), lines = in_percent([(benchmark, values)], unit, targets.metric.name)
    notes.update(lines)
    return dict(zip(targets.value, percent.tolist(), strict=True)), True


def _checkpoint_scores(group: Group, metric: Metric, truth: Metric, params: Sequence[float]) -> _MetricScores:
    tokens: list[float | None] = [None] * len(group.x) if group.order is None else group.order.tolist()
    keys = [PointKey(run, at) for run, at in zip(group.run or [""] * len(group.x), tokens, strict=True)]
    known = len(params) == 1 and group.order is not None and group.order.max() > 0
    flops = float(training_flops(params[0], group.order.max())) if known and group.order is not None else math.nan
    score, target = (dict(zip(keys, values.tolist(), strict=True)) for values in (group.x, group.y))
    return _MetricScores(metric, score, target, truth, flops, is_accuracy=True)


def _all_points(scored: Mapping[str, Sequence[_MetricScores]], notes: Counter[str]) -> tuple[list[Points], list[str]]:
    points = [_points(benchmark, metrics, notes) for benchmark, metrics in scored.items()]
    texts = [text if count == 1 else f"{text} ({count} times)" for text, count in notes.items()]
    kept = [part for part in points if part is not None]
    if not kept:
        raise CompareError(f"no benchmark has two points with a target; {'; '.join(texts) or 'give more runs'}")
    return kept, texts


def _points(benchmark: str, scored: Sequence[_MetricScores], notes: Counter[str]) -> Points | None:
    """The points that all metrics share; None, with a note, if there are fewer than two."""
    keys = list(dict.fromkeys(key for part in scored for key in part.score))
    kept = [part for part in scored if len(part.score) >= MIN_KNOWN * len(keys)]
    for name in (part.metric.name for part in scored if len(part.score) < MIN_KNOWN * len(keys)):
        notes[f"{benchmark}: {name} left out, known for less than {MIN_KNOWN:.0%} of {len(keys)} points"] = 1
    shared = [key for key in keys if kept and all(key in part.score for part in kept)]
    if lost := len(keys) - len(shared):
        notes[f"{benchmark}: {counted(lost, 'point')} of {len(keys)} left out, a metric is unknown there"] = 1
    if len(shared) < 2:
        notes[f"{benchmark} left out: {counted(len(shared), 'point')} with a target and every metric, 2 are needed"] = 1
        return None
    for part in kept:
        check_one_unit(part.metric.name, [part.score[key] for key in shared], f"the scores of {benchmark}")
    tokens = np.array([math.nan if key.tokens is None else key.tokens for key in shared])
    return Points(
        benchmark=benchmark,
        metrics=tuple(part.metric for part in kept),
        scores=np.array([[part.score[key] for key in shared] for part in kept]),
        target=np.array([kept[0].target[key] for key in shared]),
        target_metric=kept[0].target_metric,
        keys=tuple(shared),
        tokens=tokens if np.isfinite(tokens).all() else None,
        flops=max((part.flops for part in kept if not math.isnan(part.flops)), default=math.nan),
        is_accuracy=kept[0].is_accuracy,
    )
