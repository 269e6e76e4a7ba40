"""``rbridge traces export`` and ``push``: publish the traces of a cache with a card that describes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.trace_options import Cache, OnlyCorrect, Replace, UsageError, traces

if TYPE_CHECKING:
    from rbridge_traces.packing import StoredSource

Benchmarks = Annotated[
    list[str] | None, typer.Option("--benchmark", "-b", help="Only this benchmark; may be given several times.")
]
Source = Annotated[str | None, typer.Option(help="Only sources of this name.")]
IncludeSample = Annotated[
    bool, typer.Option("--include-sample", help="Publish sample traces too, which are no benchmark.")
]


@traces.command("export")
def export_to(
    target: Annotated[str, typer.Argument(help="Folder or URL (s3://, gs://, ...) to copy to.")],
    benchmark: Benchmarks = None,
    source: Source = None,
    only_correct: OnlyCorrect = False,
    include_sample: IncludeSample = False,
    replace: Replace = False,
    cache: Cache = None,
) -> None:
    """Copy the cache to a folder or URL, checked byte for byte, with a README.md that describes it."""
    from rbridge_traces import TraceCache
    from rbridge_traces.publish import export

    if target == "sample":
        raise UsageError("the word sample means the shipped sample; write ./sample for a folder of that name")
    if target.startswith("hf://"):
        raise UsageError("the Hub takes files in commits; publish there with: rbridge traces push OWNER/NAME")
    to = TraceCache(target)
    sources = _sources(cache, benchmark or [], source, only_correct=only_correct, include_sample=include_sample)
    changed = export(sources, to, replace=replace)
    typer.echo(f"{'exported to' if changed else 'nothing to do: all of it is in'} {to.root}")
    typer.echo(f"use it: lm_eval with RBRIDGE_CACHE={to.root}, or rbridge traces pull --from {to.root}")


@traces.command()
def push(
    repo: Annotated[str, typer.Argument(help="Data set on the Hugging Face Hub, OWNER/NAME; created if need be.")],
    benchmark: Benchmarks = None,
    source: Source = None,
    only_correct: OnlyCorrect = False,
    include_sample: IncludeSample = False,
    private: Annotated[bool, typer.Option("--private", help="Create it as private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to write to. Default: main.")] = None,
    replace: Replace = False,
    cache: Cache = None,
) -> None:
    """Publish the cache on the Hugging Face Hub in one commit, then download it again and check it."""
    from rbridge_traces.hub_push import push as push_to_hub

    sources = _sources(cache, benchmark or [], source, only_correct=only_correct, include_sample=include_sample)
    pushed = push_to_hub(sources, repo, replace=replace, private=private, revision=revision)
    typer.echo(f"{'pushed to' if pushed.changed else 'nothing to do: all of it is at'} {pushed.url}")
    typer.echo(f"commit {pushed.commit}")
    typer.echo(f"get it: rbridge traces pull {repo} --revision {pushed.commit}")


def _sources(
    cache: str | None, benchmarks: Sequence[str], source: str | None, *, only_correct: bool, include_sample: bool
) -> list[StoredSource]:
    """The sources to be published, a line each, with a warning where a reader will miss something."""
    from rbridge_traces import resolve_cache
    from rbridge_traces.data_card import tokens_of
    from rbridge_traces.publish import publication

    reading = resolve_cache(cache).cache
    selection = publication(reading, benchmarks, source, only_correct=only_correct, include_sample=include_sample)
    for stored in selection.sources:
        manifest = stored.manifest
        name = f"{manifest.benchmark} from {manifest.source}"
        typer.echo(f"{name}: {manifest.rows} traces, {tokens_of(stored.traces)} tokens with confidences")
        if manifest.licence is None:
            typer.echo(f"warning: {name} has no licence; nobody knows what they may do with it", err=True)
        for model in (manifest.frontier_model, manifest.confidence_model):
            if model is not None and Path(model).is_absolute():
                typer.echo(f"warning: {name} names the local path {model}, which is published with it", err=True)
    for manifest in selection.left_out:
        typer.echo(
            f"left out: {manifest.benchmark} from {manifest.source}, sample traces (--include-sample publishes them)"
        )
    return selection.sources
