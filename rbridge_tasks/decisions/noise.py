"""``noise``: how far training noise moves a score, whether it hides differences of candidates, and the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rbridge_metrics.noise import (
    LAST,
    MIN_CHECKPOINTS,
    NoiseError,
    TrainingNoise,
    implied_decision_accuracy,
    probability_of_chance,
)
from rbridge_metrics.ranking import decision_accuracy
from rbridge_tasks.decisions.candidates import Targets, as_names, as_size, check_targets, target_values
from rbridge_tasks.decisions.decision import Decision
from rbridge_tasks.tables.averaging import NoiseKey, noise_by_size, run_series, trailing_means
from rbridge_tasks.tables.directions import DirectionError, metric_called
from rbridge_tasks.tables.names import check_benchmarks, check_metrics, listed, split_names
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.score_table import as_scores
from rbridge_tasks.tables.table_settings import check_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.tables.sizes import Size

_SAME_TOKENS = 5e-3
#: Runs whose names differ only in this are one candidate with several seeds.
_SEED = re.compile(r"[-_. ](seed|rerun|s)[-_]?\d*$", re.IGNORECASE)


@dataclass(frozen=True)
class MetricNoise:
    """Noise and signal of one metric on one benchmark at one size. Unknown values are NaN.

    Attributes:
        benchmark, metric: of the scores.
        params: size of the models.
        runs, checkpoints: number of runs, and the most final checkpoints of one of them, from which noise is estimated.
        level: mean of the last scores.
        noise: standard deviation of a checkpoint about the trend of its run.
        relative_noise: ``noise`` over ``level``.
        seed_noise: standard deviation of the last score over seeds of one candidate.
        tokens, candidates: tokens at which candidates end, and their number; runs that differ in the seed are one.
        signal: largest minus smallest score of the candidates.
        spread: standard deviation over the candidates.
        snr: signal over the larger of ``noise`` and ``seed_noise``.
        implied_decision_accuracy: share of candidate pairs whose order that noise leaves alone. The spread of the
            candidates without noise is taken from their averages.
        average_last: final checkpoints to average.
        implied_averaged: the implied decision accuracy of these averages.
        observed_decision_accuracy, observed_averaged: share of pairs ordered as the target orders them, by the last
            checkpoints and by the averages.
        chance: probability that noise alone spreads the candidates' averages as far, by an F test.
        drop: noise alone may well explain the spread: the metric does not tell these candidates apart.
    """

    benchmark: str
    metric: str
    params: float
    runs: int
    checkpoints: int
    level: float
    noise: float
    relative_noise: float
    seed_noise: float
    tokens: float
    candidates: int
    signal: float
    spread: float
    snr: float
    implied_decision_accuracy: float
    average_last: int
    implied_averaged: float
    observed_decision_accuracy: float
    observed_averaged: float
    chance: float
    drop: bool


@dataclass(frozen=True)
class Noise(Decision):
    """Training noise of every metric and benchmark.

    Attributes:
        rows: one for each benchmark, metric and size.
        last: final checkpoints of a run that were used.
        alpha: a metric is dropped where ``chance`` exceeds it.
        notes: what was left out, a line each.
    """

    rows: tuple[MetricNoise, ...]
    last: int
    alpha: float
    notes: tuple[str, ...]

    @property
    def shown(self) -> list[MetricNoise]:
        """Of each benchmark and metric the size with the most candidates, else the largest; the least noise first."""
        best: dict[tuple[str, str], MetricNoise] = {}
        for row in self.rows:
            held = best.get((row.benchmark, row.metric))
            if held is None or (row.candidates, row.params) > (held.candidates, held.params):
                best[row.benchmark, row.metric] = row
        pooled = self.relative_noise()
        return sorted(best.values(), key=lambda row: (row.metric, pooled[row.benchmark, row.metric]))

    def relative_noise(self) -> dict[tuple[str, str], float]:
        """Relative noise by benchmark and metric: the root mean square over sizes."""
        squares: dict[tuple[str, str], list[float]] = {}
        for row in self.rows:
            squares.setdefault((row.benchmark, row.metric), []).append(row.relative_noise**2)
        return {key: math.sqrt(sum(values) / len(values)) for key, values in squares.items()}

    @property
    def dropped(self) -> list[str]:
        """Benchmarks and metrics that do not tell the candidates apart, as ``benchmark metric``."""
        return [f"{row.benchmark} {row.metric}" for row in self.shown if row.drop]

    def to_frame(self) -> pd.DataFrame:
        """One row for each benchmark, metric and size."""
        return pd.DataFrame([asdict(row) for row in self.rows])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw relative noise and signal-to-noise ratio of each benchmark and metric."""
        from rbridge_tasks.charts.noise import draw_noise

        return draw_noise(self, path)


