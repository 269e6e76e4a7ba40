"""``rank``: candidate data sets in the order of a proxy metric, with intervals and agreement with a target model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rbridge_metrics import RBridgeError
from rbridge_metrics.compute import Savings
from rbridge_metrics.gate import MIN_ITEMS
from rbridge_tasks.decisions.candidate_samples import joined_samples, named_samples
from rbridge_tasks.decisions.candidates import (
    as_names,
    as_size,
    candidates_by_size,
    check_candidates,
    check_targets,
    largest,
    target_values,
)
from rbridge_tasks.decisions.decision import Decision, check_draws
from rbridge_tasks.decisions.size_ranking import (
    FEW_ITEMS,
    NO_INTERVALS,
    UNPAIRED,
    BootstrapSettings,
    SizeRanking,
    rank_candidates,
)
from rbridge_tasks.decisions.target_agreement import MEASURES, TargetAgreement, compare_with_target, savings
from rbridge_tasks.tables.averaging import average_last as mean_of_last
from rbridge_tasks.tables.averaging import checked_count, noise_by_size, noise_of_mean
from rbridge_tasks.tables.directions import Metric, metric_called
from rbridge_tasks.tables.score_table import as_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rbridge_tasks.tables.sizes import Size


class RankError(RBridgeError, ValueError):
    """Arguments of ``rank`` that do not fit together."""


@dataclass(frozen=True)
class Ranking(Decision):
    """Candidates in order, at every size.

    Attributes:
        metrics: the metric ranked by, then those it is compared with.
        target_metrics: metrics of the target; empty without a target.
        settings: of the bootstrap.
        sizes: a ranking for each benchmark and size, by the first metric, the cheapest size first.
        agreement: agreement of every metric with the target at every size, with the frontiers marked.
        savings: compute of the first metric against that of the others at equal decision accuracy, by benchmark.
        notes: rows left out and assumptions, a line each.
    """

    metrics: tuple[Metric, ...]
    target_metrics: tuple[Metric, ...]
    settings: BootstrapSettings
    sizes: tuple[SizeRanking, ...]
    agreement: tuple[TargetAgreement, ...]
    savings: dict[str, Savings]
    notes: tuple[str, ...]

    @property
    def largest(self) -> list[SizeRanking]:
        """The ranking of each benchmark at the most training compute."""
        chosen = {id(group) for group in largest(size.candidates for size in self.sizes)}
        return [size for size in self.sizes if id(size.candidates) in chosen]

    def to_frame(self) -> pd.DataFrame:
        """One row for each candidate of each benchmark and size, best first."""
        rows = []
        for size in self.sizes:
            group = size.candidates
            for row in size.rows:
                cells = asdict(row)
                for name in ("value", "rank"):
                    cells[f"{name}_low"], cells[f"{name}_high"] = cells.pop(f"{name}_interval")
                rows.append({"benchmark": group.benchmark, "params": group.params, "tokens": group.tokens, **cells})
        return pd.DataFrame(rows)

    def agreement_frame(self) -> pd.DataFrame:
        """Agreement with the target: one row for each benchmark, metric and size."""
        return pd.DataFrame([_agreement(point) for point in self.agreement])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw scores and ranks with intervals, for each benchmark at its largest size."""
        from rbridge_tasks.charts.rank import draw_ranks

        return draw_ranks(self.largest, path, level=self.settings.level)

    def plot_frontier(self, path: str | Path | None = None) -> Figure:
        """Draw decision accuracy against training compute, with the Pareto frontier of every metric.

        Raises:
            RankError: the ranking has no target, or compute is unknown at every size.
        """
        if not self.agreement:
            raise RankError("a frontier shows agreement with a target; give a target to rank")
        if all(math.isnan(point.flops) for point in self.agreement):
            raise RankError(
                "compute is unknown at every size, so there is no frontier to draw; give runs their params and tokens "
                "with rbridge collect --runs TABLE"
            )
        from rbridge_tasks.charts.pareto import draw_frontier

        return draw_frontier(self.agreement, path, level=self.settings.level)

    def _content(self) -> dict[str, Any]:
        return {
            "metrics": [metric._asdict() for metric in self.metrics],
            "target_metrics": [metric._asdict() for metric in self.target_metrics],
            "settings": asdict(self.settings),
            "rankings": [
                {
                    "benchmark": size.candidates.benchmark,
                    "params": size.candidates.params,
                    "tokens": size.candidates.tokens,
                    "flops": size.candidates.flops,
                    "method": size.method,
                    "training_noise": size.training_noise,
                    "noise_share": size.noise_share,
                    "candidates": [asdict(row) for row in size.rows],
                }
                for size in self.sizes
            ],
            "agreement": [_agreement(point) for point in self.agreement],
            "savings": {name: asdict(saved) for name, saved in self.savings.items()},
            "notes": self.notes,
        }


