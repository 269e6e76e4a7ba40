"""``rbridge log``: write a score table to dashboards."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options
from rbridge_tasks.cli.trace_options import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from rbridge_tasks.dashboards.log import Dashboard, Logged

_KINDS = ("tensorboard", "mlflow", "wandb", "trackio", "csv", "markdown")
_FILES = {"csv": "a wide table", "markdown": "Markdown"}


def log(
    scores: options.ScoreTable,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="KIND[=PLACE]",
            help="tensorboard, trackio or wandb (=DIR), mlflow (=TRACKING_URI), csv or markdown (=FILE). Repeatable.",
        ),
    ],
    project: Annotated[
        str, typer.Option(help="Project of W&B and trackio, experiment of MLflow.", metavar="NAME")
    ] = "rbridge",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Only these: METRIC, BENCHMARK or BENCHMARK/METRIC; * stands for any. Repeatable."
        ),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Only the checkpoint of each run with the most tokens.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Log runs anew whose logged numbers differ from the table's.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Log metrics over training tokens, under each run's own name. Called again, only what is new is added.

    Example: rbridge log scores.parquet --to tensorboard=runs --to mlflow=file:mlruns --only rbridge_nll
    """
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.dashboards.histories import last_checkpoints, only_rows, run_histories
    from rbridge_tasks.tables.score_table import read_scores

    targets = [_target(text) for text in to]
    if not project.strip():
        raise UsageError("--project is empty; give a name")
    if as_json and ("markdown", None) in targets:
        raise UsageError("--json and --to markdown both print; give the latter a file: --to markdown=FILE")
    table = only_rows(read_scores(scores), only or [])
    if last:
        table = last_checkpoints(table)
    histories, notes = run_histories(table) if any(kind not in _FILES for kind, _ in targets) else ([], [])
    results: list[Logged] = []
    for kind, place in targets:
        if kind == "markdown":
            _write_markdown(table, place, quiet=as_json)
        elif kind == "csv":
            from rbridge_tasks.dashboards.csv_table import log_csv

            results.append(log_csv(table, place or "scores_wide.csv", replace=replace))
        else:
            from rbridge_tasks.dashboards.log import log_histories

            results.append(log_histories(histories, _dashboard(kind, place, project), replace=replace))
    if as_json:
        print_json({"logged": [asdict(logged) for logged in results], "notes": notes})
        return
    for logged in results:
        _print_logged(logged)
    for text in notes:
        note(text)


def _target(text: str) -> tuple[str, str | None]:
    from rbridge_traces.files import check_suffix

    kind, equals, place = text.partition("=")
    if kind not in _KINDS:
        raise UsageError(f"--to {kind!r} is no dashboard; expected one of {', '.join(_KINDS)}")
    if equals and not place:
        raise UsageError(f"--to {text!r} names no place; leave the = out for the usual one")
    if kind in _FILES and place:  # before anything is written
        check_suffix(place, (".csv",) if kind == "csv" else (".md", ".markdown"), _FILES[kind])
    return kind, place or None


def _dashboard(kind: str, place: str | None, project: str) -> Dashboard:
    if kind == "tensorboard":
        from rbridge_tasks.dashboards.tensorboard_events import TensorBoardFolder

        return TensorBoardFolder(place or "runs")
    if kind == "mlflow":
        from rbridge_tasks.dashboards.mlflow_store import MlflowExperiment

        return MlflowExperiment(place, project)
    if kind == "trackio":
        from rbridge_tasks.dashboards.trackio_project import TrackioProject

        return TrackioProject(place, project)
    from rbridge_tasks.dashboards.wandb_project import WandbProject

    return WandbProject(place, project)


def _write_markdown(table: pd.DataFrame, place: str | None, *, quiet: bool) -> None:
    from rbridge_tasks.dashboards.markdown import as_markdown
    from rbridge_tasks.visible_text import visible
    from rbridge_traces.files import write_file

    if place is None:
        typer.echo(visible(as_markdown(table)), nl=False)
        return
    write_file(place, as_markdown(table).encode())
    if not quiet:
        typer.echo(f"Markdown tables in {place}")


def _print_logged(logged: Logged) -> None:
    from rbridge_tasks.cli.output import note
    from rbridge_tasks.tables.rows import counted
    from rbridge_tasks.visible_text import visible

    known = f", {logged.known} there already" if logged.known else ""
    again = f", logged anew: {', '.join(logged.replaced)}" if logged.replaced else ""
    summary = f"{counted(logged.added, 'new value')}{known} in {counted(len(logged.runs), 'run')}{again}"
    typer.echo(visible(f"{logged.place}: {summary}"))
    if not logged.changed:
        return
    many = len(logged.changed) > 1
    what = f"{len(logged.changed)} logged values differ" if many else "1 logged value differs"
    left = "left as they are" if many else "left as it is"
    done = "written over" if logged.replaced else f"{left} (--replace logs the run anew)"
    verb, example = ("are", ", such as") if many else ("is", ":")
    note(f"{what} from the table and {verb} {done}{example} {logged.changed[0]}")
