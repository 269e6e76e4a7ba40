"""``rbridge traces ls|import|rm|verify``: list, import, remove and check the traces in a cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.output import console
from rbridge_tasks.cli.trace_options import (
    Benchmark,
    Cache,
    Replace,
    TracePart,
    UsageError,
    answer_form,
    pairs,
    slug,
    traces,
    warn_about_traces,
    warn_of_control_characters,
    writable_cache,
)

if TYPE_CHECKING:
    from rbridge_traces import ImportReport, Manifest


@traces.command("ls")
def list_sources(cache: Cache = None) -> None:
    """List what the cache holds."""
    from rich.table import Table
    from rich.text import Text

    from rbridge_tasks.visible_text import visible
    from rbridge_traces import resolve_cache

    resolved = resolve_cache(cache)
    manifests = resolved.cache.manifests()
    unknown = [resolved.cache.tokens_unknown(manifest) for manifest in manifests]
    columns = ("benchmark", "source", "traces", "with confidence", "correct", "spans", "unknown tokens", "written by")
    table = Table(*columns, "confidence of", "origin", "created")
    for manifest, tokens in zip(manifests, unknown, strict=True):
        table.add_row(*(Text(visible(cell)) for cell in _cells(manifest, tokens)))
    out = console()
    out.print(f"{resolved.cache.root} ({resolved.origin})", soft_wrap=True)
    if any(manifest.sample for manifest in manifests):
        out.print("These are sample traces, for trying the tool. They are not a benchmark.")
    out.print(table if manifests else "no traces")
    if any(unknown):
        out.print(
            "Unknown tokens have no known log-probability (-9999, -inf, null or above 0); their confidence is "
            "interpolated. Details: rbridge traces verify",
            soft_wrap=True,
        )


def _cells(manifest: Manifest, unknown: int | None) -> tuple[str, ...]:
    return (
        manifest.benchmark,
        manifest.source + (" (SAMPLE)" if manifest.sample and manifest.source != "sample" else ""),
        str(manifest.rows),
        str(manifest.rows_with_confidence),
        "?" if manifest.rows_correct is None else str(manifest.rows_correct),
        str(manifest.rows_with_spans or "-"),
        "?" if unknown is None else str(unknown or "-"),
        manifest.frontier_model or "?",
        manifest.confidence_model or "-",
        # trillionlabs/rBridge@1a2b3c4
        re.sub(r"^hf://datasets/(.+@[0-9a-f]{7})[0-9a-f]*$", r"\1", manifest.origin or "-"),
        manifest.created,
    )


@traces.command("import")
def import_file(
    file: Annotated[str, typer.Argument(help="JSON, JSON Lines, CSV (also .gz) or Parquet; local path or URL.")],
    benchmark: Benchmark,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=THEIRS", help="Field of a trace = field of the file; dots lead inside."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Name in the cache. Default: from the file's name.")] = None,
    frontier_model: Annotated[str | None, typer.Option(help="Who wrote the traces, e.g. gpt-4o-2024-08-06.")] = None,
    confidence_model: Annotated[
        str | None, typer.Option(help="Whose log-probabilities the file holds. Default: the frontier model.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the traces.")] = None,
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Leave out rows with an empty trace.")] = False,
    skip_failed: Annotated[
        bool, typer.Option("--skip-failed", help="Leave out, and count, API answers that give no trace.")
    ] = False,
    questions: Annotated[
        str | None, typer.Option(metavar="FILE", help="The benchmark's test set, for questions that the file lacks.")
    ] = None,
    trace: TracePart = "reasoning",
    answer_format: Annotated[
        str | None, typer.Option("--format", help="Of API answers: json, or text, ended by its final answer.")
    ] = None,
    gold_from: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Index of the first choice, where gold answers are indexes. Default: 0."),
    ] = None,
    no_logprobs: Annotated[
        bool, typer.Option("--no-logprobs", help="Leave the log-probabilities in the file: traces without confidences.")
    ] = False,
    question_template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="How it asks, for a benchmark of your own: 'Q: {question}\\n{choices}\\nA:'."
        ),
    ] = None,
    fewshot: Annotated[
        str | None,
        typer.Option(metavar="FILE|K", help="Its worked examples: a file like this one, or K of the traces."),
    ] = None,
    grader: Annotated[
        str | None, typer.Option(help="How its answers are graded: choice, number, math, text or none.")
    ] = None,
    replace: Replace = False,
    cache: Cache = None,
) -> None:
    """Import traces of any benchmark from any file, also from saved responses of a Chat or legacy Completions API.

    Example: rbridge traces import cot.jsonl.gz -b gsm8k --map trace=response --map question=question
    """
    from rbridge_traces import check_benchmark, examples_of, import_traces
    from rbridge_traces.definition import redefined
    from rbridge_traces.extraction import counted_repairs

    check_benchmark(benchmark)

    target = writable_cache(cache)
    fields = pairs("--map", mapping, "FIELD=THEIRS")
    definition = redefined(
        target.definition(benchmark),
        question_template=question_template and question_template.replace("\\n", "\n"),
        fewshot=fewshot,
        mapping=fields,
        grader=grader,
        replace=replace,
    )
    report = import_traces(
        file,
        benchmark=benchmark,
        mapping=fields,
        skip_empty=skip_empty,
        skip_failed=skip_failed,
        questions=questions,
        gold_from=None if gold_from is None else 1 if gold_from else 0,
        logprobs=not no_logprobs,
        form=answer_form(trace, answer_format, benchmark),
    )
    if fewshot is not None:
        examples_of(definition or target.definition(benchmark), report.traces)  # refuses more than there can be
    frontier_model = frontier_model or report.model
    scored = any(found.has_confidence for found in report.traces)
    thinking = "traces are the model's thinking" if trace == "thinking" else ""
    manifest = target.write(
        report.traces,
        benchmark=benchmark,
        source=source or slug(file),
        frontier_model=frontier_model,
        confidence_model=(confidence_model or frontier_model) if scored else None,
        licence=licence,
        note="; ".join(filter(None, [thinking, counted_repairs(report.repairs)])) or None,
        replace=replace,
    )
    if definition is not None:
        typer.echo(f"{benchmark} is defined in {target.define(definition)}")
    _print_import(report, manifest, target.root, gold_from or 0)


def _print_import(report: ImportReport, manifest: Manifest, root: str, gold_from: int) -> None:
    from rbridge_traces import SHIPPED
    from rbridge_traces.errors import did_you_mean
    from rbridge_traces.release.report import counted

    facts = [f"{manifest.rows} traces of {manifest.benchmark} in {root} as {manifest.source}"]
    if report.skipped_empty:
        facts.append(f"{report.skipped_empty} empty ones left out")
    if report.failed:
        facts.append(f"{sum(report.failed.values())} failed answers left out ({counted(report.failed)})")
    if report.repairs:
        facts.append(f"{len(report.repairs)} read out of JSON answers")
    if manifest.note:
        facts.append(manifest.note)
    typer.echo(", ".join(facts))
    if report.gold_indexes:
        typer.echo(f"{report.gold_indexes} gold answers were indexes from {gold_from} and are stored as labels")
    if report.cut_off:
        typer.echo(f"warning: {report.cut_off} answers reached their token limit, their traces are cut off", err=True)
    warn_about_traces(f"{manifest.benchmark}/{manifest.source}", report.traces)
    if manifest.benchmark not in SHIPPED:
        meant = did_you_mean(manifest.benchmark, SHIPPED)
        typer.echo(f"{manifest.benchmark} is a benchmark of your own{meant}; its task is rbridge_{manifest.benchmark}")
    if manifest.rows_with_confidence < manifest.rows:
        typer.echo(
            f"{manifest.rows - manifest.rows_with_confidence} have no token confidences; next: "
            f"rbridge traces score -b {manifest.benchmark} --model CKPT"
        )


@traces.command("rm")
def remove_source(
    benchmark: Annotated[str, typer.Argument(help="Benchmark, e.g. gsm8k.")],
    source: Annotated[str, typer.Argument(help="Source, as ls lists it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache: Cache = None,
) -> None:
    """Remove a source from the cache, e.g. scored sample traces once real ones are there."""
    from rbridge_traces import check_benchmark

    check_benchmark(benchmark)
    target = writable_cache(cache)
    what = f"{benchmark} from {source} in {target.root}"
    if not yes and source in target.sources(benchmark):
        typer.confirm(f"remove {what}?", abort=True)
    target.remove(benchmark, source)
    typer.echo(f"removed {what}")


@traces.command()
def verify(
    benchmark: Annotated[str | None, typer.Argument(help="Only this benchmark.")] = None, cache: Cache = None
) -> None:
    """Read every file of the cache and check it against its checksum; exit code 1 if one is damaged.

    Traces with control characters where LaTeX commands were meant are named in a warning and leave the exit code at 0.
    """
    from rbridge_traces import resolve_cache

    reading = resolve_cache(cache).cache
    results = reading.verify(benchmark)
    if not results:
        raise UsageError(f"nothing to verify: {reading.root} holds no traces{f' of {benchmark}' if benchmark else ''}")
    for result in results:
        name = f"{result.benchmark}/{result.source}"
        rows = result.manifest.rows if result.manifest else 0
        typer.echo(f"{name}: ok, {rows} traces" if result.problem is None else f"{name}: WRONG, {result.problem}")
        if result.unknown:
            typer.echo(f"  {result.unknown}")
        warn_of_control_characters(name, result.suspicious)
    if any(result.problem for result in results):
        raise typer.Exit(1)
