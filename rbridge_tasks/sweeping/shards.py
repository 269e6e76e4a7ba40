"""Result shards: a folder for each checkpoint and set of tasks, with lm-eval's files and a record of the settings."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_traces.files import sync, write_json

RECORD = "shard.json"


@dataclass(frozen=True)
class Shard:
    """A checkpoint and the tasks to score it on, in one start of a model."""

    checkpoint: Checkpoint
    settings: EvaluationSettings

    @property
    def name(self) -> str:
        """The folder of its results: readable, unique, and equal for equal checkpoint, tasks and settings."""
        checkpoint, tasks = self.checkpoint, sorted(self.settings.tasks)
        decisive = self.settings.decisive(checkpoint)
        key = json.dumps([checkpoint.pretrained, checkpoint.revision, tasks, decisive])
        readable = re.sub(r"[^\w.@-]+", "_", checkpoint.label.replace("/", "__"))[-80:]
        return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for ``from_dict`` in another process."""
        values: dict[str, Any] = _SHARD.dump_python(self, mode="json")
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Shard:
        """The shard that ``to_dict`` gave."""
        return _SHARD.validate_python(values)


_SHARD = TypeAdapter(Shard)


class Reference(BaseModel):
    """A checkpoint as lm-eval was given it; ``commit`` is None for a folder."""

    pretrained: str
    revision: str | None
    commit: str | None


class FileState(BaseModel):
    """SHA-256 of a file, its size and its times of change."""

    sha256: str
    stamps: list[int]


class ShardRecord(BaseModel):
    """The file ``shard.json`` of a finished shard.

    Attributes:
        settings: as ``EvaluationSettings.decisive`` gives them.
        files: state of each local file that decides the scores, by its path.
        traces: origin of the traces of each of our tasks, from lm-eval's results.
        seconds: that it took.
        with_start: whether the start of a process is part of ``seconds``.
        versions: of the packages that scored it.
    """

    model_config = ConfigDict(frozen=True)

    format: int = 1
    checkpoint: Reference
    tasks: tuple[str, ...]
    settings: dict[str, Any]
    files: dict[str, FileState]
    traces: dict[str, dict[str, Any]]
    seconds: float
    with_start: bool
    versions: dict[str, str] = {}


class OutputFolder:
    """The folder of a sweep: ``shards/``, ``logs/``, ``scores.*``, and ``work/`` while it runs."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100  # links stay as the user wrote them
        self.shards, self.logs, self.work = self.root / "shards", self.root / "logs", self.root / "work"
        self.failures, self.slurm, self.outdated = self.root / "failed", self.root / "slurm", self.root / "outdated"

    def make(self) -> None:
        """Make the folders.

        Raises:
            SweepError: they cannot be made there.
        """
        try:
            for folder in (self.shards, self.logs, self.work, self.failures):
                folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SweepError(f"cannot write to {self.root} ({reason}); give another --output") from error

    def has(self, name: str) -> bool:
        """Whether a shard is finished."""
        return (self.shards / name / RECORD).exists()

    def records(self) -> Iterator[tuple[str, ShardRecord]]:
        """The names and records of all finished shards, by name.

        Raises:
            SweepError: one of them cannot be read.
        """
        for path in sorted(self.shards.glob(f"*/{RECORD}")):
            yield path.parent.name, self.record(path.parent.name)

    def record(self, name: str) -> ShardRecord:
        """The record of a finished shard.

        Raises:
            SweepError: it cannot be read.
        """
        path = self.shards / name / RECORD
        try:
            return ShardRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SweepError(
                f"{path} is damaged ({type(error).__name__}); remove {path.parent}, and it is scored again"
            ) from error

    def put_aside(self, name: str) -> Path:
        """Move a shard out of the results and return its new place."""
        self.outdated.mkdir(exist_ok=True)
        number = 1
        while (place := self.outdated / f"{name}.{number}").exists():
            number += 1
        (self.shards / name).rename(place)
        return place

    def finish(self, shard: Shard, written: Path, record: ShardRecord) -> None:
        """Rename the folder that lm-eval wrote to the results of a shard: all of it or nothing.

        Where another process was faster, its results stay.
        """
        write_json(written / RECORD, record.model_dump(mode="json"))
        for file in written.rglob("*"):
            sync(file)
        try:
            written.rename(self.shards / shard.name)
        except OSError:
            if not self.has(shard.name):
                raise
        sync(self.shards)
        self.failure_file(shard.name).unlink(missing_ok=True)

    def failure_file(self, name: str) -> Path:
        """The file with the reason why a shard could not be scored."""
        return self.failures / f"{name}.json"

    def fail(self, name: str, reason: str) -> None:
        """Record that a shard could not be scored."""
        write_json(self.failure_file(name), {"reason": reason, "log": str(self.log(name))})

    def failure(self, name: str) -> str | None:
        """Why a shard could not be scored; None where no reason was recorded."""
        try:
            return str(json.loads(self.failure_file(name).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def log(self, name: str) -> Path:
        """The file with lm-eval's output."""
        return self.logs / f"{name}.log"

    def clear_work(self, name: str) -> None:
        """Remove the files that let an interrupted shard go on."""
        for folder in self.work.glob(f"{name}.*"):
            shutil.rmtree(folder, ignore_errors=True)
