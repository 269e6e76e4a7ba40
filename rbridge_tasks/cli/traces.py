"""``rbridge traces``: look at, import, check and score the traces in a cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_metrics.errors import RBridgeError

if TYPE_CHECKING:
    from rbridge_traces import Manifest, TraceCache

traces = typer.Typer(
    help="Reasoning traces of frontier models: list, show, import, verify, score.", no_args_is_help=True
)

_Cache = Annotated[
    str | None,
    typer.Option("--cache", help="Folder or URL of the cache. Default: $RBRIDGE_CACHE, else your user cache."),
]
_Benchmark = Annotated[str, typer.Option("--benchmark", "-b", help="math500, mmlu_pro_stem, gsm8k, arc_challenge, ...")]
_Replace = Annotated[bool, typer.Option("--replace", help="Write over what the cache holds under that name.")]


class UsageError(RBridgeError):
    """The command's arguments do not fit together."""


@traces.command("ls")
def list_sources(cache: _Cache = None) -> None:
    """List what the cache holds."""
    from rich.table import Table

    from rbridge_traces import resolve_cache

    resolved = resolve_cache(cache)
    manifests = resolved.cache.manifests()
    table = Table("benchmark", "source", "traces", "with confidence", "written by", "confidence of", "created")
    for found in manifests:
        table.add_row(
            found.benchmark,
            found.source + (" (SAMPLE)" if found.sample and found.source != "sample" else ""),
            str(found.rows),
            str(found.rows_with_confidence),
            found.frontier_model or "?",
            found.confidence_model or "-",
            found.created,
        )
    console = _console()
    console.print(f"{_where(resolved.cache)} ({resolved.origin})", soft_wrap=True)
    if any(found.sample for found in manifests):
        console.print("These are sample traces, for trying the tool. They are not a benchmark.")
    console.print(table if manifests else "no traces")


@traces.command()
def show(
    benchmark: Annotated[str, typer.Argument(help="Benchmark, e.g. gsm8k.")],
    item_id: Annotated[str | None, typer.Argument(help="Item; default: the first.")] = None,
    source: Annotated[str | None, typer.Option(help="Which source, where the cache holds several.")] = None,
    cache: _Cache = None,
) -> None:
    """Print one trace: its question, its text with marked spans underlined, its answer."""
    from rich.text import Text

    from rbridge_traces import resolve_cache

    found = resolve_cache(cache).cache.load(benchmark, source)
    by_id = {trace.item_id: trace for trace in found.traces}
    if item_id is not None and item_id not in by_id:
        raise UsageError(
            f"{found.location} has no item {item_id!r}; it has {len(by_id)}, such as {', '.join([*by_id][:3])}"
        )
    trace = by_id[item_id] if item_id is not None else found.traces[0]
    console = _console()
    sample = "  [SAMPLE, not a benchmark]" if found.manifest.sample else ""
    console.print(Text(f"{trace.benchmark}/{trace.item_id} from {found.manifest.source}{sample}", style="bold"))
    console.print(Text(trace.question))
    for choice in trace.choices or ():
        console.print(Text(f"  {choice.label}. {choice.text}"))
    text = Text("\n" + trace.trace + "\n")
    for start, end in trace.spans or ():
        text.stylize("underline", start + 1, end + 1)
    console.print(text)
    console.print(Text(f"final answer: {trace.final_answer}   gold: {trace.gold}"))
    if trace.token_logprob is None:
        console.print("no token confidences; give it some with: rbridge traces score")
    else:
        import numpy as np

        mean = float(np.exp(trace.token_logprob).mean())
        console.print(f"{trace.token_logprob.size} frontier tokens, mean confidence {mean:.3f}")


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
    replace: _Replace = False,
    cache: _Cache = None,
) -> None:
    """Import traces from any file.

    Example: rbridge traces import cot.jsonl.gz -b gsm8k --map trace=response --map question=question
    """
    from rbridge_traces import import_traces

    target = _writable(cache)
    report = import_traces(file, benchmark=benchmark, mapping=_mapping(mapping or []), skip_empty=skip_empty)
    scored = any(trace.has_confidence for trace in report.traces)
    manifest = target.write(
        report.traces,
        benchmark=benchmark,
        source=source or _slug(file),
        frontier_model=frontier_model,
        confidence_model=(confidence_model or frontier_model) if scored else None,
        licence=licence,
        replace=replace,
    )
    skipped = f", {report.skipped_empty} empty ones left out" if report.skipped_empty else ""
    typer.echo(f"{manifest.rows} traces of {benchmark} in {target.root} as {manifest.source}{skipped}")
    if manifest.rows_with_confidence < manifest.rows:
        typer.echo(
            f"{manifest.rows - manifest.rows_with_confidence} have no token confidences; next: "
            f"rbridge traces score -b {benchmark} --model CKPT"
        )


