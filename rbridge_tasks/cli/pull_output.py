"""Write pulled traces to the cache, one benchmark after the other, and print what was written."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.trace_options import UsageError, warn_about_traces

if TYPE_CHECKING:
    from rbridge_traces import Manifest, TraceCache
    from rbridge_traces.release.report import Readers, ReleaseReport


def store(readers: Readers, target: TraceCache, source: str, about: dict[str, Any], *, replace: bool) -> None:
    """Read each benchmark into the cache. An error keeps the benchmarks before it, and names them.

    Args:
        readers: of the traces, by benchmark.
        target: the cache.
        source: name in the cache.
        about: what the manifest says of all of them, as ``TraceCache.write`` takes it.
        replace: write over a source of that name.
    """
    written: list[str] = []
    for benchmark, read in readers.items():
        typer.echo(f"reading {benchmark} ...", err=True)
        try:
            report = read()
            scored = any(trace.has_confidence for trace in report.traces)
            manifest = target.write(
                report.traces,
                benchmark=benchmark,
                source=source,
                confidence_model=about.get("frontier_model") if scored else None,
                replace=replace,
                **about | {"note": "; ".join(filter(None, [about.get("note"), report.repairs])) or None},
            )
        except RBridgeError as error:
            if not written:
                raise
            left = [name for name in readers if name not in written]
            done = f"now in the cache: {', '.join(written)}; still to be pulled: {' '.join(left)}"
            raise UsageError(f"{error} ({done})") from error
        written.append(benchmark)
        _print_report(target, manifest, report)


def _print_report(target: TraceCache, manifest: Manifest, report: ReleaseReport) -> None:
    from rbridge_traces import mean_confidence
    from rbridge_traces.benchmark import benchmark_named
    from rbridge_traces.release.report import counted

    sizes = [trace.token_logprob.size for trace in report.traces if trace.token_logprob is not None]
    facts = [f"{manifest.benchmark}: {manifest.rows} traces"]
    if sizes:
        facts.append(f"{sum(sizes)} tokens (cut from {report.completion_tokens} of the completions)")
        mean = mean_confidence(report.traces)
        facts.append(f"mean confidence {'unknown' if mean is None else format(mean, '.3f')} over tokens")
    if manifest.rows_with_spans:
        facts.append(f"{sum(len(trace.spans or ()) for trace in report.traces)} marked spans")
    if report.repairs:
        facts.append(report.repairs)
    reasons = counted(report.dropped)
    facts.append(f"dropped {sum(report.dropped.values())}{f' ({reasons})' if reasons else ''}")
    typer.echo(f"{', '.join(facts)}; in {target.root} as {manifest.source}")
    warn_about_traces(f"{manifest.benchmark}/{manifest.source}", report.traces)
    lacks_choices = not manifest.rows_with_choices and not manifest.rows_with_spans
    if benchmark_named(manifest.benchmark).multiple_choice and lacks_choices:
        typer.echo(f"  the answer choices of {manifest.benchmark} are not among them; add them with --questions FILE")
    with suppress(RBridgeError):  # "rbridge traces verify" reports a damaged source beside the new one
        rivals = [
            rival.source
            for rival in target.manifests(manifest.benchmark)
            if not rival.sample and rival.source != manifest.source and (rival.rows_with_confidence or not sizes)
        ]
        if rivals:
            typer.echo(
                f"  the cache also holds {manifest.benchmark} from {', '.join(rivals)}; choose with --source NAME, or "
                f"""--metadata '{{"rbridge_source": "{manifest.source}"}}' under lm_eval"""
            )
