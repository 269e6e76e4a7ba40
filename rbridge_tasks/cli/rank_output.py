"""What ``rbridge rank`` prints: orders, agreement with a target, savings; as tables or as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rbridge_metrics.compute import Savings
from rbridge_tasks.cli.output import note, print_table
from rbridge_tasks.decisions.candidate_ranking import Ranking, Settings
from rbridge_tasks.decisions.target_agreement import MEASURES, TargetAgreement
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

_MANY = 24  # rows of agreement; more are shown only on demand


def show_rankings(rankings: Sequence[Ranking], settings: Settings, *, hidden: int) -> None:
    """A table for each ranking; ``hidden`` is how many there are in all, 0 where all are shown."""
    for ranking in rankings:
        candidates, summary = ranking.candidates, ranking.summary
        sure = ranking.resampled is not None
        percent = f"{100 * settings.level:g} %"
        title = f"{candidates.benchmark}, {candidates.metric.name} ({candidates.metric.direction}), {candidates.size}"
        columns = ["rank", "run", "score"]
        if sure:
            columns += [f"score, {percent}", f"rank, {percent}", "P(better than next)"]
        print_table(
            f"{title}; {ranking.method}", columns, [_row(ranking, at, sure) for at in range(len(summary.order))]
        )
    if hidden > len(rankings):
        note(f"{counted(hidden - len(rankings), 'smaller size')} not shown; --all prints them")


def _row(ranking: Ranking, at: int, sure: bool) -> list[str]:
    candidates, summary = ranking.candidates, ranking.summary
    index = int(summary.order[at])
    cells = [f"{summary.rank[at]:g}", candidates.runs[index], f"{candidates.value[index]:.4f}"]
    if sure:
        cells += [
            f"{ranking.score_interval.low[at]:.4f} to {ranking.score_interval.high[at]:.4f}",
            f"{summary.rank_interval.low[at]:g} to {summary.rank_interval.high[at]:g}",
            f"{summary.ordered_right[at]:.3f}" if at < len(summary.ordered_right) else "-",
        ]
    return cells


def show_points(points: Sequence[TargetAgreement], settings: Settings, *, everything: bool) -> None:
    """Agreement at every size, cheapest first; where there are many, those on a frontier."""
    if not points:
        return
    shown = [point for point in points if everything or len(points) <= _MANY or point.on_frontier]
    names = ("decision accuracy", "Kendall tau-b", "Spearman")
    columns = ["benchmark", "metric", "params", "tokens", "FLOPs", "n", *names, "frontier"]
    rows = [
        [
            point.benchmark, point.metric, count_text(point.params), count_text(point.tokens), _flops(point.flops),
            str(point.candidates), *(_measure(point, name) for name in MEASURES), "*" if point.on_frontier else "",
        ]
        for point in shown
    ]  # fmt: skip
    print_table(f"Agreement with the target, {100 * settings.level:g} % intervals over items", columns, rows)
    if len(shown) < len(points):
        note(f"{counted(len(points) - len(shown), 'size')} off the frontier not shown; --all prints them")


def show_savings(saved: Mapping[str, Savings], chosen: Metric, others: Sequence[Metric]) -> None:
    """What the other metrics cost at every level of the frontier."""
    if not saved:
        return
    pooled = " or ".join(other.name for other in others)
    rows = [
        [
            name,
            f"{level:.3f}",
            _flops(cost),
            "-" if math.isnan(other) else ("<= " if bound else "") + _flops(other),
            "not reached" if math.isnan(ratio) else f"{'<= ' if bound else ''}{ratio:.1f}",
        ]
        for name, found in saved.items()
        for level, cost, other, ratio, bound in zip(
            found.level, found.cost, found.other_cost, found.ratio, found.bound, strict=True
        )
    ]
    columns = ["benchmark", "decision accuracy", f"FLOPs of {chosen.name}", f"FLOPs of {pooled}", "ratio"]
    print_table("Compute at equal decision accuracy", columns, rows)


def payload(
    rankings: Sequence[Ranking],
    points: Sequence[TargetAgreement],
    saved: Mapping[str, Savings],
    metrics: Sequence[Metric],
    targets: Sequence[Metric],
    settings: Settings,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Everything, for ``print_json``."""
    return {
        "metrics": [metric._asdict() for metric in metrics],
        "target_metrics": [metric._asdict() for metric in targets],
        "settings": vars(settings),
        "rankings": [_ranking(ranking) for ranking in rankings],
        "agreement": [_point(point) for point in points],
        "savings": {name: vars(found) for name, found in saved.items()},
        "notes": list(notes),
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    candidates, summary = ranking.candidates, ranking.summary
    following = [*summary.ordered_right.tolist(), math.nan]
    return {
        "benchmark": candidates.benchmark,
        "params": candidates.params,
        "tokens": candidates.tokens,
        "flops": candidates.flops,
        "method": ranking.method,
        "candidates": [
            {
                "rank": summary.rank[at],
                "run": candidates.runs[index],
                "value": candidates.value[index],
                "stderr": candidates.stderr[index],
                "value_interval": [ranking.score_interval.low[at], ranking.score_interval.high[at]],
                "rank_interval": [summary.rank_interval.low[at], summary.rank_interval.high[at]],
                "better_than_next": following[at],
            }
            for at, index in enumerate(summary.order.tolist())
        ],
    }


def _point(point: TargetAgreement) -> dict[str, Any]:
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


def _measure(point: TargetAgreement, name: str) -> str:
    value, low, high = point.value[name], point.low[name], point.high[name]
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def _flops(flops: float) -> str:
    return "?" if math.isnan(flops) else f"{flops:.3g}"
