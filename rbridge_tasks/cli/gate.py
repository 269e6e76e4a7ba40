"""``rbridge gate``: fail where a checkpoint is worse than a baseline, or than its own run let expect."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    from rbridge_tasks.decisions.gate_judgement import Judgement, Settings
    from rbridge_tasks.tables.directions import Metric


class GateUsageError(RBridgeError):
    """An argument that makes no sense."""


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
    metric: Annotated[str, typer.Option(help="What to compare; METRIC:lower or :higher says how it runs.")] = (
        "rbridge_nll"
    ),
    benchmark: Annotated[list[str] | None, typer.Option(help="Compare this one only. Repeatable.")] = None,
    run: Annotated[str | None, typer.Option("--run", "-r", help="With --forecast: the checkpoint's run.")] = None,
    params: Annotated[
        str | None, typer.Option(metavar="PARAMS", help="With --forecast: the checkpoint's size, e.g. 98M.")
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="With --forecast: which checkpoint, e.g. 4T. Default: the last."),
    ] = None,
    max_regression: Annotated[
        str, typer.Option(help="How much worse is no regression, as a share of the baseline or forecast: 0.5%.")
    ] = "0%",
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Probability of a false alarm, over all benchmarks.")
    ] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="At which the detectable change is stated.")] = 0.8,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Of the intervals.")] = 0.9,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    allow_incomparable: AllowIncomparable = False,
    summary: Annotated[
        str | None, typer.Option(help="Append a Markdown summary to this file. Default: $GITHUB_STEP_SUMMARY.")
    ] = None,
    junit: Annotated[str | None, typer.Option(help="Write JUnit XML here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare a checkpoint with a baseline, trace by trace, or with a forecast of its own run.

    Exit code 1: significantly worse; 2: bad input.

    Example: rbridge gate out/step2000 out/step1000 --max-regression 0.5% --junit gate.xml
    """
    from rbridge_tasks.cli import gate_output as reports
    from rbridge_tasks.cli.output import note, print_json, print_table
    from rbridge_tasks.decisions.gate_judgement import Settings
    from rbridge_tasks.tables.directions import metric_called
    from rbridge_traces.files import write_file

    if (baseline is None) == (forecast is None):
        found = "neither" if baseline is None else "both"
        raise GateUsageError(
            f"{found} of BASELINE and --forecast; give what the checkpoint is compared with: an earlier evaluation, or "
            "--forecast and the scores of the run so far"
        )
    if forecast is None and any(option is not None for option in (run, params, tokens)):
        raise GateUsageError("--run, --params and --tokens say which checkpoint of a run is forecast; give --forecast")
    chosen = metric_called(metric)
    settings = Settings(_share(max_regression), alpha, power, level, resamples, seed)
    if baseline is not None:
        judgement = _by_baseline(current, baseline, chosen, settings, benchmark or [], allow=allow_incomparable)
    else:
        which = run, params, tokens
        judgement = _by_forecast(
            current, str(forecast), chosen, settings, benchmark or [], which, allow=allow_incomparable
        )
    if junit:
        write_file(junit, reports.junit(judgement, chosen, settings))
    if place := summary or os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(place, reports.markdown(judgement, chosen, settings))
    verdict = reports.verdict(judgement, settings)
    if as_json:
        payload = [asdict(one) | {"relative": one.change.relative} for one in judgement.benchmarks]
        print_json(
            {
                "verdict": verdict,
                "metric": chosen.name,
                "current": judgement.current,
                "against": judgement.against,
                "settings": asdict(settings),
                "benchmarks": payload,
                "notes": judgement.notes,
            }
        )
    else:
        title = f"{chosen.name} ({chosen.direction}) of {judgement.current} against {judgement.against}"
        print_table(title, reports.columns(judgement, settings), [reports.row(one) for one in judgement.benchmarks])
        typer.echo(verdict)
        for text in judgement.notes:
            note(text)
    if judgement.regressed:
        raise typer.Exit(1)


def _by_baseline(
    current: str, baseline: str, metric: Metric, settings: Settings, benchmarks: Sequence[str], *, allow: bool
) -> Judgement:
    from rbridge_tasks.decisions.gate_judgement import judge
    from rbridge_tasks.tables.score_table import READ

    for path in (current, baseline):
        if Path(path).suffix.lower() in READ:
            raise GateUsageError(
                f"{path} is a table, and a baseline is compared item by item; give folders of lm_eval --log_samples, "
                "or compare with a forecast: rbridge gate CURRENT --forecast TABLE"
            )
    return judge(current, baseline, metric, settings, benchmarks, allow_incomparable=allow)


def _by_forecast(
    current: str,
    past: str,
    metric: Metric,
    settings: Settings,
    benchmarks: Sequence[str],
    which: tuple[str | None, str | None, str | None],
    *,
    allow: bool,
) -> Judgement:
    from rbridge_tasks.decisions.forecast_gate import Which, judge_by_forecast
    from rbridge_tasks.tables.sizes import parse_count

    run, params, tokens = which
    counts = (parse_count(text) if text else None for text in (params, tokens))
    chosen = Which(run, *counts)
    return judge_by_forecast(
        current, past, metric, settings, which=chosen, benchmarks=benchmarks, allow_incomparable=allow
    )


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
