"""Convert traces to the files and manifest of a source, and back."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rbridge_traces.benchmark import Benchmark
from rbridge_traces.errors import CacheCorruptError, TraceError
from rbridge_traces.manifest import RESTORE, Manifest, TraceSet, counts_of
from rbridge_traces.schema import Trace, check_text
from rbridge_traces.table import from_parquet, to_parquet


@dataclass(frozen=True)
class StoredSource:
    """A source as stored: traces, manifest and the bytes of each file, which agree, and how its benchmark is defined.

    ``benchmark`` is None where that is not known.
    """

    traces: TraceSet
    files: dict[str, bytes]
    benchmark: Benchmark | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest that names the files."""
        return self.traces.manifest


def pack(traces: Sequence[Trace], about: Manifest) -> StoredSource:
    """Store traces in one Parquet file, named by its checksum.

    Args:
        traces: at least one, all of the benchmark of ``about``, item ids unique.
        about: describes them. Its counts and files are replaced.

    Raises:
        TraceError: one of the above does not hold, or a text of the description is not valid Unicode.
    """
    check_set(traces, about.benchmark)
    for field, value in vars(about).items():
        if isinstance(value, str):
            check_text(field, value)
    data = to_parquet(traces)
    digest = hashlib.sha256(data).hexdigest()
    name = f"traces-{digest[:12]}.parquet"
    manifest = dataclasses.replace(about, files={name: digest}, **counts_of(traces))
    return StoredSource(TraceSet(manifest, list(traces), about.source), {name: data})


def unpack(manifest: Manifest, files: Mapping[str, bytes], folder: str) -> StoredSource:
    """Read the traces out of the bytes of a source, checking each file against its checksum.

    Args:
        manifest: of the source.
        files: the bytes of every file that the manifest names.
        folder: where they are from, for messages.

    Raises:
        CacheCorruptError: a file is changed or unreadable, or the rows are not what the manifest says.
    """
    traces: list[Trace] = []
    for name, expected in manifest.files.items():
        digest = hashlib.sha256(files[name]).hexdigest()
        if digest != expected:
            raise CacheCorruptError(
                f"{folder}/{name} has changed: its sha256 begins {digest[:12]}, its manifest says {expected[:12]}; "
                f"{RESTORE}"
            )
        try:
            rows = from_parquet(files[name])
            check_set(rows, manifest.benchmark)
        except TraceError as error:
            raise CacheCorruptError(f"{folder}/{name}: {error}; {RESTORE}") from error
        traces += rows
    if len(traces) != manifest.rows:
        raise CacheCorruptError(f"{folder} holds {len(traces)} traces, its manifest says {manifest.rows}; {RESTORE}")
    return StoredSource(TraceSet(manifest, traces, folder), dict(files))


def check_set(traces: Sequence[Trace], benchmark: str) -> None:
    """Refuse an empty set, traces of another benchmark, and duplicate items."""
    if not traces:
        raise TraceError(f"no traces of {benchmark}; at least one is needed")
    for trace in traces:
        if trace.benchmark != benchmark:
            raise TraceError(f"trace {trace.name} is not of {benchmark}; keep one benchmark to a source")
    item_id, times = Counter(trace.item_id for trace in traces).most_common(1)[0]
    if times > 1:
        raise TraceError(f"{times} traces of {benchmark} have the item_id {item_id}; each item has one trace")
