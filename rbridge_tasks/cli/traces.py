"""``rbridge traces``: list, import, check and remove the traces in a cache. Other commands have their own modules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_metrics.errors import RBridgeError

if TYPE_CHECKING:
    from rbridge_traces import TraceCache, UnknownTokens
    from rbridge_traces.control_characters import SuspiciousText

traces = typer.Typer(help="Reasoning traces of frontier models: get, list, show, score, publish.", no_args_is_help=True)

_Cache = Annotated[
    str | None,
    typer.Option("--cache", help="Folder or URL of the cache. Default: $RBRIDGE_CACHE, else your user cache."),
]
_Benchmark = Annotated[str, typer.Option("--benchmark", "-b", help="math500, mmlu_pro_stem, gsm8k, arc_challenge, ...")]
_Replace = Annotated[bool, typer.Option("--replace", help="Write over what the cache holds under that name.")]
_OnlyCorrect = Annotated[
    bool, typer.Option("--only-correct", help="Leave out traces whose final answer is not known to be right.")
]


class UsageError(RBridgeError):
    """The command's arguments do not fit together."""


@traces.command("ls")
def list_sources(cache: _Cache = None) -> None:
    """List what the cache holds."""
    from rich.table import Table
    from rich.text import Text

    from rbridge_tasks.visible_text import visible
    from rbridge_traces import resolve_cache

    resolved = resolve_cache(cache)
    manifests = resolved.cache.manifests()
    columns = ("benchmark", "source", "traces", "with confidence", "correct", "spans", "unknown tokens", "written by")
    table = Table(*columns, "confidence of", "origin", "created")
    any_unknown = False
    for found in manifests:
        unknown = resolved.cache.tokens_unknown(found)
        any_unknown |= bool(unknown)
        cells = (
            found.benchmark,
            found.source + (" (SAMPLE)" if found.sample and found.source != "sample" else ""),
            str(found.rows),
            str(found.rows_with_confidence),
            "?" if found.rows_correct is None else str(found.rows_correct),
            str(found.rows_with_spans or "-"),
            "?" if unknown is None else str(unknown or "-"),
            found.frontier_model or "?",
            found.confidence_model or "-",
            _short(found.origin or "-"),
            found.created,
        )
        table.add_row(*(Text(visible(cell)) for cell in cells))
    console = _console()
    console.print(f"{_where(resolved.cache)} ({resolved.origin})", soft_wrap=True)
    if any(found.sample for found in manifests):
        console.print("These are sample traces, for trying the tool. They are not a benchmark.")
    console.print(table if manifests else "no traces")
    if any_unknown:
        console.print(
            "Unknown tokens have no known log-probability (-9999, -inf, null or above 0); their confidence is "
            "interpolated. Details: rbridge traces verify",
            soft_wrap=True,
        )


@traces.command("import")
def import_file(
    file: Annotated[str, typer.Argument(help="JSON, JSON Lines (also .gz) or Parquet; local path or URL.")],
    benchmark: _Benchmark,
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
    gold_from: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Index of the first choice, where gold answers are indexes. Default: 0."),
    ] = None,
    no_logprobs: Annotated[
        bool, typer.Option("--no-logprobs", help="Leave the log-probabilities in the file: traces without confidences.")
    ] = False,
    replace: _Replace = False,
    cache: _Cache = None,
) -> None:
    """Import traces from any file, also from saved responses of a Chat or legacy Completions API.

    Example: rbridge traces import cot.jsonl.gz -b gsm8k --map trace=response --map question=question
    """
    from rbridge_traces import import_traces, unknown_tokens
    from rbridge_traces.control_characters import suspicious_texts
    from rbridge_traces.extraction import counted_repairs
    from rbridge_traces.release.report import counted

    target = _writable(cache)
    report = import_traces(
        file,
        benchmark=benchmark,
        mapping=_mapping(mapping or []),
        skip_empty=skip_empty,
        skip_failed=skip_failed,
        questions=questions,
        gold_from=None if gold_from is None else 1 if gold_from else 0,
        logprobs=not no_logprobs,
    )
    frontier_model = frontier_model or report.model
    scored = any(trace.has_confidence for trace in report.traces)
    manifest = target.write(
        report.traces,
        benchmark=benchmark,
        source=source or _slug(file),
        frontier_model=frontier_model,
        confidence_model=(confidence_model or frontier_model) if scored else None,
        licence=licence,
        note=counted_repairs(report.repairs) or None,
        replace=replace,
    )
    skipped = f", {report.skipped_empty} empty ones left out" if report.skipped_empty else ""
    if report.failed:
        skipped += f", {sum(report.failed.values())} failed answers left out ({counted(report.failed)})"
    read = f", {len(report.repairs)} read out of JSON answers" if report.repairs else ""
    repaired = f", {manifest.note}" if manifest.note else ""
    typer.echo(f"{manifest.rows} traces of {benchmark} in {target.root} as {manifest.source}{skipped}{read}{repaired}")
    if report.gold_indexes:
        typer.echo(f"{report.gold_indexes} gold answers were indexes from {gold_from or 0} and are stored as labels")
    if report.cut_off:
        typer.echo(f"warning: {report.cut_off} answers reached their token limit, their traces are cut off", err=True)
    warn_of_unknown(unknown_tokens(report.traces))
    warn_of_control_characters(f"{benchmark}/{manifest.source}", suspicious_texts(report.traces))
    if manifest.rows_with_confidence < manifest.rows:
        typer.echo(
            f"{manifest.rows - manifest.rows_with_confidence} have no token confidences; next: "
            f"rbridge traces score -b {benchmark} --model CKPT"
        )