def noise(
    table: pd.DataFrame | str | Path,
    *,
    metrics: str | Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    last: int = LAST,
    target: pd.DataFrame | str | Path | None = None,
    target_metric: str | Sequence[str] = "acc",
    target_at: Size | str | None = None,
    alpha: float = 0.1,
    allow_incomparable: bool = False,
) -> Noise:
    """Training noise and signal of every metric and benchmark, and how many final checkpoints to average.

    The quantities are those of arXiv 2508.13144; see docs/noise.md.

    Args:
        table: a score table with several checkpoints of each run, as a DataFrame or a file.
        metrics: only these; all if empty.
        benchmarks: only these; all if empty.
        last: final checkpoints of a run to use.
        target: score table of the target model, for the decision accuracy observed.
        target_metric: metric of the target. Of several, a benchmark takes the first that it has.
        target_at: the target's size, ``PARAMS:TOKENS``, if ``target`` holds several.
        alpha: a metric is to be dropped if noise alone would spread the candidates as far with a probability above
            this.
        allow_incomparable: compare scores whose settings differ, and note the differences.

    Raises:
        NoiseError: no run has enough checkpoints, or an argument is out of range.
        UnknownNameError, CandidatesError: the tables lack the rows asked for.
        IncomparableError: scores of one benchmark and metric were measured under different settings.
    """
    if not 0 < alpha < 1:
        raise NoiseError(f"alpha is {alpha:g}; expected a probability between 0 and 1, such as 0.1")
    if last < MIN_CHECKPOINTS:
        raise NoiseError(f"--last {last}: a trend and the noise about it need at least {MIN_CHECKPOINTS} checkpoints")
    scores, benchmarks = as_scores(table), as_names(benchmarks)
    texts = split_names(as_names(metrics), {*scores["metric"]})
    names = [text.removesuffix(":lower").removesuffix(":higher") for text in texts]
    ways = dict(zip(names, texts, strict=True))
    if names:
        check_metrics(scores, names)
        scores = scores[scores["metric"].isin(names)]
    if benchmarks:
        check_benchmarks(scores, benchmarks)
        scores = scores[scores["benchmark"].isin(benchmarks)]
    scores = scores.reset_index(drop=True)
    notes = check_rows(scores[scores["tokens"] > 0], allow=allow_incomparable, within=("params",))
    targets: Mapping[str, Targets] = {}
    if target is not None:
        truths = [metric_called(name) for name in as_names(target_metric)]
        shared = [*dict.fromkeys(scores["benchmark"])]
        targets = target_values(as_scores(target), truths, benchmarks=shared, at=as_size(target_at))
        notes += check_targets(targets, allow=allow_incomparable)
    elif target_at is not None:
        raise NoiseError("--target-at is the size of a target; give --target TABLE")
    known = noise_by_size(scores, last=last)
    series: dict[NoiseKey, dict[str, np.ndarray]] = {}
    for key, run, places in run_series(scores):
        series.setdefault(key, {})[run] = places
    if not known:
        longest = max((len(places) for runs in series.values() for places in runs.values()), default=0)
        raise NoiseError(
            f"no run has {MIN_CHECKPOINTS} checkpoints with training tokens, the longest has {longest}; noise needs "
            "several checkpoints of a run: score more of them, or give their tokens with rbridge collect --runs TABLE"
        )
    if lacking := len(series) - len(known):
        notes.append(
            f"{counted(lacking, 'series')} of {len(series)} left out: no run of that benchmark, metric and size has "
            f"{MIN_CHECKPOINTS} checkpoints"
        )
    rows = [
        _row(scores, key, series[key], part, targets.get(key.benchmark), ways, alpha)
        for key, part in sorted(known.items())
    ]
    if not any(row.candidates > 1 for row in rows):
        notes.append("no two candidates of one size end at the same tokens: noise is known, signal is not")
    return Noise(tuple(rows), last, alpha, tuple(notes))


