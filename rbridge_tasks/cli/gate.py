"""``rbridge gate``: fail where a checkpoint is worse than a baseline."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rbridge_metrics.errors import RBridgeError


class GateUsageError(RBridgeError):
    """An argument that makes no sense."""


def gate(
    current: Annotated[
        str, typer.Argument(metavar="CURRENT", help="Folder or samples file of lm_eval --log_samples: the checkpoint.")
    ],
    baseline: Annotated[
        str, typer.Argument(metavar="BASELINE", help="The same of an earlier checkpoint, or of another run.")
    ],
    metric: Annotated[str, typer.Option(help="What to compare; METRIC:lower or :higher says how it runs.")] = (
        "rbridge_nll"
    ),
    benchmark: Annotated[list[str] | None, typer.Option(help="Compare this one only. Repeatable.")] = None,
    max_regression: Annotated[
        str, typer.Option(help="How much worse is no regression, as a share of the baseline: 0.5%.")
    ] = "0%",
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Probability of a false alarm, over all benchmarks.")
    ] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="At which the detectable change is stated.")] = 0.8,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Of the intervals.")] = 0.9,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    summary: Annotated[
        str | None, typer.Option(help="Append a Markdown summary to this file. Default: $GITHUB_STEP_SUMMARY.")
    ] = None,
    junit: Annotated[str | None, typer.Option(help="Write JUnit XML here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare a checkpoint with a baseline, trace by trace. Exit code 1: significantly worse; 2: bad input.

    Example: rbridge gate out/step2000 out/step1000 --max-regression 0.5% --junit gate.xml
    """
    from rbridge_tasks.atomic import write_file
    from rbridge_tasks.cli.output import print_json, print_table
    from rbridge_tasks.gating import reports
    from rbridge_tasks.gating.judgement import Settings, judge
    from rbridge_tasks.scores.directions import metric_called

    chosen = metric_called(metric)
    settings = Settings(_share(max_regression), alpha, power, level, resamples, seed)
    judged = judge(current, baseline, chosen, settings, benchmark or [])
    if junit:
        write_file(junit, reports.junit(judged, chosen, settings))
    if place := summary or os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(place, reports.markdown(judged, chosen, settings, names=(current, baseline)))
    verdict = reports.verdict(judged, settings)
    if as_json:
        found = [asdict(one) | {"relative": one.change.relative} for one in judged]
        print_json({"verdict": verdict, "metric": chosen.name, "settings": asdict(settings), "benchmarks": found})
    else:
        title = f"{chosen.name} ({chosen.direction}) against {baseline}"
        print_table(title, reports.columns(settings), [reports.row(one) for one in judged])
        typer.echo(verdict)
    if any(one.regressed for one in judged):
        raise typer.Exit(1)


def _share(text: str) -> float:
    """A share of the baseline: ``0.5%`` or ``0.005``."""
    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise GateUsageError(f"--max-regression {text!r} is no share from 0 to 1; write for example 0.5% or 0.005")
    return value


def _append(path: str, text: str) -> None:
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = error.strerror or error
        raise GateUsageError(f"cannot write the summary {path}: {reason}; give another file") from error
