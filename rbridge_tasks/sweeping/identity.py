"""Whether scoring a checkpoint again would give the finished shard: decided by content, never by dates."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.harness.task_options import OPTIONS
from rbridge_tasks.resume.model_files import model_files, sha256_of_files
from rbridge_tasks.sweeping.checkpoint import Checkpoint
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import FileState, ShardRecord
from rbridge_tasks.tables.lm_eval_results import benchmark_of
from rbridge_traces.definition import DEFINITION

#: Model arguments that name folders, and options of our tasks that name files.
_FOLDERS = ("pretrained", "tokenizer", "peft", "delta")
_FILES = tuple(option.name for option in OPTIONS if option.kind == "file")
_OF_TOKENIZERS = (
    "token", "tiktoken", "vocab", "merges", "special", "spiece", "sentencepiece", "added", "tekken", "chat_template",
)  # fmt: skip


def files_of(checkpoint: Checkpoint, settings: EvaluationSettings) -> list[Path]:
    """The local files that decide what a checkpoint scores: its own, those that model arguments and metadata name, and
    the definitions of benchmarks.

    A model on the Hub has no files of its own: its commit identifies it.
    """
    files: list[Path] = []
    for name, value in settings.of_model(checkpoint).items():
        if name in _FOLDERS and os.path.isdir(str(value)) and (checkpoint.is_local or name != "pretrained"):  # noqa: PTH112
            inside = model_files(Path(value))
            files += [file for file in inside if name != "tokenizer" or _of_tokenizer(file)]
    named = [Path(str(settings.metadata[name])) for name in _FILES if name in settings.metadata]
    named += _definitions(settings)
    return [*dict.fromkeys([*files, *(path for path in named if path.is_file())])]


def _of_tokenizer(file: Path) -> bool:
    return file.name.startswith(_OF_TOKENIZERS) or file.suffix == ".tiktoken"


def _definitions(settings: EvaluationSettings) -> list[Path]:
    """Where the definitions of the scored benchmarks would be; empty where the cache cannot be opened."""
    from rbridge_traces import resolve_cache

    names = [*map(benchmark_of, settings.tasks), *(settings.metadata.get("rbridge_group") or ())]
    location = settings.metadata.get("rbridge_cache")
    try:
        root = resolve_cache(str(location) if location else None).cache.root
    except RBridgeError:
        return []
    return [Path(root, str(name), DEFINITION) for name in names]


def stamps(files: list[Path]) -> dict[str, list[int]]:
    """Size and times of change of each file, by its path. They change when a file is replaced."""
    status = {str(file): file.stat() for file in files}
    return {path: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in status.items()}


def contents(files: list[Path]) -> dict[str, FileState]:
    """SHA-256 and stamps of each file, by its path. All bytes are read: about 1 GB/s and core."""
    seen = stamps(files)
    by_folder = {folder: [file for file in files if file.parent == folder] for folder in {f.parent for f in files}}
    sums = {
        str(folder / name): digest
        for folder, inside in by_folder.items()
        for name, digest in sha256_of_files(inside).items()
    }
    return {path: FileState(sha256=sums[path], stamps=stamp) for path, stamp in seen.items()}


def outdated(record: ShardRecord, checkpoint: Checkpoint, settings: EvaluationSettings) -> str | None:
    """What has changed since a shard was scored, in words; None where nothing has.

    A file with equal size and times counts as unchanged; any other is read.
    """
    if record.checkpoint.commit != checkpoint.commit:
        return f"{checkpoint.label} is another commit on the Hub now"
    files = files_of(checkpoint, settings)
    now = stamps(files)
    if missing := sorted({Path(path).name for path in record.files.keys() ^ now.keys()}):
        return f"{missing[0]} was added or removed"
    moved = [file for file in files if now[str(file)] != record.files[str(file)].stamps]
    read = contents(moved)
    changed = [file.name for file in moved if read[str(file)].sha256 != record.files[str(file)].sha256]
    if changed:
        return f"{changed[0]} has changed"
    return _traces_changed(record, settings.metadata.get("rbridge_cache"))


def _traces_changed(record: ShardRecord, location: object) -> str | None:
    for task, scored in record.traces.items():
        sources = _trace_sources(str(location) if location else None, benchmark_of(task))
        if not sources:
            continue  # nothing that could be scored instead
        unchanged = any(files == scored.get("files") for _, files in sources)
        real_traces = any(not sample for sample, _ in sources)
        if not unchanged or (scored.get("sample") and real_traces):
            return f"the traces of {task} have changed"
    return None


@functools.cache
def _trace_sources(location: str | None, benchmark: str) -> list[tuple[bool, dict[str, str]]]:
    """For each source of a benchmark in the cache: whether it is the sample, and the checksums of its files."""
    from rbridge_traces import resolve_cache

    try:
        return [(source.sample, source.files) for source in resolve_cache(location).cache.manifests(benchmark)]
    except RBridgeError:  # no cache can be reached
        return []
