"""Text output of ``rbridge rank``: orders, agreement with a target, savings."""

from __future__ import annotations

import math

from rbridge_metrics.compute import Savings
from rbridge_tasks.cli.output import note, print_table, shortened
from rbridge_tasks.decisions.rank import Ranking
from rbridge_tasks.decisions.size_ranking import RankedCandidate, SizeRanking
from rbridge_tasks.decisions.target_agreement import MEASURES, TargetAgreement
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

_MANY = 24  # agreement at more sizes than this is shown only on the frontier


def show_ranking(ranking: Ranking, *, everything: bool, all_candidates: bool) -> None:
    """Print all tables.

    Args:
        ranking: what to print.
        all_candidates: print every candidate; else the first and the last of a long list.
        everything: print every size; else the largest of each benchmark, and agreement on the frontier if it is long.
    """
    percent = f"{100 * ranking.settings.level:g} %"
    shown = ranking.sizes if everything else ranking.largest
    left_out = [_show_size(size, percent, whole=all_candidates) for size in shown]
    if any(left_out):
        note(f"{max(left_out)} candidates amid a long list not shown; --all-candidates, --json or -o FILE gives all")
    if hidden := len(ranking.sizes) - len(shown):
        note(f"{counted(hidden, 'smaller size')} not shown; --all prints them")
    if ranking.agreement:
        _show_agreement(ranking.agreement, percent, everything=everything)
    if ranking.savings:
        _show_savings(ranking)


def _show_size(size: SizeRanking, percent: str, *, whole: bool) -> int:
    """Print one list; the number of candidates that are not shown."""
    group = size.candidates
    certain = size.resampled is not None
    title = f"{group.benchmark}, {group.metric.name} ({group.metric.direction}), {group.size}; {size.method}"
    if math.isfinite(size.noise_share):
        title += f"; training noise {size.training_noise:.2g}, {size.noise_share:.0%} of the variance of a difference"
    columns = ["rank", "run", "score"]
    columns += [f"score, {percent}", f"rank, {percent}", "P(better than next)"] if certain else []
    rows, hidden = shortened([_cells(row, certain) for row in size.rows], whole=whole)
    if hidden:
        title += f"; {len(size.rows)} candidates"
    print_table(title, columns, rows)
    return hidden


def _cells(row: RankedCandidate, certain: bool) -> list[str]:
    cells = [f"{row.rank:g}", row.run, f"{row.value:.4f}"]
    if certain:
        (low, high), (first, last) = row.value_interval, row.rank_interval
        following = "-" if math.isnan(row.better_than_next) else f"{row.better_than_next:.3f}"
        cells += [f"{low:.4f} to {high:.4f}", f"{first:g} to {last:g}", following]
    return cells


def _show_agreement(points: tuple[TargetAgreement, ...], percent: str, *, everything: bool) -> None:
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
    over = " and ".join(sorted({point.over for point in points if point.over}, reverse=True)) or "nothing"
    print_table(f"Agreement with the target, {percent} intervals over {over}", columns, rows)
    if hidden := len(points) - len(shown):
        note(f"{counted(hidden, 'size')} off the frontier not shown; --all prints them")


def _show_savings(ranking: Ranking) -> None:
    chosen, *others = ranking.metrics
    pooled = " or ".join(metric.name for metric in others)
    columns = ["benchmark", "decision accuracy", f"FLOPs of {chosen.name}", f"FLOPs of {pooled}", "ratio"]
    rows = [row for benchmark, saved in ranking.savings.items() for row in _saved_rows(benchmark, saved)]
    print_table("Compute at equal decision accuracy", columns, rows)


def _saved_rows(benchmark: str, saved: Savings) -> list[list[str]]:
    rows = []
    for level, cost, other, ratio, bound in zip(
        saved.level, saved.cost, saved.other_cost, saved.ratio, saved.bound, strict=True
    ):
        most = "<= " if bound else ""
        other_text = "-" if math.isnan(other) else most + _flops(other)
        ratio_text = "not reached" if math.isnan(ratio) else f"{most}{ratio:.1f}"
        rows.append([benchmark, f"{level:.3f}", _flops(cost), other_text, ratio_text])
    return rows


def _measure(point: TargetAgreement, name: str) -> str:
    value, low, high = point.value[name], point.low[name], point.high[name]
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def _flops(flops: float) -> str:
    return "?" if math.isnan(flops) else f"{flops:.3g}"