@traces.command()
def verify(
    benchmark: Annotated[str | None, typer.Argument(help="Only this benchmark.")] = None, cache: _Cache = None
) -> None:
    """Read every file of the cache and check it against its checksum; exit code 1 if one is damaged."""
    from rbridge_traces import resolve_cache

    resolved = resolve_cache(cache)
    results = resolved.cache.verify(benchmark)
    if not results:
        raise UsageError(f"nothing to verify: {_where(resolved.cache)} holds no traces")
    for result in results:
        name = f"{result.benchmark}/{result.source}"
        rows = result.manifest.rows if result.manifest else 0
        typer.echo(f"{name}: ok, {rows} traces" if result.problem is None else f"{name}: WRONG, {result.problem}")
    if any(result.problem for result in results):
        raise typer.Exit(1)


@traces.command()
def score(
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="One benchmark, or all that are there.")],
    model: Annotated[str, typer.Option(help="Local folder or Hub name of the causal LM whose confidences to take.")],
    revision: Annotated[str | None, typer.Option(help="Revision on the Hub.")] = None,
    num_fewshot: Annotated[int, typer.Option(min=0, help="Worked examples before each question.")] = 5,
    batch_size: Annotated[str, typer.Option(help="Traces in a batch, or auto.")] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... Default: a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="Weights as float32, bfloat16, ... Default: as saved.")] = "auto",
    source: Annotated[str | None, typer.Option(help="Which source to read, where there are several.")] = None,
    read_from: Annotated[
        str | None, typer.Option("--from", help="Read traces from here instead: a cache, or sample.")
    ] = None,
    save_as: Annotated[str | None, typer.Option("--as", help="Name to write under. Default: the source's own.")] = None,
    replace: _Replace = False,
    cache: _Cache = None,
) -> None:
    """Give traces the confidences of a local causal LM, by teacher forcing, and note its name in the manifest."""
    from rbridge_tasks.teacher_forcing import add_confidence, load_scorer
    from rbridge_traces import TraceCache, resolve_cache

    reading = resolve_cache(read_from or cache).cache
    target = reading if isinstance(reading, TraceCache) and read_from is None else _writable(cache)
    names = [found.benchmark for found in reading.manifests()] if benchmark == "all" else [benchmark]
    sets = [reading.load(name, source) for name in dict.fromkeys(names)]
    if not sets:
        raise UsageError(f"nothing to score: {_where(reading)} holds no traces")
    for found in sets:
        held, name = found.manifest, save_as or found.manifest.source
        in_place = target is reading and name == held.source
        taken = held.rows_with_confidence if in_place else name in target.sources(held.benchmark)
        if taken and not replace:
            raise UsageError(
                f"{target.root} already holds {held.benchmark} from {name}{' with confidences' * in_place}; "
                "keep it and write under another name with --as NAME, or write over it with --replace"
            )
    scorer = load_scorer(model, revision=revision, device=device, dtype=dtype, batch_size=batch_size)
    for found in sets:
        held = found.manifest
        scored = add_confidence(found.traces, scorer, num_fewshot=num_fewshot)
        name = save_as or held.source
        manifest = target.write(
            scored,
            benchmark=held.benchmark,
            source=name,
            frontier_model=held.frontier_model,
            confidence_model=model if revision is None else f"{model}@{revision}",
            prompt=held.prompt,
            decoding=held.decoding,
            licence=held.licence,
            note=_note(held, num_fewshot),
            sample=held.sample,
            replace=replace or (target is reading and name == held.source),
        )
        typer.echo(
            f"{manifest.rows} traces of {manifest.benchmark} in {target.root} as {manifest.source}, "
            f"confidences of {manifest.confidence_model}, mean {_mean_confidence(scored):.3f}"
        )


def _note(held: Manifest, num_fewshot: int) -> str:
    how = f"confidences by teacher forcing, {num_fewshot}-shot"
    kept = [part for part in (held.note or "").split("; ") if part and not part.startswith("confidences by")]
    return "; ".join([*kept, how])


def _mean_confidence(scored: list[Any]) -> float:
    import numpy as np

    return float(np.exp(np.concatenate([trace.token_logprob for trace in scored])).mean())


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


def _where(cache: Any) -> str:
    return str(getattr(cache, "root", "the sample that ships with rbridge-tasks"))


def _console() -> Any:
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)
