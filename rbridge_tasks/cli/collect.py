"""``rbridge collect``: lm-eval's results files as one score table."""

from __future__ import annotations

from typing import Annotated

import typer

from rbridge_tasks.cli import options
from rbridge_tasks.cli.trace_options import UsageError


def collect(
    results: options.Results,
    output: options.ScoresOutput,
    runs: options.Runs = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Keep only this metric. Repeatable.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="TASK=BENCHMARK", help="Benchmark of a task. Repeatable.")
    ] = None,
    include_sample: options.IncludeSample = False,
    as_json: options.AsJson = False,
) -> None:
    """Gather results of lm-eval, of any task, into a score table: one row a run, checkpoint, benchmark and metric.

    Example: rbridge collect out/ -o scores.csv --metric rbridge_nll --metric acc
    """
    from rbridge_tasks.cli.output import note, print_json, print_table
    from rbridge_tasks.tables.collect import collect as collect_results
    from rbridge_tasks.tables.rows import counted
    from rbridge_tasks.tables.score_table import WRITTEN, write_scores
    from rbridge_tasks.tables.sizes import count_text
    from rbridge_traces.files import check_suffix

    check_suffix(output, WRITTEN, "a score table")
    collected = collect_results(
        results, metrics=metric or [], runs=runs, rename=_renames(rename or []), include_sample=include_sample
    )
    write_scores(collected.table, output)
    if as_json:
        print_json({"output": output, **collected.to_dict()})
        return
    rows = [
        (
            run["run"],
            count_text(run["params"]),
            str(run["checkpoints"]),
            " to ".join(dict.fromkeys(map(count_text, run["tokens"]))),
            ", ".join(run["benchmarks"]),
            str(run["scores"]),
        )
        for run in collected.runs()
    ]
    print_table("", ("run", "params", "checkpoints", "tokens", "benchmarks", "scores"), rows)
    typer.echo(f"{counted(len(collected.table), 'score')} from {counted(collected.files, 'results file')} in {output}")
    for line in collected.notes:
        note(line.text)


def _renames(given: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in given:
        task, equals, benchmark = (part.strip() for part in pair.partition("="))
        if not (task and equals and benchmark):
            raise UsageError(f"--rename {pair!r} is not TASK=BENCHMARK; write for example --rename commonsense_qa=csqa")
        if names.setdefault(task, benchmark) != benchmark:
            raise UsageError(f"--rename gives {task!r} two values, {names[task]!r} and {benchmark!r}; leave one out")
    return names
