"""Agreement of a proxy's order with the target's order at every size, its Pareto frontier, and compute saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rbridge_metrics import compute_savings, pareto_frontier
from rbridge_metrics.bootstrap import percentile_interval
from rbridge_metrics.compute import Savings
from rbridge_metrics.paired_comparison import MIN_UNITS, drawn_counts, resampled_agreement
from rbridge_metrics.ranking import Agreement, PairCounts, agreement, pair_counts
from rbridge_tasks.decisions.candidates import CandidatesError, Targets
from rbridge_tasks.decisions.size_ranking import SizeRanking
from rbridge_tasks.tables.names import listed
from rbridge_tasks.tables.rows import counted

#: Name under which agreement is averaged over benchmarks.
MEAN = "mean of benchmarks"
MEASURES = ("decision_accuracy", "kendall_tau_b", "spearman")


@dataclass(frozen=True)
class TargetAgreement:
    """Agreement of a metric with the target at one size.

    Attributes:
        benchmark: name, or ``MEAN``.
        metric: of the proxy.
        params, tokens, flops: of one candidate; NaN where unknown.
        candidates: number of runs with both a proxy and a target score; in a mean, the fewest of any benchmark.
        pairs: counts of their pairs; None in a mean.
        value, low, high: value and interval by measure. The interval is NaN without resamples.
        resampled: the measures on each resample.
        over: what was resampled, ``scores`` or ``candidates``; empty without an interval.
        on_frontier: no cheaper size has as high a decision accuracy.
    """

    benchmark: str
    metric: str
    params: float
    tokens: float
    flops: float
    candidates: int
    pairs: PairCounts | None
    value: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    resampled: Agreement | None
    over: str = ""
    on_frontier: bool = False

    @property
    def is_known(self) -> bool:
        """Whether compute and decision accuracy are known; the latter is NaN where all targets tie."""
        return math.isfinite(self.flops) and math.isfinite(self.value["decision_accuracy"])


def compare_with_target(
    rankings: Sequence[SizeRanking], targets: Mapping[str, Targets], *, level: float
) -> tuple[list[TargetAgreement], list[str]]:
    """Agreement of rankings with the targets of their benchmark, with the mean over benchmarks and frontiers marked.

    Returns:
        The agreements, and notes on runs and sizes left out, on ties, and on metrics of doubtful direction.

    Raises:
        CandidatesError: no size has two candidates with a target.
    """
    points: list[TargetAgreement] = []
    lacking: dict[str, set[str]] = {}
    for ranking in rankings:
        candidates = ranking.candidates
        if candidates.benchmark not in targets:
            lacking.setdefault(candidates.benchmark, set()).update(candidates.runs)
            continue
        target = targets[candidates.benchmark]
        lacking.setdefault(candidates.benchmark, set()).update(set(candidates.runs) - set(target.value))
        point = _agreement(ranking, target, level)
        if point is not None:
            points.append(point)
    if not points:
        runs = listed({run for target in targets.values() for run in target.value})
        raise CandidatesError(
            f"no size at which two candidates have a target; there are targets of the runs {runs}: name runs alike in "
            "both tables"
        )
    notes = _on_lacking(lacking)
    if any(point.over == "candidates" for point in points):
        notes.append(
            "scores have no standard errors: intervals of the agreement resample candidates, and hold for other "
            "candidates of the same kind"
        )
    left_out = len(rankings) - len(points)
    if left_out:
        notes.append(f"{counted(left_out, 'size')} left out of the agreement: fewer than two candidates with a target")
    unknown = sum(math.isnan(point.flops) for point in points)
    if unknown:
        notes.append(f"{counted(unknown, 'size')} of unknown compute (params or tokens are missing) off the frontier")
    return _with_frontiers(points + _means(points, level)), notes + _on_ties(points) + _on_direction(points)


def savings(points: Sequence[TargetAgreement], metric: str, others: Sequence[str]) -> dict[str, Savings]:
    """Compute at equal decision accuracy against other metrics, pooled, for each benchmark that has both."""
    by_benchmark = {}
    for benchmark in dict.fromkeys(point.benchmark for point in points):
        saved = _savings([point for point in points if point.benchmark == benchmark], metric, others)
        if saved is not None:
            by_benchmark[benchmark] = saved
    return by_benchmark


def _savings(points: Sequence[TargetAgreement], metric: str, others: Sequence[str]) -> Savings | None:
    """Savings on one benchmark; None if a side has no size of known compute."""
    sides = []
    for names in ((metric,), others):
        pairs = [(point.flops, point.value["decision_accuracy"]) for point in points if point.metric in names]
        sides.append([pair for pair in pairs if np.isfinite(pair).all()])
    if not all(sides):
        return None
    (cost, value), (other_cost, other_value) = (zip(*side, strict=True) for side in sides)
    return compute_savings(cost, value, other_cost, other_value)


def _agreement(ranking: SizeRanking, target: Targets, level: float) -> TargetAgreement | None:
    """Agreement over the runs that have both scores; None if fewer than two have."""
    candidates = ranking.candidates
    shared = [at for at, run in enumerate(candidates.runs) if run in target.value]
    if len(shared) < 2:
        return None
    ours, theirs = candidates.value[shared], np.array([target.value[candidates.runs[at]] for at in shared])
    ways = {
        "lower_is_better": candidates.metric.lower_is_better,
        "target_lower_is_better": target.metric.lower_is_better,
    }
    counts = pair_counts(ours, theirs, **ways)
    observed = agreement(ours[None], theirs, **ways)
    value = {name: float(values[0]) for name, values in zip(MEASURES, observed, strict=True)}
    value["decision_accuracy"] = counts.decision_accuracy  # rounded once
    resampled, over = None, ""
    if ranking.resampled is not None:
        resampled, over = agreement(ranking.resampled[:, shared], theirs, **ways), "scores"
    elif len(shared) >= MIN_UNITS:
        signs = [-1.0 if lower else 1.0 for lower in ways.values()]
        drawn = resampled_agreement(signs[0] * ours[None], signs[1] * theirs, drawn_counts(len(shared)))
        resampled, over = Agreement(*(values[0] for values in drawn)), "candidates"
    low, high = _intervals(resampled, level)
    return TargetAgreement(
        candidates.benchmark, candidates.metric.name, candidates.params, candidates.tokens, candidates.flops,
        len(shared), counts, value, low, high, resampled, over,
    )  # fmt: skip


def _means(points: Sequence[TargetAgreement], level: float) -> list[TargetAgreement]:
    """The mean over benchmarks, at sizes that every benchmark has."""
    benchmarks = {point.benchmark for point in points}
    by_size: dict[tuple[str, str, str], list[TargetAgreement]] = {}
    for point in points:
        by_size.setdefault((point.metric, repr(point.params), repr(point.tokens)), []).append(point)
    means = []
    for group in by_size.values():
        if len(benchmarks) == 1 or len(group) < len(benchmarks):
            continue
        parts = [point.resampled for point in group if point.resampled is not None]
        whole = len(parts) == len(group)
        resampled = Agreement(*np.mean(parts, axis=0)) if whole else None
        low, high = _intervals(resampled, level)
        means.append(
            replace(
                group[0],
                benchmark=MEAN,
                candidates=min(point.candidates for point in group),
                pairs=None,
                value={name: float(np.mean([point.value[name] for point in group])) for name in MEASURES},
                low=low,
                high=high,
                resampled=resampled,
            )
        )
    return means


def _with_frontiers(points: Sequence[TargetAgreement]) -> list[TargetAgreement]:
    """The points of each benchmark and metric in order of compute, with the frontier marked."""
    marked = []
    for benchmark, metric in dict.fromkeys((point.benchmark, point.metric) for point in points):
        line = [point for point in points if (point.benchmark, point.metric) == (benchmark, metric)]
        line.sort(key=lambda point: (math.isnan(point.flops), point.flops))
        on = pareto_frontier([point.flops for point in line], [point.value["decision_accuracy"] for point in line])
        marked += [replace(point, on_frontier=bool(flag)) for point, flag in zip(line, on, strict=True)]
    return marked


def _intervals(resampled: Agreement | None, level: float) -> tuple[dict[str, float], dict[str, float]]:
    low, high = dict.fromkeys(MEASURES, math.nan), dict.fromkeys(MEASURES, math.nan)
    for name, draws in zip(MEASURES, resampled or (), strict=False):
        low[name], high[name] = interval_of_known(draws, level)
    return low, high


def interval_of_known(draws: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    """The interval of the resamples that are defined, shape (resamples,); NaN if none is."""
    known = draws[np.isfinite(draws)]
    if not known.size:
        return math.nan, math.nan
    low, high = percentile_interval(known, level=level)
    return float(low), float(high)


def _on_lacking(lacking: Mapping[str, set[str]]) -> list[str]:
    """One line on the runs without a target, by benchmark; benchmarks that lack the same runs together."""
    benchmarks: dict[frozenset[str], list[str]] = {}
    for name, runs in lacking.items():
        if runs:
            benchmarks.setdefault(frozenset(runs), []).append(name)
    if not benchmarks:
        return []
    parts = [f"{counted(len(runs), 'run')} without a target of {listed(names)}" for runs, names in benchmarks.items()]
    return [f"{'; '.join(parts)} left out, such as {min(min(runs) for runs in benchmarks)}"]


def _on_ties(points: Sequence[TargetAgreement]) -> list[str]:
    """Number of ties, and how they count."""
    counts = [point.pairs for point in points if point.pairs]
    in_target, in_proxy = sum(pairs.tied_in_target for pairs in counts), sum(pairs.tied_in_proxy for pairs in counts)
    if not in_target + in_proxy:
        return []
    return [
        f"ties, of {sum(map(sum, counts))} pairs at all sizes: {in_target} tied in the target are left out of decision "
        f"accuracy, {in_proxy} tied in the proxy alone count half; tau is tau-b"
    ]


def _on_direction(points: Sequence[TargetAgreement]) -> list[str]:
    """Metrics whose decision accuracy is below 1/2, interval included."""
    wrong = Counter(point.metric for point in points if point.high["decision_accuracy"] < 0.5)
    return [
        f"{metric} orders pairs the wrong way more often than not at {counted(count, 'size')}: does it run as taken?"
        for metric, count in wrong.items()
    ]
