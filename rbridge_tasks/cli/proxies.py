"""``rbridge proxies``: all 80 proxies of evaluations whose samples were logged, without the model."""

from __future__ import annotations

from typing import Annotated

import typer

from rbridge_tasks.cli import options

_SHOWN = 30  # lines of the summary


def proxies(
    samples: Annotated[
        list[str], typer.Argument(help="Files of lm_eval --log_samples of our tasks, and folders to search for them.")
    ],
    output: options.ScoresOutput,
    frequencies: Annotated[
        str | None,
        typer.Option(
            help="Token frequencies of a corpus, from rbridge frequencies. Default: counted over the traces scored."
        ),
    ] = None,
    runs: options.Runs = None,
    last_tokens: Annotated[int, typer.Option(min=1, help="Tokens to score, from the end of each trace.")] = 1000,
    gaussian_width: Annotated[float, typer.Option(help="Width of the Gaussian weighting, in nats.")] = 1.0,
    entropy_floor: Annotated[
        float, typer.Option(help="Added to an entropy, which is 0 to 1, before it is inverted.")
    ] = 0.01,
    include_sample: options.IncludeSample = False,
    as_json: options.AsJson = False,
) -> None:
    """Compute all 80 proxy metrics from samples files into a score table, one row a checkpoint, benchmark and proxy.

    Example: rbridge proxies out/ -o proxies.parquet
    """
    from rbridge_metrics import ProxyParameters
    from rbridge_tasks.cli.output import note, print_json, print_table
    from rbridge_tasks.frequencies.proxies import proxies as compute
    from rbridge_tasks.tables.rows import counted
    from rbridge_tasks.tables.score_table import WRITTEN, write_scores
    from rbridge_traces.files import check_suffix

    check_suffix(output, WRITTEN, "a score table")
    scored = compute(
        samples,
        frequencies=frequencies,
        runs=runs,
        parameters=ProxyParameters(last_tokens, gaussian_width, entropy_floor),
        include_sample=include_sample,
    )
    write_scores(scored.table, output)
    if as_json:
        print_json({"output": output, **scored.to_dict()})
        return
    lines = scored.evaluations()
    print_table("", [*lines[0]], [[_cell(*cell) for cell in line.items()] for line in lines[:_SHOWN]])
    if len(lines) > _SHOWN:
        typer.echo(f"and {len(lines) - _SHOWN} more")
    typer.echo(
        f"{counted(len(scored.table), 'score')} from {counted(scored.traces, 'trace')} of "
        f"{counted(scored.files, 'samples file')} in {output}; token frequencies: {scored.frequencies}"
    )
    for line in scored.notes:
        note(line.text)


def _cell(name: str, value: object) -> str:
    from rbridge_tasks.tables.sizes import count_text

    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return count_text(value) if name in ("params", "tokens") else f"{value:.5g}"
    return str(value)
