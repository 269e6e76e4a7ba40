"""The ``rbridge`` command. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Annotated

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks import __version__
from rbridge_tasks.cli import build, publish, pull, score, show  # noqa: F401  # each adds its commands to "traces"
from rbridge_tasks.cli import traces as trace_commands  # noqa: F401
from rbridge_tasks.cli.collect import collect
from rbridge_tasks.cli.compare import compare
from rbridge_tasks.cli.export import export
from rbridge_tasks.cli.fit import fit
from rbridge_tasks.cli.forecast import forecast
from rbridge_tasks.cli.frequencies import frequencies
from rbridge_tasks.cli.gate import gate
from rbridge_tasks.cli.ladder import ladder
from rbridge_tasks.cli.log import log
from rbridge_tasks.cli.noise import noise
from rbridge_tasks.cli.plan import plan
from rbridge_tasks.cli.predict import predict
from rbridge_tasks.cli.proxies import proxies
from rbridge_tasks.cli.rank import rank
from rbridge_tasks.cli.report import report
from rbridge_tasks.cli.select import select
from rbridge_tasks.cli.sweep import sweep
from rbridge_tasks.cli.trace_options import traces

app = typer.Typer(
    name="rbridge",
    help="Predict a large model's reasoning accuracy from small proxy models; score with lm_eval --tasks rbridge.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(traces, name="traces")
for command in (
    sweep, collect, fit, predict, rank, select, compare, forecast, ladder, noise, plan, gate, log, report, export,
    proxies, frequencies,
):  # fmt: skip
    app.command()(command)


def _print_version(wanted: bool) -> None:  # the signature of a typer callback
    if wanted:
        typer.echo(f"rbridge-tasks {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("rbridge_tasks").setLevel(logging.INFO)


@app.command()
def tasks_path() -> None:
    """Print the folder of our task files, for lm_eval --include_path where the automatic hook is turned off."""
    from pathlib import Path

    import rbridge_tasks

    typer.echo(Path(rbridge_tasks.__file__).parent / "tasks")


@app.command()
def doctor() -> None:
    """Check versions, the lm-eval hook, trace caches and the device: a line each, with the remedy if one is needed."""
    from rbridge_tasks.cli.doctor import examine

    findings = examine()
    for finding in findings:
        mark = typer.style("ok   ", fg="green") if finding.ok else typer.style("WRONG", fg="red")
        typer.echo(f"{mark} {finding.what}: {finding.found}" + (f"; {finding.remedy}" if finding.remedy else ""))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors meant for the user are one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that its encoding lacks is spelled out, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    if len(sys.argv) == 1 or sys.argv[1:] == ["traces"]:
        sys.argv.append("--help")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its warnings only come before our one line of error
    usage_error = typer.BadParameter.__base__  # of click or of typer's own copy, whichever this version uses
    try:
        code = app(standalone_mode=False, prog_name="rbridge")
    except typer.Abort:
        sys.exit(130)
    except RBridgeError as error:
        if os.environ.get("RBRIDGE_TRACEBACK"):
            raise
        print(f"rbridge: error: {error}", file=sys.stderr)
        sys.exit(2)
    except usage_error as error:  # type: ignore[misc]  # a class, found at run time
        command = error.ctx.command_path if error.ctx else "rbridge"
        print(f"rbridge: error: {error.format_message().rstrip('.')} (see {command} --help)", file=sys.stderr)
        sys.exit(2)
    sys.exit(code)
