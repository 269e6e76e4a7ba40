"""The trace cache: Parquet files by benchmark and source, each named by its checksum and listed in a manifest."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from rbridge_traces import files
from rbridge_traces.errors import CacheCorruptError, CacheNotFoundError, TraceError, did_you_mean
from rbridge_traces.manifest import RESTORE, Manifest, TraceSet, VerifiedSource
from rbridge_traces.sample import SAMPLE, SampleCache
from rbridge_traces.schema import BENCHMARKS, Trace, check_benchmark, one_or_all
from rbridge_traces.table import from_parquet, to_parquet

MANIFEST = "manifest.json"

Needs = Literal["confidence", "spans"]
"""What every trace of a source has to have for a purpose."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OURS = re.compile(r"traces-[0-9a-f]{12}\.parquet|" + re.escape(files.PART) + ".*")


class TraceCache:
    """Traces under one root: ``<root>/<benchmark>/<source>/manifest.json`` and ``traces-<sha256>.parquet``.

    Whoever reads always gets one complete state of a source, the old or the new: a trace file is never changed, only
    added, and counts from the moment the manifest that names it is in place.

    Args:
        root: local path, or any URL fsspec knows (``s3://``, ``hf://``, ``memory://``). It need not exist yet.
    """

    def __init__(self, root: str) -> None:
        if not root.strip():
            raise TraceError("the location of the trace cache is empty; give a local path or a URL that fsspec knows")
        self._fs, self._path = files.open_root(root)
        self.root = files.shown(self._fs, self._path)

    def __repr__(self) -> str:
        return f"TraceCache({self.root!r})"

    def sources(self, benchmark: str) -> list[str]:
        """Names of the sources that hold traces of a benchmark, sorted. An interrupted first write is none of them."""
        found = files.names(self._fs, f"{self._path}/{benchmark}")
        return [name for name in found if _SLUG.fullmatch(name) and self._holds(benchmark, name)]

    def manifests(self, benchmark: str | None = None) -> list[Manifest]:
        """The manifests of the cache, or of one benchmark, in the order of ``BENCHMARKS`` and then by source.

        Raises:
            CacheCorruptError: a manifest cannot be read. ``verify`` goes on past it.
        """
        return [self._manifest(name, source) for name in one_or_all(benchmark) for source in self.sources(name)]

    def load(self, benchmark: str, source: str | None = None, *, needs: Needs | None = None) -> TraceSet:
        """Read the traces of a benchmark, checking every file against its checksum.

        Args:
            benchmark: one of ``BENCHMARKS``.
            source: may be left out where there is one to read: the sample does not count beside real traces, nor, where
                others have it, a source without what is needed.
            needs: what the traces are read for.

        Raises:
            CacheNotFoundError: no such benchmark or source here; lists what there is.
            CacheCorruptError: a file is missing, changed or unreadable.
            TraceError: unknown benchmark, or several sources to choose from.
        """
        check_benchmark(benchmark)
        source = self._only_source(benchmark, needs) if source is None else _slug(source)
        folder = self._shown(benchmark, source)
        previous = None
        while True:
            manifest = self._manifest(benchmark, source)
            try:
                traces = [trace for name in manifest.files for trace in self._traces(manifest, name)]
                break
            except FileNotFoundError as missing:
                # The source was replaced since its manifest was read: the new manifest names the new files.
                if manifest == previous:
                    absent = f"{folder} lacks {' or '.join(manifest.files)}, which its manifest names; {RESTORE}"
                    raise CacheCorruptError(absent) from missing
                previous = manifest
        if len(traces) != manifest.rows:
            raise CacheCorruptError(
                f"{folder} holds {len(traces)} traces, its manifest says {manifest.rows}; {RESTORE}"
            )
        return TraceSet(manifest, traces, folder)

    def write(
        self,
        traces: Sequence[Trace],
        *,
        benchmark: str,
        source: str,
        frontier_model: str | None = None,
        confidence_model: str | None = None,
        prompt: str | None = None,
        decoding: str | None = None,
        licence: str | None = None,
        note: str | None = None,
        origin: str | None = None,
        sample: bool = False,
        replace: bool = False,
    ) -> Manifest:
        """Store the traces of a benchmark under a source of their own. The arguments not named here are the manifest's.

        A crash at any point leaves the source as it was or as it is to be. What a crashed write left behind is
        removed by the next one. Two processes may write at once; on a local disk even to the same source.

        Args:
            traces: at least one, all of this benchmark, item ids unique.
            benchmark: one of ``BENCHMARKS``.
            source: a slug: lower-case letters, digits, and after the first also ``.``, ``_`` or ``-``.
            replace: write over the source of that name if there is one.

        Raises:
            TraceError: one of the above does not hold, the source exists, or the place cannot be written.
        """
        check_benchmark(benchmark)
        _slug(source)
        _check_set(traces, benchmark)
        graded = [trace.correct for trace in traces if trace.correct is not None]
        data = to_parquet(traces)
        digest = hashlib.sha256(data).hexdigest()
        manifest = Manifest(
            benchmark=benchmark,
            source=source,
            frontier_model=frontier_model,
            confidence_model=confidence_model,
            prompt=prompt,
            decoding=decoding,
            licence=licence,
            note=note,
            sample=sample,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            rows=len(traces),
            rows_with_confidence=sum(trace.has_confidence for trace in traces),
            rows_with_spans=sum(trace.spans is not None for trace in traces),
            rows_correct=sum(graded) if graded else None,
            origin=origin,
            files={f"traces-{digest[:12]}.parquet": digest},
        )
        try:
            self._commit(manifest, data, replace=replace)
        except files.refusals() as error:
            raise files.refusal(f"write {self._shown(benchmark, source)}", error) from error
        return manifest

    def verify(self, benchmark: str | None = None) -> list[VerifiedSource]:
        """Read every source of the cache, or of one benchmark, and say of each what is wrong with it, if anything."""
        found = []
        for name in one_or_all(benchmark):
            for source in self.sources(name):
                manifest, problem = None, None
                try:
                    manifest = self._manifest(name, source)
                    self.load(name, source)
                except TraceError as error:
                    problem = str(error)
                found.append(VerifiedSource(name, source, manifest, problem))
        return found

    def _commit(self, manifest: Manifest, data: bytes, *, replace: bool) -> None:
        """Put the trace file in place, then the manifest that makes it count, then remove what no longer does."""
        folder = f"{self._path}/{manifest.benchmark}/{manifest.source}"
        (name,) = manifest.files
        self._fs.makedirs(folder, exist_ok=True)
        with files.only_writer(self._fs, folder):
            if not replace and self._holds(manifest.benchmark, manifest.source):
                raise TraceError(
                    f"{self.root} already holds {manifest.benchmark} from {manifest.source}; "
                    "write under another --source, or over it with --replace"
                )
            files.put(self._fs, f"{folder}/{name}", data)
            files.put(self._fs, f"{folder}/{MANIFEST}", manifest.to_json().encode())
            for entry in files.names(self._fs, folder):
                if _OURS.fullmatch(entry) and entry != name:
                    with suppress(*files.refusals()):  # the new state is complete; the next write tries again
                        self._fs.rm_file(f"{folder}/{entry}")

    def _holds(self, benchmark: str, source: str) -> bool:
        return MANIFEST in files.names(self._fs, f"{self._path}/{benchmark}/{source}")

    def _manifest(self, benchmark: str, source: str) -> Manifest:
        where = self._shown(benchmark, source, MANIFEST)
        try:
            document = files.read(self._fs, f"{self._path}/{benchmark}/{source}/{MANIFEST}")
        except FileNotFoundError:
            raise self._not_found(benchmark, source) from None
        manifest = Manifest.from_json(document, where=where)
        if (manifest.benchmark, manifest.source) != (benchmark, source):
            raise CacheCorruptError(f"{where} describes {manifest.benchmark} from {manifest.source}; {RESTORE}")
        return manifest

    def _traces(self, manifest: Manifest, name: str) -> list[Trace]:
        where = self._shown(manifest.benchmark, manifest.source, name)
        data = files.read(self._fs, f"{self._path}/{manifest.benchmark}/{manifest.source}/{name}")
        found, expected = hashlib.sha256(data).hexdigest(), manifest.files[name]
        if found != expected:
            raise CacheCorruptError(
                f"{where} has changed: its sha256 begins {found[:12]}, its manifest says {expected[:12]}; {RESTORE}"
            )
        try:
            traces = from_parquet(data)
            _check_set(traces, manifest.benchmark)
        except TraceError as error:
            raise CacheCorruptError(f"{where}: {error}; {RESTORE}") from error
        return traces

    def _only_source(self, benchmark: str, needs: Needs | None) -> str:
        found = self.sources(benchmark)
        if not found:
            raise self._not_found(benchmark, None)
        left = [self._manifest(benchmark, source) for source in found] if len(found) > 1 else []
        left = [manifest for manifest in left if not manifest.sample] or left
        left = [manifest for manifest in left if _serves(manifest, needs)] or left
        if len(left) > 1:
            names = [manifest.source for manifest in left]
            raise TraceError(
                f"{self.root} holds {benchmark} from {len(names)} sources: {', '.join(names)}; choose one "
                """with --source NAME, or --metadata '{"rbridge_source": "NAME"}' under lm_eval"""
            )
        return left[0].source if left else found[0]

    def _not_found(self, benchmark: str, source: str | None) -> CacheNotFoundError:
        there = {name: found for name in BENCHMARKS if (found := self.sources(name))}
        wanted = f"{benchmark} from {source}{did_you_mean(source, there.get(benchmark, []))}" if source else benchmark
        held = "; ".join(f"{name} from {', '.join(found)}" for name, found in there.items())
        return CacheNotFoundError(
            f"no traces of {wanted} in {self.root}, which holds {held or 'no traces at all'}; "
            'add some with "rbridge traces import", or try the tool on the sample with RBRIDGE_CACHE=sample'
        )

    def _shown(self, *parts: str) -> str:
        return "/".join((self.root.rstrip("/"), *parts))


