"""Options that several commands share. A command gives the default: ``level: Level = 0.9``."""

from __future__ import annotations

from typing import Annotated

import typer

AllowIncomparable = Annotated[
    bool,
    typer.Option(
        "--allow-incomparable",
        help="Compare scores whose settings differ (shots, chat template, traces, confidences, items, ...); the "
        "differences are printed as warnings.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
AverageLast = Annotated[
    str | None,
    typer.Option(
        "--average-last",
        metavar="N|auto",
        help="Score every checkpoint by the mean of the last N of its run; auto chooses N by noise (rbridge noise).",
    ),
]
Benchmarks = Annotated[list[str] | None, typer.Option("--benchmark", "-b", help="Only this benchmark. Repeatable.")]
Level = Annotated[float, typer.Option("--level", min=0.01, max=0.999, help="Probability of the intervals.")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw the result here: .svg or .png.")]
Resamples = Annotated[int, typer.Option("--resamples", min=100, help="Bootstrap resamples.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random numbers.")]
TableOutput = Annotated[
    str | None, typer.Option("--output", "-o", help="Write the result as a table: .csv or .parquet.")
]
TargetMetrics = Annotated[
    list[str] | None,
    typer.Option(
        "--target-metric", metavar="METRIC", help="Metric of the target, default acc. Repeatable: the first present."
    ),
]
Unit = Annotated[str, typer.Option("--unit", help="Unit of the accuracies: percent, fraction, or auto.")]
Folds = Annotated[int, typer.Option("--folds", min=2, help="Folds of blocked and shuffled.")]
MinTrain = Annotated[int, typer.Option("--min-train", min=3, help="Points before the first prediction of forward.")]
Reach = Annotated[
    list[float] | None, typer.Option("--reach", help="Cheapest size and tokens for this accuracy, e.g. 0.6.")
]
Results = Annotated[list[str], typer.Argument(help="Results files of lm-eval, and folders to search for them.")]
IncludeSample = Annotated[
    bool, typer.Option("--include-sample", help="Keep scores on the sample traces that ship with rbridge-tasks.")
]
Runs = Annotated[
    str | None,
    typer.Option("--runs", help="Table of what you know: model, path or run; run, params, tokens, tokens_per_step."),
]
ScoreTable = Annotated[str, typer.Argument(help="Score table of rbridge collect: .csv, .tsv or .parquet.")]
ScoresOutput = Annotated[str, typer.Option("--output", "-o", help="Score table to write: .csv or .parquet.")]
