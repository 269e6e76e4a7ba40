"""Copy the sources of a cache to another place with a card that describes them, and read such a copy back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbridge_traces import files
from rbridge_traces.benchmark import check_benchmark
from rbridge_traces.data_card import CARD, WRITTEN, config_name, data_card
from rbridge_traces.definition import is_default
from rbridge_traces.errors import CacheCorruptError, CacheNotFoundError, TraceError, did_you_mean
from rbridge_traces.manifest import Manifest
from rbridge_traces.packing import StoredSource, pack
from rbridge_traces.sample import SampleCache
from rbridge_traces.store import TraceCache

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Publication:
    """Sources to publish.

    Attributes:
        sources: with their bytes, checked.
        left_out: manifests of the sample sources that are not published.
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
        cache: to read.
        benchmarks: default: all.
        source: publish only sources of this name.
        only_correct: leave out traces whose answer is not known to be right.
        include_sample: publish sample traces too, which are no benchmark.

    Raises:
        CacheNotFoundError: the cache lacks a benchmark or source.
        CacheCorruptError: a file is missing, changed or unreadable.
        TraceError: the cache has only sample traces, or no trace is correct.
    """
    selected = _selected(cache, benchmarks, source)
    published = [manifest for manifest in selected if include_sample or not manifest.sample]
    if not published:
        raise TraceError(
            f"{cache.root} holds only sample traces of {', '.join(manifest.benchmark for manifest in selected)}, which "
            "are no benchmark; publish others, or these all the same with --include-sample"
        )
    left_out = [manifest for manifest in selected if manifest not in published]
    return Publication([_stored(cache, manifest, only_correct=only_correct) for manifest in published], left_out)


def export(
    sources: Sequence[StoredSource], target: TraceCache, *, replace: bool = False, repo: str | None = None
) -> bool:
    """Copy sources to another cache byte for byte, read them back, and write a card of everything in that cache.

    Args:
        sources: as ``publication`` reads them.
        target: the other cache. Its other sources stay.
        replace: write over sources of the same name, and over a README.md that we did not write.
        repo: ``OWNER/NAME`` if the target is to become a data set of the Hub.

    Returns:
        Whether anything was written; False if the target held all of it.

    Raises:
        TraceError: the target holds other traces under the same name, two sources would have the same configuration
            name, or the target cannot be written.
        CacheCorruptError: what was written reads back changed, or another source in the target is damaged.
    """
    new = [source for source in sources if not _holds(target, source.manifest)]
    _refuse_to_replace([source.manifest for source in new], target, replace=replace)
    fs, root = files.open_root(target.root)
    path = f"{root.rstrip('/')}/{CARD}"
    old_card = _text(fs, path)
    if old_card is not None and WRITTEN not in old_card and not replace:
        raise TraceError(
            f"{target.root} has a {CARD} of its own; export to an empty place, or write over it with --replace"
        )
    _refuse_equal_configurations([source.manifest for source in new], target)
    _define(sources, target, replace=replace)
    for source in new:
        target.put(source.manifest, source.files, replace=replace)
    trace_sets = [target.load(manifest.benchmark, manifest.source) for manifest in target.manifests()]
    card = data_card(trace_sets, place="FOLDER" if target.root == root else target.root, repo=repo)
    if card == old_card:
        return bool(new)
    with files.one_line_refusals(f"write {target.root}/{CARD}"):
        files.put(fs, path, card.encode())
    if _text(fs, path) != card:
        raise CacheCorruptError(f"{target.root}/{CARD} reads back changed; export again")
    return True


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
        target: the cache to write to. A source that it holds already, equal in all but the origin, is left alone.
        benchmarks: default: all in the export.
        source: import only sources of this name.
        replace: write over other sources of the same name.
        origin: where the export was fetched, for the manifests. Default: as the manifests say.

    Returns:
        The manifests of the imported sources, as the target now holds them.

    Raises:
        CacheNotFoundError: the export lacks a benchmark or source.
        CacheCorruptError: a file is missing, changed or unreadable.
        TraceError: the target holds other traces under the same name, or cannot be written.
    """
    reading = TraceCache(folder)
    _refuse_lost_manifests(reading, benchmarks or reading.folders(), source)
    stored = [reading.stored(each.benchmark, each.source) for each in _selected(reading, benchmarks, source)]
    imported = [(dataclasses.replace(each.manifest, origin=origin or each.manifest.origin), each) for each in stored]
    new = [(manifest, each) for manifest, each in imported if not _holds(target, manifest, whatever_origin=True)]
    _refuse_to_replace([manifest for manifest, _ in new], target, replace=replace)
    _define(stored, target, replace=replace)
    for manifest, each in new:
        target.put(manifest, each.files, replace=replace)
    return [target.load(manifest.benchmark, manifest.source).manifest for manifest, _ in imported]


