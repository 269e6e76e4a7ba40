"""``rbridge traces pull``: published traces into the cache, from the Hub or from files already on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.pull_output import store
from rbridge_tasks.cli.trace_options import Cache, Replace, UsageError, pairs, slug, traces, writable_cache

if TYPE_CHECKING:
    from rbridge_traces import TraceCache
    from rbridge_traces.release.report import Readers

RELEASE, MASK = "trillionlabs/rBridge", "trillionlabs/rbridge-mask"
_SOURCES = {RELEASE: "rbridge-gpt-4o", MASK: "rbridge-mask"}
_ABOUT: dict[str, dict[str, str]] = {
    RELEASE: {
        "frontier_model": "gpt-4o",
        "prompt": "that of arXiv 2509.21013, which asks for a JSON object with reasoning and final_answer",
        "decoding": "greedy",
        "licence": "Apache-2.0",
    },
    MASK: {"licence": "MIT", "note": "traces with marked key steps"},
}


@traces.command()
def pull(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BENCHMARK|REPO",
            help="Benchmarks, by default all there are. OWNER/NAME is a Hub data set to read in place of the authors'.",
        ),
    ] = None,
    read_from: Annotated[
        str | None, typer.Option("--from", metavar="DIR", help="Read files already on disk instead of the Hub's.")
    ] = None,
    repo: Annotated[str | None, typer.Option(help=f"Hub data set. Default: {RELEASE}; with --spans, {MASK}.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the data set. Default: main.")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET=THEIRS", help="A field that is not found by its name: tokens.logprob=lp."),
    ] = None,
    questions: Annotated[
        str | None, typer.Option(metavar="FILE", help="The benchmark's test set, for questions and choices they lack.")
    ] = None,
    skip_mismatched: Annotated[
        bool, typer.Option("--skip-mismatched", help="Leave out, and count, items that do not fit together.")
    ] = False,
    spans: Annotated[bool, typer.Option("--spans", help="Traces with marked key steps, for rbridge_span_nll.")] = False,
    subset: Annotated[
        list[str] | None, typer.Option(metavar="NAME=BENCHMARK", help="With --spans: whose traces a subset holds.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help=f"Name in the cache. Default: {' or '.join(_SOURCES.values())}, or as exported.")
    ] = None,
    frontier_model: Annotated[
        str | None, typer.Option(help="Who wrote the traces. Default: gpt-4o for the authors' release.")
    ] = None,
    replace: Replace = False,
    cache: Cache = None,
) -> None:
    """Get published traces: the authors' release, their marked traces (--spans), or a cache that somebody exported.

    Example: rbridge traces pull gsm8k math500
    """
    from rbridge_traces.benchmark import check_shipped
    from rbridge_traces.release.fields import check_overrides

    benchmarks, other_repo = _arguments(what or [], repo, read_from, revision)
    if not (spans or other_repo or read_from):
        for name in benchmarks:
            check_shipped(name)
    if questions is not None and (spans or len(benchmarks) != 1):
        raise UsageError("--questions FILE is the test set of one benchmark; name that one, and not --spans")
    if subset and not spans:
        raise UsageError("--subset NAME=BENCHMARK is for --spans; leave it out")
    overrides, subsets = pairs("--field", field), pairs("--subset", subset)
    check_overrides(overrides)
    target, usual = writable_cache(cache), MASK if spans else RELEASE
    other_repo = None if other_repo == usual else other_repo
    name = source or (slug(other_repo.replace("/", "-")) if other_repo else _SOURCES[usual])
    if not (other_repo or read_from or replace):
        _refuse_taken(target, benchmarks, name)
    folder, origin = read_from or "", None
    if read_from is None:
        folder, origin = _downloaded(other_repo or usual, revision, () if spans else benchmarks)
    if _is_export(folder):
        _import(folder, target, benchmarks, source, replace=replace, origin=origin)
        return
    if spans:
        readers = _mask_readers(Path(folder), subsets, overrides, skip_mismatched=skip_mismatched)
    else:
        from rbridge_traces.release.read import release_readers

        readers = release_readers(Path(folder), overrides, questions, skip_mismatched=skip_mismatched)
    wanted = _wanted(readers, benchmarks, folder)
    if not replace:
        _refuse_taken(target, list(wanted), name)
    about = ({} if other_repo else _ABOUT[usual]) | ({"frontier_model": frontier_model} if frontier_model else {})
    store(wanted, target, name, {**about, "origin": origin}, replace=replace)


def _mask_readers(
    folder: Path, subsets: dict[str, str], overrides: dict[str, str], *, skip_mismatched: bool
) -> Readers:
    from rbridge_traces.release.mask import mask_readers

    readers, unknown = mask_readers(folder, subsets, overrides, skip_mismatched=skip_mismatched)
    if unknown:
        typer.echo(f"left out, since no benchmark can have these names: {', '.join(unknown)} (--subset NAME=BENCHMARK)")
    return readers


def _arguments(
    what: Sequence[str], repo: str | None, read_from: str | None, revision: str | None
) -> tuple[list[str], str | None]:
    """The benchmarks among the arguments, and the data set where it is not the authors' own."""
    from rbridge_traces import check_benchmark
    from rbridge_traces.benchmark import benchmark_called
    from rbridge_traces.files import is_folder

    repos = [*([repo] if repo else []), *(name for name in what if "/" in name)]
    for name in repos[1 if repo else 0 :]:
        if is_folder(name):
            raise UsageError(f"{name} is a folder; read it with --from {name}")
    if len(repos) > 1:
        raise UsageError(f"{' and '.join(repos)} are two data sets; pull one at a time")
    if read_from is not None and (repos or revision is not None):
        raise UsageError("--from DIR reads files on disk; leave out --revision and the data set, or --from")
    benchmarks = [benchmark_called(name) or name for name in what if "/" not in name]
    for name in benchmarks:
        check_benchmark(name)
    return list(dict.fromkeys(benchmarks)), repos[0] if repos else None


