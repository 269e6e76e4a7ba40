"""``rbridge compare``: every proxy metric and comparator of a score table against the same target."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from rbridge_tasks.cli import options


def compare(
    scores: Annotated[str, typer.Argument(metavar="TABLE", help="Score table of the small models.")],
    target: Annotated[
        str | None, typer.Option(help="Score table of the target. With --proxy it may be the same table.")
    ] = None,
    target_metric: options.TargetMetrics = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare these, separated by commas; METRIC:lower or METRIC:higher if unknown. Default: all."
        ),
    ] = None,
    benchmark: options.Benchmarks = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="PARAMS:TOKENS", help="Candidates: their size. Default: the largest of a benchmark."),
    ] = None,
    target_at: Annotated[
        str | None,
        typer.Option(metavar="PARAMS:TOKENS", help="Candidates: the target's size, if there are several."),
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="Checkpoints: the small model's size, name or run, as in rbridge fit, e.g. 1b.")
    ] = None,
    target_model: Annotated[
        str | None, typer.Option(help="Checkpoints: the large model's size, name or run, e.g. 13b.")
    ] = None,
    average_last: options.AverageLast = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Best by mae, decision_accuracy, kendall_tau_b or spearman. Default: mae for checkpoints, "
            "decision_accuracy for candidates."
        ),
    ] = None,
    cv: Annotated[
        str | None,
        typer.Option(
            help="Folds: blocked, forward or shuffled. Default: blocked for checkpoints, shuffled for candidates."
        ),
    ] = None,
    folds: options.Folds = 5,
    min_train: options.MinTrain = 4,
    fits: Annotated[
        bool, typer.Option("--fits/--no-fits", help="Fit accuracies, which takes most of the time.")
    ] = True,
    unit: options.Unit = "auto",
    resamples: options.Resamples = 2000,
    level: options.Level = 0.9,
    seed: options.Seed = 0,
    allow_incomparable: options.AllowIncomparable = False,
    everything: Annotated[bool, typer.Option("--all", help="Show every metric, not only the best.")] = False,
    output: options.TableOutput = None,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare metrics by how well they predict and order a target, with intervals, baselines and tests of differences.

    Example: rbridge compare scores.csv --target targets.csv --target-metric acc --plot compare.svg

    Example: rbridge compare runs.csv --proxy 1b --target-model 13b --target-metric acc --cv forward
    """
    from rbridge_tasks.cli.compare_output import show_comparison
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.decisions.compare import compare as compare_metrics

    check_outputs("a comparison", table=output, plot=plot)
    comparison = compare_metrics(
        scores,
        target=target,
        target_metric=target_metric or "acc",
        metrics=metrics or (),
        benchmarks=benchmark or (),
        at=at,
        target_at=target_at,
        proxy=proxy,
        target_model=target_model,
        average_last=average_last,
        by=by,
        cv=cv,
        folds=folds,
        min_train=min_train,
        fits=fits,
        unit=unit,
        resamples=resamples,
        level=level,
        seed=seed,
        allow_incomparable=allow_incomparable,
    )
    show = partial(show_comparison, everything=everything)
    deliver(comparison, show, as_json=as_json, table=output, plot=plot)