def _row(
    scores: pd.DataFrame,
    key: NoiseKey,
    runs: Mapping[str, np.ndarray],
    part: TrainingNoise,
    target: Targets | None,
    ways: Mapping[str, str],
    alpha: float,
) -> MetricNoise:
    values = scores["value"].to_numpy(np.float64)
    ends = {run: float(values[places[-1]]) for run, places in runs.items()}
    tokens = {run: float(scores["tokens"].iloc[places[-1]]) for run, places in runs.items()}
    level = float(np.mean([*ends.values()]))
    at, candidates = _candidates(tokens)
    several = len(candidates) > 1
    average = part.best_average(shared_trend=True)
    averaged = {run: float(trailing_means(values[places], average)[-1]) for run, places in runs.items()}
    last, means = ([_mean(scores_of, members) for members in candidates.values()] for scores_of in (ends, averaged))
    spread, spread_of_means = (float(np.std(side, ddof=1)) if several else math.nan for side in (last, means))
    signal = float(np.ptp(last)) if several else math.nan
    seed_noise = _seed_noise(ends, tokens)
    total = max(part.noise, np.nan_to_num(seed_noise))
    of_mean = math.hypot(part.of_mean(average), math.sqrt(max(total**2 - part.noise**2, 0.0)))
    true_spread = math.sqrt(max(spread_of_means**2 - of_mean**2, 0.0)) if several else math.nan
    chance = probability_of_chance(spread_of_means, of_mean, len(candidates), part.freedom)
    observed = [_observed(side, candidates, target, ways.get(key.metric, key.metric)) for side in (ends, averaged)]
    return MetricNoise(
        benchmark=key.benchmark,
        metric=key.metric,
        params=math.nan if key.params < 0 else key.params,
        runs=part.runs,
        checkpoints=part.checkpoints,
        level=level,
        noise=part.noise,
        relative_noise=part.noise / abs(level) if level else math.nan,
        seed_noise=seed_noise,
        tokens=at if several else math.nan,
        candidates=len(candidates) if several else 0,
        signal=signal,
        spread=spread,
        snr=signal / total if total > 0 else math.nan,
        implied_decision_accuracy=implied_decision_accuracy(true_spread, total),
        average_last=average,
        implied_averaged=implied_decision_accuracy(true_spread, of_mean),
        observed_decision_accuracy=observed[0],
        observed_averaged=observed[1],
        chance=chance,
        drop=bool(chance > alpha),
    )


def candidate_name(run: str) -> str:
    """The name of a run without its seed: runs of one name are one candidate.

    >>> candidate_name("dclm-seed2"), candidate_name("190M-1xC-rerun"), candidate_name("web")
    ('dclm', '190M-1xC', 'web')
    """
    return _SEED.sub("", run)


def _candidates(ends: Mapping[str, float]) -> tuple[float, dict[str, list[str]]]:
    """The tokens at which most candidates end, the most tokens if equal; and their runs by candidate."""
    by_tokens = {at: [run for run, end in ends.items() if abs(end - at) <= _SAME_TOKENS * at] for at in ends.values()}
    candidates = {at: _by_candidate(runs) for at, runs in by_tokens.items()}
    at = max(candidates, key=lambda at: (len(candidates[at]), at))
    return at, candidates[at]


def _by_candidate(runs: Iterable[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for run in runs:
        members.setdefault(candidate_name(run), []).append(run)
    return members


def _mean(values: Mapping[str, float], runs: Sequence[str]) -> float:
    return float(np.mean([values[run] for run in runs]))


def _seed_noise(values: Mapping[str, float], tokens: Mapping[str, float]) -> float:
    """Standard deviation of the last score over seeds, pooled over candidates; NaN without several seeds."""
    groups: dict[tuple[str, str], list[float]] = {}
    for run, value in values.items():
        groups.setdefault((candidate_name(run), f"{tokens[run]:.2e}"), []).append(value)
    seeds = [group for group in groups.values() if len(group) > 1]
    if not seeds:
        return math.nan
    freedom = [len(group) - 1 for group in seeds]
    squares = [np.var(group, ddof=1) * dof for group, dof in zip(seeds, freedom, strict=True)]
    return float(np.sqrt(sum(squares) / sum(freedom)))


def _observed(
    values: Mapping[str, float], candidates: Mapping[str, Sequence[str]], target: Targets | None, metric: str
) -> float:
    """Decision accuracy of the candidates that have a target; NaN where it is unknown.

    Candidates and targets are means over seeds, which need not be the same.
    """
    if target is None:
        return math.nan
    seeds = _by_candidate(target.value)
    pairs = [
        (_mean(values, candidates[name]), _mean(target.value, seeds[name])) for name in candidates if name in seeds
    ]
    try:
        lower = metric_called(metric).lower_is_better
    except DirectionError:
        return math.nan
    if len(pairs) < 2:
        return math.nan
    ours, theirs = zip(*pairs, strict=True)
    return decision_accuracy(ours, theirs, lower_is_better=lower, target_lower_is_better=target.metric.lower_is_better)


def summary(result: Noise) -> list[str]:
    """Advice on the noise, in sentences: metrics to drop, checkpoints to average."""
    lines = []
    shown = result.shown
    if dropped := result.dropped:
        lines.append(f"drop, noise alone may explain the spread of the candidates: {listed(dropped)}")
    if known := [row for row in shown if math.isfinite(row.snr)]:
        best = max(known, key=lambda row: row.snr)
        lines.append(f"highest signal-to-noise ratio: {best.benchmark} {best.metric}, {best.snr:.1f}")
    counts = sorted({row.average_last for row in shown})
    text = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    lines.append(f"average the last {text} checkpoints: --average-last auto in rank, compare, gate, fit and report")
    return lines
