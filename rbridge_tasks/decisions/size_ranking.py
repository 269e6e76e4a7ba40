"""The order of candidates at one size, with intervals of scores and ranks."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbridge_metrics.bootstrap import Interval, RankSummary, drawn_scores, percentile_interval, rank_summary
from rbridge_metrics.gate import MIN_ITEMS
from rbridge_tasks.decisions.candidates import Candidates
from rbridge_tasks.tables.joined_items import JoinedItems

NOISE_ONLY = "training noise only: standard errors are missing"
PAIRED = "items resampled, the same draw for all candidates"
UNPAIRED = "standard errors, candidates taken as independent"
NO_INTERVALS = "no intervals: standard errors are missing"
FEW_ITEMS = f"no intervals: fewer than {MIN_ITEMS} items"


@dataclass(frozen=True)
class BootstrapSettings:
    """Number of resamples, seed, and probability of the intervals."""

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.9


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate and its place.

    Attributes:
        rank: from 1, the best; ties share their mean rank.
        run: name.
        value, stderr: the score and its standard error, NaN where unknown.
        value_interval, rank_interval: lower and upper end; NaN without intervals.
        better_than_next: probability that it is better than the next candidate; NaN for the last and without intervals.
    """

    rank: float
    run: str
    value: float
    stderr: float
    value_interval: tuple[float, float]
    rank_interval: tuple[float, float]
    better_than_next: float


@dataclass(frozen=True)
class SizeRanking:
    """Candidates of one benchmark, metric and size, in order.

    Attributes:
        candidates: the candidates, in the order of the table.
        method: source of the intervals, ``PAIRED``, ``UNPAIRED`` or ``NOISE_ONLY``; or the reason for having none,
            ``NO_INTERVALS`` or ``FEW_ITEMS``.
        summary: the order, best first, with its uncertainty (NaN without intervals).
        score_interval: of each candidate, best first.
        resampled: shape (resamples, candidates), in the order of ``candidates``; None without intervals.
        training_noise: standard deviation of a score between checkpoints, joined to the items in the intervals; NaN
            where it is unknown.
        noise_share: its share of the variance of the difference of neighbouring candidates; items have the rest.
    """

    candidates: Candidates
    method: str
    summary: RankSummary
    score_interval: Interval
    resampled: npt.NDArray[np.float64] | None
    training_noise: float = math.nan
    noise_share: float = math.nan

    @property
    def rows(self) -> list[RankedCandidate]:
        """The candidates, best first."""
        candidates, summary, scores = self.candidates, self.summary, self.score_interval
        following = [*summary.ordered_right.tolist(), math.nan]
        return [
            RankedCandidate(
                rank=float(summary.rank[place]),
                run=candidates.runs[index],
                value=float(candidates.value[index]),
                stderr=float(candidates.stderr[index]),
                value_interval=(float(scores.low[place]), float(scores.high[place])),
                rank_interval=(float(summary.rank_interval.low[place]), float(summary.rank_interval.high[place])),
                better_than_next=following[place],
            )
            for place, index in enumerate(summary.order.tolist())
        ]


def rank_candidates(
    candidates: Candidates, items: JoinedItems | None, settings: BootstrapSettings, noise: float = math.nan
) -> SizeRanking:
    """Order candidates, with intervals from item scores if there are any, else from standard errors.

    Fewer than ``MIN_ITEMS`` items give no intervals: resamples of so few items repeat the same draws. Training noise,
    if it is known, is added to every draw, independently for each candidate; without item scores and standard errors it
    gives the intervals alone.
    """
    seed = (settings.seed, zlib.crc32(candidates.benchmark.encode()))  # independent draws for each benchmark
    resampled, method = None, NO_INTERVALS
    if items is not None and items.numerator.shape[1] < MIN_ITEMS:
        method = FEW_ITEMS
    elif items is not None:
        resampled, method = items.resampled(settings.resamples, seed), PAIRED
    elif np.isfinite(candidates.stderr).all():
        drawn = drawn_scores(candidates.value, candidates.stderr, resamples=settings.resamples, seed=seed)
        resampled, method = drawn, UNPAIRED
    share = math.nan
    if math.isfinite(noise) and method != FEW_ITEMS:
        drawn = np.random.default_rng((*seed, 1)).standard_normal((settings.resamples, len(candidates.runs))) * noise
        if resampled is None:
            resampled, method, share = candidates.value + drawn, NOISE_ONLY, 1.0
        else:
            share = _noise_share(candidates.value, resampled, noise)
            resampled = resampled + drawn
    table = candidates.value[None] if resampled is None else resampled
    lower = candidates.metric.lower_is_better
    summary = rank_summary(candidates.value, table, lower_is_better=lower, level=settings.level)
    scores = percentile_interval(table[:, summary.order], level=settings.level)
    if resampled is None:
        unknown = np.full(len(candidates.runs), math.nan)
        scores = Interval(unknown, unknown)
        summary = summary._replace(rank_interval=scores, ordered_right=unknown[1:])
    return SizeRanking(candidates, method, summary, scores, resampled, noise, share)


def _noise_share(values: npt.NDArray[np.float64], resampled: npt.NDArray[np.float64], noise: float) -> float:
    """Share of training noise in the variance of the differences of neighbours in the order, in the mean over them."""
    if min(len(values), len(resampled)) < 2:
        return math.nan
    over_items = float(np.diff(resampled[:, np.argsort(values, kind="stable")], axis=1).var(axis=0, ddof=1).mean())
    total = 2 * noise**2 + over_items
    return 2 * noise**2 / total if total > 0 else math.nan
