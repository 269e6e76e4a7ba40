"""``rbridge rank``: candidate data sets in the order of a proxy, how sure that order is, and how right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    from rbridge_metrics.compute import Savings
    from rbridge_tasks.decisions.candidate_ranking import Ranking, Settings
    from rbridge_tasks.decisions.target_agreement import TargetAgreement
    from rbridge_tasks.tables.directions import Metric

_Level = Annotated[float, typer.Option(min=0.01, max=0.999, help="Probability that intervals are made for.")]


class RankUsageError(RBridgeError):
    """The command's arguments do not fit together."""


def rank(
    scores: Annotated[str, typer.Argument(help="Score table of rbridge collect: .csv, .tsv or .parquet.")],
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="Proxy metric to rank by: METRIC, METRIC:lower or METRIC:higher.")
    ] = "rbridge_nll",
    lower_is_better: Annotated[
        bool | None,
        typer.Option("--lower-is-better/--higher-is-better", help="Which way --metric runs. Default: known by name."),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help="Only this benchmark. Repeatable.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PARAMS:TOKENS", help="Only this size, e.g. 98M:10B.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Score table with what the target model scored.")] = None,
    target_metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="Metric of the target, default acc. Repeatable: the first there is."),
    ] = None,
    target_at: Annotated[
        str | None, typer.Option(metavar="PARAMS:TOKENS", help="The target's size, where --target holds several.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="Compare compute with this metric of the score table. Repeatable."),
    ] = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN=PATH",
            help="Samples file of lm_eval --log_samples, or a folder with it, for paired intervals; "
            "RUN@PARAMS:TOKENS=PATH where a run has several sizes. Repeatable.",
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 10_000,
    level: _Level = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Show every size, not only the largest.")] = False,
    allow_incomparable: AllowIncomparable = False,
    plot: Annotated[str | None, typer.Option(help="Draw ranks with intervals: .svg or .png.")] = None,
    frontier_plot: Annotated[
        str | None, typer.Option(help="Draw decision accuracy against compute: .svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Order candidate data sets by a proxy metric; with targets, say how often that order is right and what it costs.

    Example: rbridge rank scores.csv --target targets.csv --against acc --frontier-plot frontier.svg
    """
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.cli.rank_output import payload, show_points, show_rankings, show_savings
    from rbridge_tasks.decisions.candidate_ranking import Settings, largest
    from rbridge_tasks.tables.directions import metric_called

    for path in filter(None, (plot, frontier_plot)):
        check_plot_path(path)
    if target is None and (against or frontier_plot or target_at):
        raise RankUsageError("--against, --frontier-plot and --target-at compare with a target; give --target TABLE")
    chosen = metric_called(metric, lower_is_better=lower_is_better, remedy=", or give --lower-is-better")
    others = [metric_called(name) for name in against or []]
    names = [chosen.name, *(other.name for other in others)]
    if len(set(names)) < len(names):
        raise RankUsageError(f"--metric and --against name one metric twice: {', '.join(names)}; name others")
    truths = [metric_called(name) for name in target_metric or ["acc"]]
    settings = Settings(resamples, seed, level)
    rankings, notes = _rankings(
        scores, [chosen, *others], benchmark or [], at, samples or [], settings, allow=allow_incomparable
    )
    own = [ranking for ranking in rankings if ranking.candidates.metric.name == chosen.name]
    points: list[TargetAgreement] = []
    saved: dict[str, Savings] = {}
    if target is not None:
        from rbridge_tasks.decisions.candidates import rows_at, target_values
        from rbridge_tasks.decisions.target_agreement import compare_with_target, savings
        from rbridge_tasks.tables.score_table import read_scores
        from rbridge_tasks.tables.sizes import parse_size
        from rbridge_tasks.tables.table_settings import check_rows

        benchmarks = list(dict.fromkeys(ranking.candidates.benchmark for ranking in rankings))
        size = parse_size(target_at) if target_at else None
        truth_table = read_scores(target)
        values = target_values(truth_table, truths, benchmarks=benchmarks, at=size)
        notes += check_rows(rows_at(truth_table, values, size), allow=allow_incomparable)
        points, more = compare_with_target(rankings, values, level=level)
        notes += more
        for name in dict.fromkeys(point.benchmark for point in points):
            found = savings(points, name, chosen.name, [other.name for other in others])
            if found is not None:
                saved[name] = found
    if as_json:
        print_json(payload(own, points, saved, [chosen, *others], truths if target else [], settings, notes))
    else:
        show_rankings(own if everything else largest(own), settings, hidden=0 if everything else len(own))
        show_points(points, settings, everything=everything)
        show_savings(saved, chosen, others)
        for text in notes:
            note(text)
    if plot:
        from rbridge_tasks.charts.rank import draw_ranks

        draw_ranks(largest(own), plot, level=level)
    if frontier_plot:
        from rbridge_tasks.charts.pareto import draw_frontier

        draw_frontier(points, frontier_plot, level=level)


def _rankings(
    table: str,
    metrics: Sequence[Metric],
    benchmarks: Sequence[str],
    at: str | None,
    samples: Sequence[str],
    settings: Settings,
    *,
    allow: bool,
) -> tuple[list[Ranking], list[str]]:
    """The candidates of every size in order, by each metric, and notes on them. Samples are of the first metric."""
    from rbridge_metrics.gate import MIN_ITEMS
    from rbridge_tasks.decisions.candidate_ranking import FEW_ITEMS, NO_INTERVALS, UNPAIRED, rank_candidates
    from rbridge_tasks.decisions.candidates import candidates_by_size, compared_rows
    from rbridge_tasks.decisions.sample_groups import joined_samples
    from rbridge_tasks.tables.score_table import read_scores
    from rbridge_tasks.tables.sizes import parse_size
    from rbridge_tasks.tables.table_settings import check_rows

    frame = read_scores(table)
    size = parse_size(at) if at else None
    rankings: list[Ranking] = []
    notes: list[str] = []
    for index, metric in enumerate(metrics):
        groups, found = candidates_by_size(frame, metric, benchmarks=benchmarks, at=size)
        rows = compared_rows(frame, metric, benchmarks, size)
        notes += [*found, *check_rows(rows, allow=allow, within=("params", "tokens"))]
        items, lines = joined_samples(groups, samples if index == 0 else [], allow_incomparable=allow)
        notes += [line for line in lines if line not in notes]
        rankings += [rank_candidates(group, own, settings) for group, own in zip(groups, items, strict=True)]
    bare = sum(ranking.method == NO_INTERVALS for ranking in rankings)
    if bare:
        notes.append(f"{bare} of {len(rankings)} sizes have candidates without a standard error: no intervals there")
    few = sum(ranking.method == FEW_ITEMS for ranking in rankings)
    if few:
        notes.append(
            f"{few} of {len(rankings)} sizes have samples of fewer than {MIN_ITEMS} items: no intervals there; score "
            "more items"
        )
    unpaired = sum(ranking.method == UNPAIRED for ranking in rankings)
    if unpaired:
        notes.append(
            f"intervals at {unpaired} of {len(rankings)} sizes rest on standard errors and take the candidates as "
            "independent; with --samples RUN=PATH they are paired item by item"
        )
    return rankings, notes