def _selected(cache: TraceCache | SampleCache, benchmarks: Sequence[str], source: str | None) -> list[Manifest]:
    for benchmark in benchmarks:
        check_benchmark(benchmark)
    manifests = [each for name in dict.fromkeys(benchmarks or cache.benchmarks()) for each in cache.manifests(name)]
    selected = [each for each in manifests if source in (None, each.source)]
    lacking = [name for name in benchmarks if name not in {each.benchmark for each in selected}]
    if lacking or not selected:
        what = f"traces of {', '.join(lacking)}" if lacking else "traces"
        name = f" from {source}{did_you_mean(source, {each.source for each in manifests})}" if source else ""
        holds = _listed(cache.manifests())
        raise CacheNotFoundError(f"no {what}{name} in {cache.root}, which holds {holds or 'no traces at all'}")
    return selected


def _stored(cache: TraceCache | SampleCache, manifest: Manifest, *, only_correct: bool) -> StoredSource:
    if isinstance(cache, TraceCache) and not only_correct:
        return cache.stored(manifest.benchmark, manifest.source)
    trace_set = cache.load(manifest.benchmark, manifest.source)
    if not only_correct:
        return pack(trace_set.traces, manifest)
    note = "; ".join(filter(None, [manifest.note, "only the traces whose final answer is right"]))
    packed = pack(trace_set.only_correct().traces, dataclasses.replace(manifest, note=note))
    return dataclasses.replace(packed, benchmark=cache.definition(manifest.benchmark))


def _holds(target: TraceCache, manifest: Manifest, *, whatever_origin: bool = False) -> bool:
    """Whether a target holds this source already, undamaged."""
    if manifest.source not in target.sources(manifest.benchmark):
        return False
    try:
        held = target.load(manifest.benchmark, manifest.source).manifest
    except CacheCorruptError:
        return False
    return manifest == (dataclasses.replace(held, origin=manifest.origin) if whatever_origin else held)


def _refuse_to_replace(manifests: Sequence[Manifest], target: TraceCache, *, replace: bool) -> None:
    taken = [each for each in manifests if not replace and each.source in target.sources(each.benchmark)]
    if taken:
        raise TraceError(
            f"{target.root} already holds other traces of {_listed(taken)}; name another place, or write over them "
            "with --replace"
        )


def _refuse_equal_configurations(manifests: Sequence[Manifest], target: TraceCache) -> None:
    """Refuse sources that the card would name alike: ``a-b`` from ``c`` and ``a`` from ``b-c``."""
    held = [(benchmark, source) for benchmark in target.benchmarks() for source in target.sources(benchmark)]
    named: dict[str, tuple[str, str]] = {}
    for place in (*held, *((each.benchmark, each.source) for each in manifests)):
        first = named.setdefault(config_name(*place), place)
        if first != place:
            raise TraceError(
                f"{first[0]} from {first[1]} and {place[0]} from {place[1]} would both be the configuration "
                f"{config_name(*place)} of a data set; publish them in two places, or name a source in another way"
            )


def _define(sources: Sequence[StoredSource], target: TraceCache, *, replace: bool) -> None:
    """Give the target the ``benchmark.yaml`` of each benchmark that has one.

    Raises:
        TraceError: the target defines a benchmark in another way.
    """
    by_name = {source.benchmark.name: source.benchmark for source in sources if source.benchmark is not None}
    for benchmark in by_name.values():
        if not is_default(benchmark):
            target.adopt(benchmark, replace=replace)


def _listed(manifests: Iterable[Manifest]) -> str:
    return ", ".join(f"{manifest.benchmark} from {manifest.source}" for manifest in manifests)


def _refuse_lost_manifests(cache: TraceCache, benchmarks: Sequence[str], source: str | None) -> None:
    """Refuse an export that lost a manifest: its traces would be skipped silently."""
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
    data = files.read(fs, path)
    return None if data is None else data.decode(errors="replace")