@traces.command("rm")
def remove_source(
    benchmark: Annotated[str, typer.Argument(help="Benchmark, e.g. gsm8k.")],
    source: Annotated[str, typer.Argument(help="Source, as ls lists it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache: _Cache = None,
) -> None:
    """Remove a source from the cache, e.g. scored sample traces once real ones are there."""
    from rbridge_traces import check_benchmark

    check_benchmark(benchmark)
    target = _writable(cache)
    what = f"{benchmark} from {source} in {target.root}"
    if not yes and source in target.sources(benchmark):
        typer.confirm(f"remove {what}?", abort=True)
    target.remove(benchmark, source)
    typer.echo(f"removed {what}")


@traces.command()
def verify(
    benchmark: Annotated[str | None, typer.Argument(help="Only this benchmark.")] = None, cache: _Cache = None
) -> None:
    """Read every file of the cache and check it against its checksum; exit code 1 if one is damaged.

    Traces with control characters where LaTeX commands were meant are named in a warning and leave the exit code at 0.
    """
    from rbridge_traces import resolve_cache

    resolved = resolve_cache(cache)
    results = resolved.cache.verify(benchmark)
    if not results:
        raise UsageError(f"nothing to verify: {_where(resolved.cache)} holds no traces")
    for result in results:
        name = f"{result.benchmark}/{result.source}"
        rows = result.manifest.rows if result.manifest else 0
        typer.echo(f"{name}: ok, {rows} traces" if result.problem is None else f"{name}: WRONG, {result.problem}")
        if result.unknown:
            typer.echo(f"  {result.unknown}")
        warn_of_control_characters(name, result.suspicious)
    if any(result.problem for result in results):
        raise typer.Exit(1)


def warn_of_unknown(unknown: UnknownTokens) -> None:
    """Report tokens whose log-probability is not known, if there are any."""
    if unknown:
        typer.echo(f"warning: {unknown}", err=True)


def warn_of_control_characters(name: str, found: Sequence[SuspiciousText]) -> None:
    """Name on stderr the texts of a source in which LaTeX commands were decoded as control characters."""
    from rbridge_tasks.cli.output import note
    from rbridge_traces.control_characters import counted_suspicious

    if found:
        note(
            f"warning: {name}: {counted_suspicious(found)}; their scores and grades are wrong. Run the same build "
            "again (it asks nothing twice), pull again with --replace, or import the corrected file with --replace"
        )


def _writable(cache: str | None) -> TraceCache:
    """The cache to write to: the option, the environment variable, or the user's own; never the sample."""
    import os

    from rbridge_traces import TraceCache, user_cache_dir

    root = cache or os.environ.get("RBRIDGE_CACHE") or user_cache_dir()
    if root == "sample":
        raise UsageError("the sample cannot be written to; name a folder with --cache DIR or RBRIDGE_CACHE=DIR")
    return TraceCache(root)


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for pair in pairs:
        target, equals, theirs = pair.partition("=")
        if not (target and equals and theirs):
            raise UsageError(f"--map {pair!r} is not FIELD=THEIRS; write for example --map trace=response")
        mapping[target] = theirs
    return mapping


def _slug(file: str) -> str:
    stem = re.sub(r"(\.(gz|json|jsonl|parquet))+$", "", Path(file).name.lower())
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._") or "imported"


def _short(origin: str) -> str:
    """An origin with the commit cut to what tells it from others: ``trillionlabs/rBridge@1a2b3c4``."""
    return re.sub(r"^hf://datasets/(.+@[0-9a-f]{7})[0-9a-f]*$", r"\1", origin)


def _where(cache: Any) -> str:
    return str(getattr(cache, "root", "the sample that ships with rbridge-tasks"))


def _console() -> Any:
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)
