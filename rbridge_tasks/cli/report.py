"""``rbridge report``: a score table, with a fit, targets and samples if given, as one page to read."""

from __future__ import annotations

from typing import Annotated

import typer

from rbridge_tasks.cli import options


def report(
    scores: Annotated[
        str, typer.Argument(metavar="SCORES", help="Score table of rbridge collect: .csv, .tsv or .parquet.")
    ],
    fit: Annotated[
        str | None, typer.Argument(metavar="FIT", help="fit.json of rbridge fit, for predicted accuracies.")
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="The page to write: .html.")] = "report.html",
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", "-m", help="What the page leads with; METRIC:lower or :higher. Default: rbridge_nll if there."
        ),
    ] = None,
    benchmark: options.Benchmarks = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="Folder or samples file of lm_eval --log_samples, for traces in colour. Repeatable."
        ),
    ] = None,
    traces: Annotated[int, typer.Option(min=1, max=50, help="Traces to show of each benchmark.")] = 3,
    target: Annotated[
        str | None, typer.Option(help="Score table with what the target model scored, for decision accuracy.")
    ] = None,
    target_metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC", help="Metric of the target, default acc. Repeatable: the first that a benchmark has."
        ),
    ] = None,
    target_at: Annotated[
        str | None, typer.Option(metavar="PARAMS:TOKENS", help="The target's size, where --target holds several.")
    ] = None,
    average_last: options.AverageLast = None,
    predict: Annotated[
        list[str] | None,
        typer.Option(
            "--predict", metavar="PARAMS:TOKENS", help="Forecast this size from runs of several sizes. Repeatable."
        ),
    ] = None,
    reach: options.Reach = None,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Probability that intervals are made for.")] = 0.9,
    allow_incomparable: options.AllowIncomparable = False,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    date: Annotated[
        str | None, typer.Option(help="A date for the head; none by default, so pages can be compared.")
    ] = None,
) -> None:
    """Write one self-contained page: scores over training, predictions, rankings, every metric, traces in colour.

    Example: rbridge report scores.parquet fit.json -o report.html --samples out/step1000 --samples out/step2000
    """
    from rbridge_tasks.cli.output import note
    from rbridge_tasks.report.page import SUFFIXES, make_report
    from rbridge_traces.files import check_suffix

    check_suffix(output, SUFFIXES, "a report")
    page = make_report(
        scores,
        fit,
        metric=metric,
        benchmarks=benchmark or [],
        target=target,
        target_metrics=target_metric or [],
        target_at=target_at,
        samples=samples or [],
        traces=traces,
        average_last=average_last,
        predict=predict or [],
        reach=reach or [],
        level=level,
        title=title,
        date=date,
        allow_incomparable=allow_incomparable,
    )
    page.save(output)
    typer.echo(f"{output}: {len(page.html.encode()) / 1e6:.2f} MB")
    for text in page.notes:
        note(text)