@dataclass(frozen=True)
class ResolvedCache:
    """The cache to read, and what decided on it."""

    cache: TraceCache | SampleCache
    origin: Literal["explicit", "RBRIDGE_CACHE", "user cache", "sample"]


def user_cache_dir() -> str:
    """The platform's cache directory of this tool, e.g. ``~/.cache/rbridge-tasks``."""
    import platformdirs

    return platformdirs.user_cache_dir("rbridge-tasks")


def resolve_cache(explicit: str | None = None) -> ResolvedCache:
    """Decide where traces are read: the argument, else ``RBRIDGE_CACHE``, else the user's cache, else the sample.

    The first two are taken even where they hold nothing, so that the sample never stands in for a cache somebody
    named; the user's cache is taken if it holds at least one source. The word ``sample`` means the shipped sample
    (``./sample`` is a folder of that name).

    Raises:
        TraceError: a location that cannot be opened.
    """
    if explicit is not None:
        return ResolvedCache(SampleCache() if explicit == SAMPLE else TraceCache(explicit), "explicit")
    if named := os.environ.get("RBRIDGE_CACHE"):
        return ResolvedCache(SampleCache() if named == SAMPLE else TraceCache(named), "RBRIDGE_CACHE")
    users = TraceCache(user_cache_dir())
    if any(users.sources(benchmark) for benchmark in BENCHMARKS):
        return ResolvedCache(users, "user cache")
    return ResolvedCache(SampleCache(), "sample")


def _slug(source: str) -> str:
    if not _SLUG.fullmatch(source):
        raise TraceError(
            f"{source!r} cannot name a source; use lower-case letters, digits, '.', '_' and '-', as in gpt-4o"
        )
    return source


def _serves(manifest: Manifest, needs: Needs | None) -> bool:
    having = {"confidence": manifest.rows_with_confidence, "spans": manifest.rows_with_spans, None: manifest.rows}
    return having[needs] == manifest.rows


def _check_set(traces: Sequence[Trace], benchmark: str) -> None:
    """Refuse what cannot be one source: no traces, another benchmark's among them, or an item twice."""
    if not traces:
        raise TraceError(f"no traces of {benchmark}; at least one is needed")
    for trace in traces:
        if trace.benchmark != benchmark:
            raise TraceError(f"trace {trace.name} is not of {benchmark}; keep one benchmark to a source")
    item_id, times = Counter(trace.item_id for trace in traces).most_common(1)[0]
    if times > 1:
        raise TraceError(f"{times} traces of {benchmark} have the item_id {item_id}; each item has one trace")
