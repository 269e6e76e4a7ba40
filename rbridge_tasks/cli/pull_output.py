"""Published traces that were read go into the cache, one benchmark after the other, and what came of each is told."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.traces import UsageError, warn_of_control_characters, warn_of_unknown

if TYPE_CHECKING:
    from rbridge_traces import Manifest, TraceCache
    from rbridge_traces.release.report import Readers, ReleaseReport


def store(readers: Readers, target: TraceCache, source: str, about: Mapping[str, str | None], *, replace: bool) -> None:
    """Read one benchmark after the other into the cache; an error leaves those before it there, and says so."""
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
                frontier_model=about.get("frontier_model"),
                confidence_model=about.get("frontier_model") if scored else None,
                prompt=about.get("prompt"),
                decoding=about.get("decoding"),
                licence=about.get("licence"),
                note="; ".join(filter(None, [about.get("note"), report.repairs])) or None,
                origin=about.get("origin"),
                replace=replace,
            )
        except RBridgeError as error:
            if not written:
                raise
            left = [other for other in readers if other not in written]
            done = f"now in the cache: {', '.join(written)}; still to be pulled: {' '.join(left)}"
            raise UsageError(f"{error} ({done})") from error
        written.append(benchmark)
        _tell(target, manifest, report)


def _tell(target: TraceCache, manifest: Manifest, report: ReleaseReport) -> None:
    """Say what was written, and how to choose where there is something else to read."""
    from rbridge_traces import mean_confidence, unknown_tokens
    from rbridge_traces.control_characters import suspicious_texts
    from rbridge_traces.release.report import counted

    sizes = [trace.token_logprob.size for trace in report.traces if trace.token_logprob is not None]
    parts = [f"{manifest.benchmark}: {manifest.rows} traces"]
    if sizes:
        parts.append(f"{sum(sizes)} tokens (cut from {report.completion_tokens} of the completions)")
        mean = mean_confidence(report.traces)
        parts.append(f"mean confidence {'unknown' if mean is None else format(mean, '.3f')} over tokens")
    if manifest.rows_with_spans:
        parts.append(f"{sum(len(trace.spans or ()) for trace in report.traces)} marked spans")
    if report.repairs:
        parts.append(report.repairs)
    left_out = counted(report.dropped)
    parts.append(f"dropped {sum(report.dropped.values())}{f' ({left_out})' if left_out else ''}")
    typer.echo(f"{', '.join(parts)}; in {target.root} as {manifest.source}")
    warn_of_unknown(unknown_tokens(report.traces))
    warn_of_control_characters(f"{manifest.benchmark}/{manifest.source}", suspicious_texts(report.traces))
    if manifest.benchmark in ("arc_challenge", "csqa", "mmlu_pro_stem") and not any(t.choices for t in report.traces):
        typer.echo(f"  the answer choices of {manifest.benchmark} are not among them; add them with --questions FILE")
    with suppress(RBridgeError):  # a damaged source beside the new one is for "rbridge traces verify" to report
        rivals = [
            other.source
            for other in target.manifests(manifest.benchmark)
            if not other.sample and other.source != manifest.source and (other.rows_with_confidence or not sizes)
        ]
        if rivals:
            typer.echo(
                f"  the cache also holds {manifest.benchmark} from {', '.join(rivals)}; choose with --source NAME, or "
                f"""--metadata '{{"rbridge_source": "{manifest.source}"}}' under lm_eval"""
            )
