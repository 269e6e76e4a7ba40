"""The order of candidates at one size, and how sure it is."""

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

PAIRED = "items resampled, the same draw for all candidates"
UNPAIRED = "standard errors, candidates taken as independent"
NO_INTERVALS = "no intervals: standard errors are missing"
FEW_ITEMS = f"no intervals: fewer than {MIN_ITEMS} items"


@dataclass(frozen=True)
class Settings:
    """Of the bootstrap."""

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.9


@dataclass(frozen=True)
class Ranking:
    """Candidates in order.

    Attributes:
        candidates: what is ranked.
        method: where the intervals come from, ``PAIRED`` or ``UNPAIRED``; or why there are none, ``NO_INTERVALS`` or
            ``FEW_ITEMS``.
        summary: the order, best first, with its uncertainty (NaN without intervals).
        score_interval: of each candidate, in that order.
        resampled: shape (resamples, candidates), in the order of ``candidates``; None without intervals.
    """

    candidates: Candidates
    method: str
    summary: RankSummary
    score_interval: Interval
    resampled: npt.NDArray[np.float64] | None


def rank_candidates(candidates: Candidates, items: JoinedItems | None, settings: Settings) -> Ranking:
    """Order candidates: by paired resampling where there are item scores, else by standard errors.

    Fewer than ``MIN_ITEMS`` items give no intervals: resamples of so few repeat the same draws, and look certain.
    """
    seed = (settings.seed, zlib.crc32(candidates.benchmark.encode()))  # benchmarks have items of their own
    resampled, method = None, NO_INTERVALS
    if items is not None and items.numerator.shape[1] < MIN_ITEMS:
        method = FEW_ITEMS
    elif items is not None:
        resampled, method = items.resampled(settings.resamples, seed), PAIRED
    elif np.isfinite(candidates.stderr).all():
        drawn = drawn_scores(candidates.value, candidates.stderr, resamples=settings.resamples, seed=seed)
        resampled, method = drawn, UNPAIRED
    table = candidates.value[None] if resampled is None else resampled
    lower = candidates.metric.lower_is_better
    summary = rank_summary(candidates.value, table, lower_is_better=lower, level=settings.level)
    scores = percentile_interval(table[:, summary.order], level=settings.level)
    if resampled is None:  # the order alone, with nothing said about how sure it is
        unknown = np.full(len(candidates.runs), math.nan)
        scores = Interval(unknown, unknown)
        summary = summary._replace(rank_interval=scores, ordered_right=unknown[1:])
    return Ranking(candidates, method, summary, scores, resampled)


def largest(rankings: list[Ranking]) -> list[Ranking]:
    """Of every benchmark the ranking at the most training compute, unknown compute last."""
    best: dict[str, Ranking] = {}
    for ranking in rankings:
        held = best.get(ranking.candidates.benchmark)
        if held is None or not ranking.candidates.flops <= held.candidates.flops:
            best[ranking.candidates.benchmark] = ranking
    return [*best.values()]