def rank(
    table: pd.DataFrame | str | Path,
    *,
    metric: str = "rbridge_nll",
    lower_is_better: bool | None = None,
    benchmarks: Sequence[str] = (),
    at: Size | str | None = None,
    target: pd.DataFrame | str | Path | None = None,
    target_metric: str | Sequence[str] = "acc",
    target_at: Size | str | None = None,
    against: str | Sequence[str] = (),
    samples: Mapping[str, str | Path] | Sequence[str] = (),
    average_last: int | str | None = None,
    resamples: int = 10_000,
    level: float = 0.9,
    seed: int = 0,
    allow_incomparable: bool = False,
) -> Ranking:
    """Order candidate data sets by a proxy metric; with a target, measure how often that order is right.

    Args:
        table: a score table, as a DataFrame or a file.
        metric: metric to rank by; ``METRIC:lower`` or ``METRIC:higher`` for one of unknown direction.
        lower_is_better: direction of ``metric``; None to know it by name.
        benchmarks: only these; all if empty.
        at: only this size, ``PARAMS:TOKENS``.
        target: score table of the target model.
        target_metric: metric of the target. Of several, a benchmark takes the first that it has.
        target_at: the target's size, if ``target`` holds several.
        against: metrics of ``table`` to compare compute with.
        samples: samples files by run, for paired intervals: a mapping of ``RUN`` or ``RUN@PARAMS:TOKENS`` to a file
            or folder, or texts ``RUN=PATH``.
        average_last: score every checkpoint by the mean of it and the ones before it: their number, or ``auto``.
        resamples: bootstrap resamples.
        level: probability of the intervals.
        seed: seed of the bootstrap.
        allow_incomparable: compare scores whose settings differ, and note the differences.

    Raises:
        RankError: arguments that do not fit together.
        CandidatesError: the tables lack the rows asked for.
        DirectionError: the direction of a metric is unknown.
        IncomparableError: scores were measured under different settings.
        SamplesError: samples that do not fit the table.
        NoiseError: ``average_last`` is no number, or ``auto`` and no run has enough checkpoints.
    """
    others = as_names(against)
    if target is None and (others or target_at):
        raise RankError("--against and --target-at compare with a target; give --target TABLE")
    first = metric_called(metric, lower_is_better=lower_is_better, remedy=", or give --lower-is-better")
    metrics = [first, *(metric_called(name) for name in others)]
    names = [compared.name for compared in metrics]
    if len(set(names)) < len(names):
        raise RankError(f"--metric and --against name one metric twice: {', '.join(names)}; name each once")
    truths = [metric_called(name) for name in as_names(target_metric)]
    check_draws(seed=seed)
    settings = BootstrapSettings(resamples, seed, level)
    if samples and checked_count(average_last) != 1:
        raise RankError("--samples holds items of single checkpoints, which --average-last averages; give one of them")
    measured, size, benchmarks = as_scores(table), as_size(at), as_names(benchmarks)
    files = named_samples(samples, {*measured["run"]})
    known = noise_by_size(measured[measured["metric"].isin(names)])
    scores, counts, notes = mean_of_last(measured, average_last, shared_trend=True, metrics=names)
    rankings: list[SizeRanking] = []
    for position, compared in enumerate(metrics):
        groups, lines = candidates_by_size(scores, compared, benchmarks=benchmarks, at=size)
        notes += [*lines, *check_candidates(scores, compared, benchmarks, size, allow=allow_incomparable)]
        items, lines = joined_samples(groups, files if position == 0 else [], allow_incomparable=allow_incomparable)
        notes += [line for line in lines if line not in notes]
        for group, item in zip(groups, items, strict=True):
            noise = noise_of_mean(known, counts, *group.key)
            rankings.append(rank_candidates(group, item, settings, noise))
    notes += _on_intervals(rankings)
    agreement: list[TargetAgreement] = []
    if target is not None:
        shared = list(dict.fromkeys(ranking.candidates.benchmark for ranking in rankings))
        values = target_values(as_scores(target), truths, benchmarks=shared, at=as_size(target_at))
        notes += check_targets(values, allow=allow_incomparable)
        agreement, lines = compare_with_target(rankings, values, level=level)
        notes += lines
    return Ranking(
        metrics=tuple(metrics),
        target_metrics=() if target is None else tuple(truths),
        settings=settings,
        sizes=tuple(ranking for ranking in rankings if ranking.candidates.metric.name == first.name),
        agreement=tuple(agreement),
        savings=savings(agreement, first.name, names[1:]),
        notes=tuple(notes),
    )


def _on_intervals(rankings: Sequence[SizeRanking]) -> list[str]:
    """Sizes without intervals, or without paired ones, and the remedy."""
    counts = Counter(ranking.method for ranking in rankings)
    whole = f"of {len(rankings)} sizes"
    texts = {
        NO_INTERVALS: f"{counts[NO_INTERVALS]} {whole} have candidates without a standard error: no intervals there",
        FEW_ITEMS: (
            f"{counts[FEW_ITEMS]} {whole} have samples of fewer than {MIN_ITEMS} items: no intervals there; score more "
            "items"
        ),
        UNPAIRED: (
            f"intervals at {counts[UNPAIRED]} {whole} rest on standard errors and take the candidates as independent; "
            "with --samples RUN=PATH they are paired item by item"
        ),
    }
    lines = [text for method, text in texts.items() if counts[method]]
    joined = [ranking for ranking in rankings if math.isfinite(ranking.noise_share)]
    if joined:
        shares = sorted(ranking.noise_share for ranking in joined)
        spread = " to ".join(dict.fromkeys(f"{share:.0%}" for share in (shares[0], shares[-1])))
        lines.append(
            f"intervals at {len(joined)} {whole} join the error over items and training noise, estimated from the last "
            f"checkpoints: noise has {spread} of the variance of a difference"
        )
    return lines


def _agreement(point: TargetAgreement) -> dict[str, Any]:
    return {
        "benchmark": point.benchmark,
        "metric": point.metric,
        "params": point.params,
        "tokens": point.tokens,
        "flops": point.flops,
        "candidates": point.candidates,
        "pairs": point.pairs._asdict() if point.pairs else None,
        **{name: point.value[name] for name in MEASURES},
        **{f"{name}_interval": [point.low[name], point.high[name]] for name in MEASURES},
        "on_frontier": point.on_frontier,
    }