def _refuse_taken(target: TraceCache, benchmarks: Sequence[str], name: str) -> None:
    """Refuse to write over a source before anything is fetched or read."""
    from rbridge_traces import BENCHMARKS

    asked = list(benchmarks) or list(BENCHMARKS)
    taken = [benchmark for benchmark in asked if name in target.sources(benchmark)]
    free = [benchmark for benchmark in asked if benchmark not in taken]
    if taken:
        others = f"; pull only the others with: rbridge traces pull {' '.join(free)}" if free else ""
        raise UsageError(
            f"{target.root} already holds {', '.join(taken)} from {name}; write under another --source, or over it "
            f"with --replace{others}"
        )


def _downloaded(repo: str, revision: str | None, benchmarks: Sequence[str]) -> tuple[str, str]:
    """The folder that a data set was fetched to, or the part of it that is of some benchmarks, and its origin."""
    from rbridge_traces.benchmark_names import folder_patterns
    from rbridge_traces.hub import download_dataset

    fetched = download_dataset(repo, revision, folder_patterns(benchmarks) if benchmarks else None)
    return str(fetched.folder), fetched.origin


def _is_export(folder: str) -> bool:
    """Whether a folder is a cache that was exported; what is no local folder can be nothing else."""
    from rbridge_traces.benchmark import is_benchmark_name
    from rbridge_traces.files import is_folder

    manifests = Path(folder).glob("*/*/manifest.json") if is_folder(folder) else ()
    return "://" in folder or any(is_benchmark_name(manifest.parts[-3]) for manifest in manifests)


def _import(
    folder: str, target: TraceCache, benchmarks: Sequence[str], source: str | None, *, replace: bool, origin: str | None
) -> None:
    from rbridge_traces.publish import import_export

    for manifest in import_export(folder, target, benchmarks=benchmarks, source=source, replace=replace, origin=origin):
        typer.echo(f"{manifest.benchmark}: {manifest.rows} traces in {target.root} as {manifest.source}, verified")
        if unknown := target.tokens_unknown(manifest):
            typer.echo(f"  {unknown} tokens have no known log-probability; see: rbridge traces verify", err=True)


def _wanted(readers: Readers, benchmarks: Sequence[str], folder: str) -> Readers:
    missing = [benchmark for benchmark in benchmarks if benchmark not in readers] or ["benchmark"] * (not readers)
    if missing:
        raise UsageError(
            f"{folder} has no {', '.join(missing)}; it holds {', '.join(readers) or 'none by their names'}"
        )
    return {benchmark: read for benchmark, read in readers.items() if not benchmarks or benchmark in benchmarks}
