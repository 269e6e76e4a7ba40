"""The trace cache: Parquet files by benchmark and source, each named by its checksum and listed in a manifest."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Literal

from rbridge_traces import files
from rbridge_traces.benchmark import SHIPPED, Benchmark, check_benchmark, is_benchmark_name
from rbridge_traces.control_characters import SuspiciousText, suspicious_texts
from rbridge_traces.definition import DEFINITION, definition_text, is_default, read_definition
from rbridge_traces.errors import CacheCorruptError, CacheNotFoundError, TraceError, did_you_mean
from rbridge_traces.manifest import RESTORE, Manifest, TraceSet, VerifiedSource
from rbridge_traces.packing import StoredSource, pack, unpack
from rbridge_traces.schema import Trace
from rbridge_traces.unknown_logprobs import NO_UNKNOWN, unknown_tokens

MANIFEST = "manifest.json"

Needs = Literal["confidence", "spans"]
"""Data that every trace of a source must have."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OURS = re.compile(r"traces-[0-9a-f]{12}\.parquet|" + re.escape(files.PART) + ".*")


class TraceCache:
    """Traces under one root: ``<root>/<benchmark>/<source>/manifest.json`` and ``traces-<sha256>.parquet``.

    Readers always get one complete state of a source, old or new: trace files are only added, and count once the
    manifest that names them is in place.

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
        """Names of the sources that hold traces of a benchmark, sorted, without interrupted first writes."""
        names = files.names(self._fs, f"{self._path}/{benchmark}")
        return [name for name in names if _SLUG.fullmatch(name) and self._holds(benchmark, name)]

    def folders(self) -> list[str]:
        """Names of the folders that can hold a benchmark: those of this package first, then the others, sorted."""
        names = {name for name in files.names(self._fs, self._path) if is_benchmark_name(name)}
        return [*(name for name in SHIPPED if name in names), *sorted(names - SHIPPED.keys())]

    def benchmarks(self) -> list[str]:
        """Names of the benchmarks that have a source: those of this package first, then the others, sorted."""
        return [name for name in self.folders() if self.sources(name)]

    def _one_or_all(self, benchmark: str | None) -> list[str]:
        if benchmark is None:
            return self.folders()
        check_benchmark(benchmark)
        return [benchmark]

    def manifests(self, benchmark: str | None = None) -> list[Manifest]:
        """The manifests of the cache, or of one benchmark, in the order of ``benchmarks`` and then by source.

        Raises:
            CacheCorruptError: a manifest cannot be read. ``verify`` goes on past it.
        """
        return [self._manifest(name, source) for name in self._one_or_all(benchmark) for source in self.sources(name)]

    def definition(self, benchmark: str) -> Benchmark:
        """How a benchmark is defined: as shipped, else by the ``benchmark.yaml`` in its folder, else by defaults.

        Raises:
            TraceError: the file cannot be read or used.
        """
        check_benchmark(benchmark)
        if benchmark in SHIPPED:
            return SHIPPED[benchmark]
        document = files.read(self._fs, f"{self._path}/{benchmark}/{DEFINITION}")
        if document is None:
            return Benchmark(name=benchmark)
        return read_definition(benchmark, document, where=self._shown(benchmark, DEFINITION))

    def define(self, benchmark: Benchmark) -> str:
        """Write the ``benchmark.yaml`` of a benchmark that does not come with this package.

        Returns:
            The place of the file.

        Raises:
            TraceError: it cannot be written.
        """
        place = self._shown(benchmark.name, DEFINITION)
        with files.one_line_refusals(f"write {place}"):
            self._fs.makedirs(f"{self._path}/{benchmark.name}", exist_ok=True)
            files.put(self._fs, f"{self._path}/{benchmark.name}/{DEFINITION}", definition_text(benchmark).encode())
        return place

    def adopt(self, benchmark: Benchmark, *, replace: bool = False, check_only: bool = False) -> None:
        """Take over how another place defines a benchmark, before traces of that place are written here.

        Args:
            benchmark: the definition.
            replace: write over a definition that is not the same.
            check_only: write nothing; for a caller with long work to do before it writes.

        Raises:
            TraceError: this cache defines it in another way, and not ``replace``; or it cannot be written.
        """
        held = self.definition(benchmark.name)
        if definition_text(held) == definition_text(benchmark):
            return
        if not replace and (not is_default(held) or self.sources(benchmark.name)):
            raise TraceError(f"{self.root} defines {benchmark.name} in another way; write over it with --replace")
        if not check_only:
            self.define(benchmark)

    def tokens_unknown(self, manifest: Manifest) -> int | None:
        """Frontier tokens of a source without a known log-probability, counted from its files if its manifest lacks it.

        Returns:
            None where the files cannot be read; ``verify`` says why.
        """
        if manifest.tokens_unknown is not None or not manifest.rows_with_confidence:
            return manifest.tokens_unknown or 0
        try:
            return unknown_tokens(self.load(manifest.benchmark, manifest.source).traces).tokens
        except TraceError:
            return None

    def load(self, benchmark: str, source: str | None = None, *, needs: Needs | None = None) -> TraceSet:
        """Read the traces of a benchmark, checking every file against its checksum.

        Args:
            benchmark: its name.
            source: default: the only one, not counting the sample beside real traces, nor sources that lack ``needs``
                beside others that have it.
            needs: data that the traces must have.

        Raises:
            CacheNotFoundError: no such benchmark or source here; lists what there is.
            CacheCorruptError: a file is missing, changed or unreadable.
            TraceError: unknown benchmark, or several sources to choose from.
        """
        return self.stored(benchmark, source, needs=needs).traces

    def stored(self, benchmark: str, source: str | None = None, *, needs: Needs | None = None) -> StoredSource:
        """``load``, together with the bytes of the files."""
        check_benchmark(benchmark)
        source = self._only_source(benchmark, needs) if source is None else _slug(source)
        folder = self._shown(benchmark, source)
        previous = None
        while (manifest := self._manifest(benchmark, source)) != previous:
            contents = {
                name: files.read(self._fs, f"{self._path}/{benchmark}/{source}/{name}") for name in manifest.files
            }
            data = {name: content for name, content in contents.items() if content is not None}
            if len(data) == len(manifest.files):
                return dataclasses.replace(unpack(manifest, data, folder), benchmark=self.definition(benchmark))
            previous = manifest  # if it was replaced since its manifest was read, the new manifest names the new files
        raise CacheCorruptError(f"{folder} lacks {' or '.join(manifest.files)}, which its manifest names; {RESTORE}")

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
        """Store traces as a source. The arguments not listed here are the fields of the manifest.

        A crash at any point leaves the old state or the new one; the next write removes leftovers. Two processes may
        write at once, on a local disk even to the same source.

        Args:
            traces: at least one, all of this benchmark, item ids unique.
            benchmark: its name.
            source: a slug: lower-case letters, digits, and after the first also ``.``, ``_`` or ``-``.
            replace: write over the source of that name if there is one.

        Raises:
            TraceError: one of the above does not hold, the source exists, or the place cannot be written.
        """
        about = Manifest(
            benchmark=benchmark,
            source=source,
            frontier_model=frontier_model,
            confidence_model=confidence_model,
            prompt=prompt,
            decoding=decoding,
            licence=licence,
            note=note,
            sample=sample,
            created="",
            rows=len(traces),
            rows_with_confidence=0,
            origin=origin,
            files={},
        )
        return self.write_as(traces, about, replace=replace)

    def write_as(self, traces: Sequence[Trace], about: Manifest, *, replace: bool = False) -> Manifest:
        """``write`` with the description from a manifest. Its counts, files and date are replaced."""
        check_benchmark(about.benchmark)
        _slug(about.source)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        packed = pack(traces, dataclasses.replace(about, created=created))
        self._write(packed.manifest, packed.files, replace=replace)
        return packed.manifest

    def put(self, manifest: Manifest, data: Mapping[str, bytes], *, replace: bool = False) -> None:
        """Store a source from the bytes of its files.

        Args:
            manifest: of the source; names benchmark and source.
            data: the bytes of each file that the manifest names.
            replace: write over the source of that name if there is one.

        Raises:
            CacheCorruptError: the manifest and the bytes disagree.
            TraceError: the source exists, or the place cannot be written.
        """
        unpack(manifest, data, self._shown(manifest.benchmark, _slug(manifest.source)))
        self._write(manifest, data, replace=replace)

    def remove(self, benchmark: str, source: str) -> None:
        """Remove a source, its manifest first, so that readers get all of it or nothing. The folder and its lock stay.

        Raises:
            CacheNotFoundError: there is no such source; lists what there is.
            TraceError: it cannot be removed.
        """
        check_benchmark(benchmark)
        folder = f"{self._path}/{benchmark}/{_slug(source)}"
        if not self._holds(benchmark, source):
            raise self._not_found(benchmark, source)
        place = self._shown(benchmark, source)
        with files.one_line_refusals(f"remove {place}"), files.only_writer(self._fs, folder):
            entries = [name for name in files.names(self._fs, folder) if _OURS.fullmatch(name)]
            for name in (MANIFEST, *entries):
                with suppress(FileNotFoundError):  # another process removed it
                    self._fs.rm_file(f"{folder}/{name}")

    def verify(self, benchmark: str | None = None) -> list[VerifiedSource]:
        """Check every source of the cache, or of one benchmark."""
        results = []
        for name in self._one_or_all(benchmark):
            for source in self.sources(name):
                manifest, problem, unknown = None, None, NO_UNKNOWN
                suspicious: tuple[SuspiciousText, ...] = ()
                try:
                    manifest = self._manifest(name, source)
                    read = self.load(name, source).traces
                    unknown, suspicious = unknown_tokens(read), tuple(suspicious_texts(read))
                except TraceError as error:
                    problem = str(error)
                results.append(VerifiedSource(name, source, manifest, problem, unknown, suspicious))
        return results

    def _write(self, manifest: Manifest, data: Mapping[str, bytes], *, replace: bool) -> None:
        """Write the trace files, then the manifest that names them, then remove old files."""
        folder = f"{self._path}/{manifest.benchmark}/{manifest.source}"
        place = self._shown(manifest.benchmark, manifest.source)
        with files.one_line_refusals(f"write {place}"), files.only_writer(self._fs, folder):
            if not replace and self._holds(manifest.benchmark, manifest.source):
                raise TraceError(
                    f"{self.root} already holds {manifest.benchmark} from {manifest.source}; "
                    "write under another --source, or over it with --replace"
                )
            for name in manifest.files:
                files.put(self._fs, f"{folder}/{name}", data[name])
            files.put(self._fs, f"{folder}/{MANIFEST}", manifest.to_json().encode())
            for entry in files.names(self._fs, folder):
                if _OURS.fullmatch(entry) and entry not in manifest.files:
                    with suppress(*files.refusals()):  # the new state is complete; the next write tries again
                        self._fs.rm_file(f"{folder}/{entry}")

    def _holds(self, benchmark: str, source: str) -> bool:
        return MANIFEST in files.names(self._fs, f"{self._path}/{benchmark}/{source}")

    def _manifest(self, benchmark: str, source: str) -> Manifest:
        where = self._shown(benchmark, source, MANIFEST)
        document = files.read(self._fs, f"{self._path}/{benchmark}/{source}/{MANIFEST}")
        if document is None:
            raise self._not_found(benchmark, source)
        manifest = Manifest.from_json(document, where=where)
        if (manifest.benchmark, manifest.source) != (benchmark, source):
            raise CacheCorruptError(f"{where} describes {manifest.benchmark} from {manifest.source}; {RESTORE}")
        return manifest

    def _only_source(self, benchmark: str, needs: Needs | None) -> str:
        names = self.sources(benchmark)
        if not names:
            raise self._not_found(benchmark, None)
        left = [self._manifest(benchmark, source) for source in names] if len(names) > 1 else []
        left = [manifest for manifest in left if not manifest.sample] or left
        left = [manifest for manifest in left if _serves(manifest, needs)] or left
        if len(left) > 1:
            names = [manifest.source for manifest in left]
            raise TraceError(
                f"{self.root} holds {benchmark} from {len(names)} sources: {', '.join(names)}; choose one "
                """with --source NAME, or --metadata '{"rbridge_source": "NAME"}' under lm_eval"""
            )
        return left[0].source if left else names[0]

    def _not_found(self, benchmark: str, source: str | None) -> CacheNotFoundError:
        there = {name: names for name in self.folders() if (names := self.sources(name))}
        known = {*there, *SHIPPED}
        wanted = benchmark if benchmark in known else f"{benchmark}{did_you_mean(benchmark, known)}"
        if source:
            wanted += f" from {source}{did_you_mean(source, there.get(benchmark, []))}"
        held = "; ".join(f"{name} from {', '.join(names)}" for name, names in there.items())
        return CacheNotFoundError(
            f"no traces of {wanted} in {self.root}, which holds {held or 'no traces at all'}; "
            'get some with "rbridge traces pull", "build" or "import", or try the sample with RBRIDGE_CACHE=sample'
        )

    def _shown(self, *parts: str) -> str:
        return "/".join((self.root.rstrip("/"), *parts))


def _slug(source: str) -> str:
    if not _SLUG.fullmatch(source):
        raise TraceError(
            f"{source!r} cannot name a source; use lower-case letters, digits, '.', '_' and '-', as in gpt-4o"
        )
    return source


def _serves(manifest: Manifest, needs: Needs | None) -> bool:
    having = {"confidence": manifest.rows_with_confidence, "spans": manifest.rows_with_spans, None: manifest.rows}
    return having[needs] == manifest.rows
