"""Copy the sources of a cache to another place with a card that describes them, and read such a copy back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbridge_traces import files
from rbridge_traces.data_card import CARD, WRITTEN, data_card
from rbridge_traces.errors import CacheCorruptError, CacheNotFoundError, TraceError, did_you_mean
from rbridge_traces.manifest import Manifest
from rbridge_traces.packing import StoredSource, pack
from rbridge_traces.sample import SampleCache
from rbridge_traces.schema import BENCHMARKS, check_benchmark
from rbridge_traces.store import TraceCache

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Publication:
    """What is to be published.

    Attributes:
        sources: with their bytes, checked.
        left_out: sources of the sample that are not among them.
    """

    sources: list[StoredSource]
    left_out: list[Manifest]


def publication(
    cache: TraceCache | SampleCache,
    benchmarks: Sequence[str] = (),
    source: str | None = None,
    *,
    only_correct: bool = False,
    include_sample: bool = False,
) -> Publication:
    """Read and check the sources of a cache that are to be published.

    Args:
        cache: where they are.
        benchmarks: none for all there are.
        source: only those of this name.
        only_correct: leave out the traces whose answer is not known to be right.
        include_sample: publish sample traces too, which are no benchmark.

    Raises:
        CacheNotFoundError: a benchmark or source is not there.
        CacheCorruptError: a file is missing, changed or unreadable.
        TraceError: only sample traces are there, or no trace is correct.
    """
    wanted = _wanted(cache, benchmarks, source)
    kept = [held for held in wanted if include_sample or not held.sample]
    if not kept:
        raise TraceError(
            f"{cache.root} holds only sample traces of {', '.join(held.benchmark for held in wanted)}, which are no "
            "benchmark; publish others, or these all the same with --include-sample"
        )
    left_out = [held for held in wanted if held not in kept]
    return Publication([_stored(cache, held, only_correct=only_correct) for held in kept], left_out)


def export(
    sources: Sequence[StoredSource], target: TraceCache, *, replace: bool = False, repo: str | None = None
) -> bool:
    """Copy sources to another cache byte for byte, read them back, and write a card of all that is there.

    Args:
        sources: as ``publication`` reads them.
        target: where to. What it holds of other sources stays.
        replace: write over sources of the same name, and over a README.md of somebody's own.
        repo: ``OWNER/NAME`` where the target is to become a data set of the Hub.

    Returns:
        Whether anything was written; False where all of it was there already.

    Raises:
        TraceError: the target holds other traces under the same name, or cannot be written.
        CacheCorruptError: what was written reads back changed, or another source in the target is damaged.
    """
    new = [found for found in sources if not _same(found.manifest, target)]
    _refuse_to_replace([found.manifest for found in new], target, replace=replace)
    fs, root = files.open_root(target.root)
    path = f"{root.rstrip('/')}/{CARD}"
    old = _text(fs, path)
    if old is not None and WRITTEN not in old and not replace:
        raise TraceError(
            f"{target.root} has a {CARD} of its own; export to an empty place, or write over it with --replace"
        )
    for found in new:
        target.put(found.manifest, found.files, replace=replace)
    held = [target.load(manifest.benchmark, manifest.source) for manifest in target.manifests()]
    place = "FOLDER" if target.root == root else target.root
    card = data_card(held, place=place, repo=repo)
    if card != old:
        try:
            files.put(fs, path, card.encode())
        except files.refusals() as error:
            raise files.refusal(f"write {target.root}/{CARD}", error) from error
        if _text(fs, path) != card:
            raise CacheCorruptError(f"{target.root}/{CARD} reads back changed; export again")
    return bool(new) or card != old


def import_export(
    folder: str,
    target: TraceCache,
    *,
    benchmarks: Sequence[str] = (),
    source: str | None = None,
    replace: bool = False,
    origin: str | None = None,
) -> list[Manifest]:
    """Read an exported cache back into another one. All of it is checked before anything is written.

    Args:
        folder: local path or URL of the export.
        target: the cache to write to. A source that it holds already, the same in all but its origin, is left alone.
        benchmarks: none for all there are.
        source: only those of this name.
        replace: write over other sources of the same name.
        origin: where the export was fetched, for the manifests; None keeps what they say.

    Returns:
        The manifests of what was asked for, as the target now holds them.

    Raises:
        CacheNotFoundError: a benchmark or source is not there.
        CacheCorruptError: a file is missing, changed or unreadable.
        TraceError: the target holds other traces under the same name, or cannot be written.
    """
    reading = TraceCache(folder)
    _refuse_halves(reading, benchmarks or BENCHMARKS, source)
    found = [
        (dataclasses.replace(stored.manifest, origin=origin or stored.manifest.origin), stored.files)
        for stored in (reading.stored(held.benchmark, held.source) for held in _wanted(reading, benchmarks, source))
    ]
    new = [(manifest, data) for manifest, data in found if not _same(manifest, target, whatever_origin=True)]
    _refuse_to_replace([manifest for manifest, _ in new], target, replace=replace)
    for manifest, data in new:
        target.put(manifest, data, replace=replace)
    return [target.load(manifest.benchmark, manifest.source).manifest for manifest, _ in found]


def _wanted(cache: TraceCache | SampleCache, benchmarks: Sequence[str], source: str | None) -> list[Manifest]:
    for benchmark in benchmarks:
        check_benchmark(benchmark)
    there = [held for name in dict.fromkeys(benchmarks or BENCHMARKS) for held in cache.manifests(name)]
    found = [held for held in there if source in (None, held.source)]
    lacking = [name for name in benchmarks if name not in {held.benchmark for held in found}]
    if lacking or not found:
        what = f"traces of {', '.join(lacking)}" if lacking else "traces"
        name = f" from {source}{did_you_mean(source, {held.source for held in there})}" if source else ""
        holds = ", ".join(f"{held.benchmark} from {held.source}" for held in cache.manifests())
        raise CacheNotFoundError(f"no {what}{name} in {cache.root}, which holds {holds or 'no traces at all'}")
    return found


def _stored(cache: TraceCache | SampleCache, held: Manifest, *, only_correct: bool) -> StoredSource:
    if isinstance(cache, TraceCache) and not only_correct:
        return cache.stored(held.benchmark, held.source)
    found = cache.load(held.benchmark, held.source)
    if not only_correct:
        return pack(found.traces, held)
    note = "; ".join(filter(None, [held.note, "only the traces whose final answer is right"]))
    return pack(found.only_correct().traces, dataclasses.replace(held, note=note))


def _same(manifest: Manifest, target: TraceCache, *, whatever_origin: bool = False) -> bool:
    """Whether a target holds a source already, sound."""
    if manifest.source not in target.sources(manifest.benchmark):
        return False
    try:
        held = target.load(manifest.benchmark, manifest.source).manifest
    except CacheCorruptError:
        return False
    return manifest == (dataclasses.replace(held, origin=manifest.origin) if whatever_origin else held)


def _refuse_to_replace(manifests: Sequence[Manifest], target: TraceCache, *, replace: bool) -> None:
    taken = [
        f"{manifest.benchmark} from {manifest.source}"
        for manifest in manifests
        if not replace and manifest.source in target.sources(manifest.benchmark)
    ]
    if taken:
        raise TraceError(
            f"{target.root} already holds other traces of {', '.join(taken)}; name another place, or write over them "
            "with --replace"
        )


def _refuse_halves(cache: TraceCache, benchmarks: Sequence[str], source: str | None) -> None:
    """Refuse an export that lost a manifest: its traces would be passed over in silence."""
    fs, root = files.open_root(cache.root)
    for benchmark in benchmarks:
        whole = cache.sources(benchmark)
        for name in files.names(fs, f"{root}/{benchmark}"):
            folder = f"{benchmark}/{name}"
            if name in whole or source not in (None, name):
                continue
            if any(file.endswith(".parquet") for file in files.names(fs, f"{root}/{folder}")):
                raise CacheCorruptError(
                    f"{cache.root}/{folder} has traces but no manifest.json; export or download it again"
                )


def _text(fs: AbstractFileSystem, path: str) -> str | None:
    try:
        return files.read(fs, path).decode(errors="replace")
    except FileNotFoundError:
        return None
