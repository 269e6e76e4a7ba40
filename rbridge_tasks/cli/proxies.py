"""``rbridge proxies``: all 80 proxies of evaluations whose samples were logged, without the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rbridge_tasks.tables.proxy_scores import ProxyTable

_SHOWN = 30  # lines of the summary


def proxies(
    samples: Annotated[
        list[str], typer.Argument(help="Files of lm_eval --log_samples of our tasks, and folders to search for them.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Score table to write: .csv or .parquet.")],
    frequencies: Annotated[
        str | None,
        typer.Option(
            help="Token frequencies of a corpus, from rbridge frequencies. Default: counted over the traces scored."
        ),
    ] = None,
    runs: Annotated[
        str | None,
        typer.Option(
            "--runs", help="Table of what you know: model, path or run; run, params, tokens, tokens_per_step."
        ),
    ] = None,
    last_tokens: Annotated[int, typer.Option(min=1, help="Tokens to score, from the end of each trace.")] = 1000,
    gaussian_width: Annotated[float, typer.Option(help="Width of the Gaussian weighting, in nats.")] = 1.0,
    entropy_floor: Annotated[
        float, typer.Option(help="Added to an entropy, which is 0 to 1, before it is inverted.")
    ] = 0.01,
    include_sample: Annotated[
        bool, typer.Option("--include-sample", help="Keep scores on the sample traces that ship with rbridge-tasks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Compute all 80 proxy metrics from samples files into a score table, one row a checkpoint, benchmark and proxy.

    Example: rbridge proxies out/ -o proxies.parquet
    """
    from rbridge_metrics import ProxyParameters
    from rbridge_tasks.atomic import check_suffix
    from rbridge_tasks.cli.output import note, print_json, print_table
    from rbridge_tasks.tables.proxy_scores import proxy_table
    from rbridge_tasks.tables.rows import counted
    from rbridge_tasks.tables.score_table import WRITTEN, write_scores

    check_suffix(output, WRITTEN, "a score table")
    parameters = ProxyParameters(last_tokens, gaussian_width, entropy_floor)
    found = proxy_table(
        samples, frequencies=frequencies, runs=runs, parameters=parameters, include_sample=include_sample
    )
    write_scores(found.table, output)
    lines = _summary(found)
    if as_json:
        print_json(
            {
                "output": output,
                "files": found.files,
                "traces": found.traces,
                "scores": len(found.table),
                "frequencies": found.frequencies,
                "parameters": vars(parameters),
                "evaluations": lines,
                "notes": [vars(one) for one in found.notes],
            }
        )
        return
    columns = list(lines[0])
    print_table("", columns, [[_cell(name, line[name]) for name in columns] for line in lines[:_SHOWN]])
    if len(lines) > _SHOWN:
        typer.echo(f"and {len(lines) - _SHOWN} more")
    typer.echo(
        f"{counted(len(found.table), 'score')} from {counted(found.traces, 'trace')} of "
        f"{counted(found.files, 'samples file')} in {output}; token frequencies: {found.frequencies}"
    )
    for one in found.notes:
        note(one.text)


def _summary(found: ProxyTable) -> list[dict[str, object]]:
    """A line for each checkpoint and benchmark, with the proxies that the lm-eval tasks report."""
    from rbridge_tasks.tables.catalogue import REPORTED_PROXIES

    lines: list[dict[str, object]] = []
    key = ["run", "model", "params", "tokens", "benchmark"]
    for (run, _, params, tokens, benchmark), part in found.table.groupby(key, dropna=False, sort=False):
        values = dict(zip(part["metric"], part["value"], strict=True))
        line = {"run": run, "params": params, "tokens": tokens, "benchmark": benchmark, "traces": part["n"].max()}
        lines.append(line | {name: values.get(name) for name in REPORTED_PROXIES})
    return lines


def _cell(name: str, value: object) -> str:
    from rbridge_tasks.tables.sizes import count_text

    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return count_text(value) if name in ("params", "tokens") else f"{value:.5g}"
    return str(value)
