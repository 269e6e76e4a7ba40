"""``rbridge gate``: fail if a checkpoint is worse than a baseline, or than its run's history predicts."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rbridge_tasks.cli import options


def gate(
    current: Annotated[
        str,
        typer.Argument(
            metavar="CURRENT",
            help="The checkpoint: folder or samples file of lm_eval --log_samples; with --forecast also a score table.",
        ),
    ],
    baseline: Annotated[
        str | None, typer.Argument(metavar="[BASELINE]", help="The same of an earlier checkpoint, or of another run.")
    ] = None,
    forecast: Annotated[
        str | None,
        typer.Option(
            metavar="PAST", help="Instead of BASELINE: the run so far, a score table or folder of lm-eval's results."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="What to compare; METRIC:lower or :higher gives its direction.")] = (
        "rbridge_nll"
    ),
    benchmark: options.Benchmarks = None,
    run: Annotated[str | None, typer.Option("--run", "-r", help="With --forecast: the checkpoint's run.")] = None,
    params: Annotated[
        str | None, typer.Option(metavar="PARAMS", help="With --forecast: the checkpoint's size, e.g. 98M.")
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="With --forecast: which checkpoint, e.g. 4T. Default: the last."),
    ] = None,
    max_regression: Annotated[
        str, typer.Option(help="How much worse is tolerated, as a share of the baseline or forecast: 0.5%.")
    ] = "0%",
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Probability of a false alarm, over all benchmarks.")
    ] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="Power of the detectable change.")] = 0.8,
    level: options.Level = 0.9,
    resamples: options.Resamples = 10_000,
    seed: options.Seed = 0,
    average_last: options.AverageLast = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="SCORES", help="With BASELINE: checkpoints of the run, whose noise joins the error over items."
        ),
    ] = None,
    allow_incomparable: options.AllowIncomparable = False,
    summary: Annotated[
        str | None, typer.Option(help="Append a Markdown summary to this file. Default: $GITHUB_STEP_SUMMARY.")
    ] = None,
    junit: Annotated[str | None, typer.Option(help="Write JUnit XML here.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare a checkpoint with a baseline, trace by trace, or with a forecast of its own run.

    Exit code 1: significantly worse; 2: bad input.

    Example: rbridge gate out/step2000 out/step1000 --max-regression 0.5% --junit gate.xml
    """
    from rbridge_tasks.cli.gate_output import append_summary, junit_xml, print_gate
    from rbridge_tasks.cli.output import deliver
    from rbridge_tasks.decisions.gate import gate as test_checkpoint
    from rbridge_traces.files import write_file

    result = test_checkpoint(
        current, baseline, forecast=forecast, metric=metric, benchmarks=benchmark or [], run=run, params=params,
        tokens=tokens, max_regression=max_regression, alpha=alpha, power=power, level=level, resamples=resamples,
        seed=seed, average_last=average_last, noise=noise, allow_incomparable=allow_incomparable,
    )  # fmt: skip
    if junit is not None:
        write_file(junit, junit_xml(result))
    if path := summary or os.environ.get("GITHUB_STEP_SUMMARY"):
        append_summary(result, path)
    deliver(result, print_gate, as_json=as_json)
    if not result.passed:
        raise typer.Exit(1)
