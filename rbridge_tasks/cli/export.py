"""``rbridge export``: results of lm-eval for Every Eval Ever and for model pages of the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from rbridge_tasks.cli import options
from rbridge_tasks.cli.trace_options import pairs


def export(
    results: options.Results,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="every-eval-ever or eval-results.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write to.", metavar="DIR")],
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Only this metric. Repeatable.")] = None,
    developer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Organisation of models that were evaluated from a path.")
    ] = None,
    organization: Annotated[
        str | None, typer.Option(metavar="NAME", help="every-eval-ever: who provides the results.")
    ] = None,
    relationship: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="every-eval-ever: yours to the models: first_party, third_party, collaborative or other.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BENCHMARK=OWNER/NAME:TASK[@REVISION]",
            help="eval-results: the data set on the Hub whose leaderboard shows a benchmark. Repeatable.",
        ),
    ] = None,
    source_url: Annotated[
        str | None, typer.Option(metavar="URL", help="eval-results: where the results come from.")
    ] = None,
    include_sample: options.IncludeSample = False,
    as_json: options.AsJson = False,
) -> None:
    """Write results for Every Eval Ever's store, or for model pages of the Hugging Face Hub.

    Example: rbridge export out/ --to every-eval-ever -o eee --organization "Our lab" --relationship first_party
    """
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.tables.export import Format
    from rbridge_tasks.tables.export import export as export_results
    from rbridge_tasks.tables.rows import counted

    done = export_results(
        results, output, to=cast("Format", to), metrics=metric or [], developer=developer, organization=organization,
        relationship=relationship, source_url=source_url, include_sample=include_sample,
        datasets=pairs("--dataset", dataset, "BENCHMARK=OWNER/NAME:TASK, such as gsm8k=openai/gsm8k:gsm8k"),
    )  # fmt: skip
    if as_json:
        print_json({"files": [*map(str, done.files)], "scores": done.scores, "left_out": done.left_out})
        return
    typer.echo(f"{counted(done.scores, 'score')} in {counted(len(done.files), 'file')} in {output}")
    for line in done.left_out:
        note(line)
