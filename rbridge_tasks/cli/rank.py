"""``rbridge rank``: candidate data sets in the order of a proxy, with intervals and agreement with a target."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from rbridge_tasks.cli import options


def rank(
    scores: options.ScoreTable,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help="Proxy metric to rank by: METRIC, METRIC:lower or METRIC:higher.")
    ] = "rbridge_nll",
    lower_is_better: Annotated[
        bool | None,
        typer.Option("--lower-is-better/--higher-is-better", help="Direction of --metric. Default: known by name."),
    ] = None,
    benchmark: options.Benchmarks = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PARAMS:TOKENS", help="Only this size, e.g. 98M:10B.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Score table of the target model.")] = None,
    target_metric: options.TargetMetrics = None,
    target_at: Annotated[
        str | None, typer.Option(metavar="PARAMS:TOKENS", help="The target's size, if --target holds several.")
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
            "RUN@PARAMS:TOKENS=PATH if a run has several sizes. Repeatable.",
        ),
    ] = None,
    average_last: options.AverageLast = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 10_000,
    level: options.Level = 0.9,
    seed: options.Seed = 0,
    everything: Annotated[bool, typer.Option("--all", help="Show every size, not only the largest.")] = False,
    all_candidates: Annotated[
        bool, typer.Option("--all-candidates", help="Print every candidate of a list of more than 30.")
    ] = False,
    allow_incomparable: options.AllowIncomparable = False,
    output: options.TableOutput = None,
    plot: options.Plot = None,
    frontier_plot: Annotated[
        str | None, typer.Option(help="Draw decision accuracy against compute: .svg or .png.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Order candidate data sets by a proxy metric; with a target, measure how often that order is right, and its cost.

    Example: rbridge rank scores.csv --target targets.csv --against acc --frontier-plot frontier.svg
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.cli.rank_output import show_ranking
    from rbridge_tasks.decisions.rank import RankError
    from rbridge_tasks.decisions.rank import rank as rank_candidates

    check_outputs("a ranking", table=output, plot=plot)
    check_outputs(plot=frontier_plot)
    if frontier_plot and target is None:
        raise RankError("--frontier-plot draws agreement with a target; give --target TABLE")
    ranking = rank_candidates(
        scores,
        metric=metric,
        lower_is_better=lower_is_better,
        benchmarks=benchmark or (),
        at=at,
        target=target,
        target_metric=target_metric or "acc",
        target_at=target_at,
        against=against or (),
        samples=samples or (),
        average_last=average_last,
        resamples=resamples,
        level=level,
        seed=seed,
        allow_incomparable=allow_incomparable,
    )
    if frontier_plot:
        ranking.plot_frontier(frontier_plot)
    show = partial(show_ranking, everything=everything, all_candidates=all_candidates)
    deliver(ranking, show, as_json=as_json, table=output, plot=plot)
