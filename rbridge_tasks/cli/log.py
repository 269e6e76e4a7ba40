"""``rbridge log``: a score table into the dashboards that a team has."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_metrics.errors import RBridgeError

if TYPE_CHECKING:
    import pandas as pd

    from rbridge_tasks.dashboards.log import Dashboard, Logged

_KINDS = ("tensorboard", "mlflow", "wandb", "trackio", "csv", "markdown")
_TENSORBOARD_FOLDER, _CSV_FILE = "runs", "scores_wide.csv"


class LogUsageError(RBridgeError):
    """The command's arguments do not fit together."""


def log(
    scores: Annotated[str, typer.Argument(help="Score table of rbridge collect: .csv, .tsv or .parquet.")],
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
    as_json: Annotated[bool, typer.Option("--json", help="Print what was logged as JSON.")] = False,
) -> None:
    """Log metrics over training tokens, under each run's own name. Called again, only what is new is added.

    Example: rbridge log scores.parquet --to tensorboard=runs --to mlflow=file:mlruns --only rbridge_nll
    """
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.dashboards.histories import last_checkpoints, only_rows, run_histories
    from rbridge_tasks.dashboards.log import log_histories
    from rbridge_tasks.tables.score_table import read_scores
    from rbridge_tasks.visible_text import visible

    targets = [_target(text) for text in to]
    if not project.strip():
        raise LogUsageError("--project is empty; give a name")
    if as_json and ("markdown", None) in targets:
        raise LogUsageError("--json and --to markdown both print; give the latter a file: --to markdown=FILE")
    table = only_rows(read_scores(scores), only or [])
    if last:
        table = last_checkpoints(table)
    histories, notes = run_histories(table) if any(kind not in ("csv", "markdown") for kind, _ in targets) else ([], [])
    results: list[Logged] = []
    for kind, place in targets:
        if kind == "markdown":
            _write_markdown(table, place, quiet=as_json)
        elif kind == "csv":
            from rbridge_tasks.dashboards.csv_table import log_csv

            results.append(log_csv(table, place or _CSV_FILE, replace=replace))
        else:
            results.append(log_histories(histories, _dashboard(kind, place, project), replace=replace))
    if as_json:
        print_json({"logged": [asdict(one) for one in results], "notes": notes})
        return
    for one in results:
        typer.echo(visible(_summary(one)))
        if one.changed:
            note(_changed(one))
    for text in notes:
        note(text)


def _target(text: str) -> tuple[str, str | None]:
    kind, equals, place = text.partition("=")
    if kind not in _KINDS:
        raise LogUsageError(f"--to {kind!r} is no dashboard; expected one of {', '.join(_KINDS)}")
    if equals and not place:
        raise LogUsageError(f"--to {text!r} names no place; leave the = out for the usual one")
    return kind, place or None


def _dashboard(kind: str, place: str | None, project: str) -> Dashboard:
    if kind == "tensorboard":
        from rbridge_tasks.dashboards.tensorboard_events import TensorBoardFolder

        return TensorBoardFolder(place or _TENSORBOARD_FOLDER)
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
    from rbridge_traces.files import check_suffix, write_file

    if place is None:
        typer.echo(visible(as_markdown(table)), nl=False)
        return
    check_suffix(place, (".md", ".markdown"), "Markdown")
    write_file(place, as_markdown(table).encode())
    if not quiet:
        typer.echo(f"Markdown tables in {place}")


def _summary(one: Logged) -> str:
    from rbridge_tasks.tables.rows import counted

    known = f", {one.known} there already" if one.known else ""
    anew = f", logged anew: {', '.join(one.replaced)}" if one.replaced else ""
    return f"{one.place}: {counted(one.added, 'new value')}{known} in {counted(len(one.runs), 'run')}{anew}"


def _changed(one: Logged) -> str:
    many = len(one.changed) > 1
    what = (
        "1 logged value differs from the table and is"
        if not many
        else (f"{len(one.changed)} logged values differ from the table and are")
    )
    left = "left as they are" if many else "left as it is"
    done = "written over" if one.replaced else f"{left} (--replace logs the run anew)"
    return f"{what} {done}{', such as' if many else ':'} {one.changed[0]}"
