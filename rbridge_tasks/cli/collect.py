"""``rbridge collect``: lm-eval's results files as one score table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.trace_options import UsageError

if TYPE_CHECKING:
    import pandas as pd


def collect(
    results: Annotated[list[str], typer.Argument(help="Results files of lm-eval, and folders to search for them.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Score table to write: .csv or .parquet.")],
    runs: Annotated[
        str | None,
        typer.Option(
            "--runs", help="Table of what you know: model, path or run; run, params, tokens, tokens_per_step."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Keep only this metric. Repeatable.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="TASK=BENCHMARK", help="Benchmark of a task. Repeatable.")
    ] = None,
    include_sample: Annotated[
        bool, typer.Option("--include-sample", help="Keep scores on the sample traces that ship with rbridge-tasks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Gather results of lm-eval, of any task, into a score table: one row a run, checkpoint, benchmark and metric.

    Example: rbridge collect out/ -o scores.csv --metric rbridge_nll --metric acc
    """
    from rbridge_tasks.cli.output import note, print_json, print_table
    from rbridge_tasks.tables.collect import collect as read
    from rbridge_tasks.tables.rows import counted
    from rbridge_tasks.tables.score_table import WRITTEN, write_scores
    from rbridge_traces.files import check_suffix

    check_suffix(output, WRITTEN, "a score table")
    names = _renames(rename or [])
    found = read(results, runs=runs, metrics=metric or [], rename=names, include_sample=include_sample)
    write_scores(found.table, output)
    if as_json:
        print_json(
            {
                "output": output,
                "files": found.files,
                "scores": len(found.table),
                "runs": _summary(found.table),
                "notes": [vars(one) for one in found.notes],
            }
        )
        return
    columns = ("run", "params", "checkpoints", "tokens", "benchmarks", "scores")
    rows = [tuple(_cell(name, row[name]) for name in columns) for row in _summary(found.table)]
    print_table("", columns, rows)
    typer.echo(f"{counted(len(found.table), 'score')} from {counted(found.files, 'results file')} in {output}")
    for one in found.notes:
        note(one.text)


def _renames(pairs: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs:
        task, equals, benchmark = (part.strip() for part in pair.partition("="))
        if not (task and equals and benchmark):
            raise UsageError(f"--rename {pair!r} is not TASK=BENCHMARK; write for example --rename commonsense_qa=csqa")
        names[task] = benchmark
    return names


def _summary(table: pd.DataFrame) -> list[dict[str, object]]:
    """A line for each run and size."""
    lines = []
    for (run, params), part in table.groupby(["run", "params"], dropna=False, sort=True):
        lines.append(
            {
                "run": run,
                "params": params,
                "checkpoints": part.groupby(["model", "tokens"], dropna=False).ngroups,
                "tokens": [part["tokens"].min(), part["tokens"].max()],
                "benchmarks": sorted(set(part["benchmark"])),
                "scores": len(part),
            }
        )
    return lines


def _cell(name: str, value: object) -> str:
    from rbridge_tasks.tables.sizes import count_text

    if name == "tokens" and isinstance(value, list):
        return " to ".join(dict.fromkeys(count_text(number) for number in value))
    if name == "params" and isinstance(value, float):
        return count_text(value)
    return ", ".join(value) if isinstance(value, list) else str(value)
