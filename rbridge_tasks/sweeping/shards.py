"""Result shards: a folder for each checkpoint and set of tasks, with what lm-eval wrote and what it was scored with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rbridge_tasks.sweeping.checkpoints import Checkpoint, SweepError
from rbridge_tasks.sweeping.settings import Settings, settings_of
from rbridge_traces.files import sync, write_json

RECORD = "shard.json"
_FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """A checkpoint and the tasks that it is to be scored on, in one start of a model."""

    checkpoint: Checkpoint
    settings: Settings

    @property
    def name(self) -> str:
        """The folder of its results: the same for the same checkpoint, tasks and settings, readable, and unique."""
        one = self.checkpoint
        key = json.dumps([one.pretrained, one.revision, sorted(self.settings.tasks), decisive(one, self.settings)])
        readable = re.sub(r"[^\w.@-]+", "_", one.label.replace("/", "__"))[-80:]
        return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"

    def as_json(self) -> dict[str, Any]:
        """For JSON, and back with ``shard_of``."""
        return {"checkpoint": asdict(self.checkpoint), "settings": self.settings.as_json()}


def shard_of(data: Mapping[str, Any]) -> Shard:
    """What ``as_json`` gave."""
    return Shard(Checkpoint(**data["checkpoint"]), settings_of(data["settings"]))


def decisive(checkpoint: Checkpoint, settings: Settings) -> dict[str, Any]:
    """All settings that the scores of a checkpoint depend on, for JSON."""
    own = settings.decisive()
    return own | {"model_args": own["model_args"] | json.loads(json.dumps(dict(checkpoint.model_args)))}


@dataclass(frozen=True)
class Record:
    """What a finished shard says of itself.

    Attributes:
        name: of its folder.
        reference: the checkpoint as lm-eval was given it: folder or name, and revision.
        settings: as ``decisive`` gives them.
        commit: of the Hub; None for a folder.
        files: of a folder, SHA-256, size and times of change of each file by its path.
        traces: of each of our tasks, where its traces came from, as lm-eval's results tell it.
        seconds: that it took.
        with_start: the start of a process is part of that.
    """

    name: str
    reference: tuple[str, str | None]
    tasks: tuple[str, ...]
    settings: dict[str, Any]
    commit: str | None
    files: dict[str, dict[str, Any]]
    traces: dict[str, dict[str, Any]]
    seconds: float
    with_start: bool


class OutputFolder:
    """Where a sweep keeps what it has: ``shards/``, ``logs/``, ``scores.*``, and while it is at work ``work/``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100  # links stay as the user wrote them
        self.shards, self.logs, self.work = self.root / "shards", self.root / "logs", self.root / "work"
        self.failures, self.slurm, self.outdated = self.root / "failed", self.root / "slurm", self.root / "outdated"

    def make(self) -> None:
        """Make the folders.

        Raises:
            SweepError: that is not possible there.
        """
        try:
            for folder in (self.shards, self.logs, self.work, self.failures):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SweepError(
                f"cannot write to {self.root} ({error.strerror or error}); give another --output"
            ) from error

    def has(self, name: str) -> bool:
        """Whether a shard is finished."""
        return (self.shards / name / RECORD).exists()

    def records(self) -> Iterator[Record]:
        """All finished shards, by name.

        Raises:
            SweepError: one of them cannot be read.
        """
        for path in sorted(self.shards.glob(f"*/{RECORD}")):
            yield self.record(path.parent.name)

    def record(self, name: str) -> Record:
        """What a finished shard says of itself.

        Raises:
            SweepError: it cannot be read.
        """
        path = self.shards / name / RECORD
        try:
            data = json.loads(path.read_bytes())
            checkpoint = data["checkpoint"]
            return Record(
                name, (checkpoint["pretrained"], checkpoint["revision"]), tuple(data["tasks"]), dict(data["settings"]),
                checkpoint["commit"], dict(data["files"]), dict(data["traces"]), float(data["seconds"]),
                bool(data["with_start"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise SweepError(
                f"{path} is damaged ({type(error).__name__}); remove {path.parent}, and it is scored again"
            ) from error

    def put_aside(self, name: str) -> Path:
        """Take a shard out of the results, without losing it, and say where it went."""
        self.outdated.mkdir(exist_ok=True)
        number = 1
        while (place := self.outdated / f"{name}.{number}").exists():
            number += 1
        (self.shards / name).rename(place)
        return place

    def finish(self, shard: Shard, written: Path, record: Mapping[str, Any]) -> None:
        """Make a folder that lm-eval wrote the results of a shard, whole or not at all.

        Where another process was faster, its results stay.
        """
        write_json(written / RECORD, {"format": _FORMAT, **record})
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
        """What says why a shard could not be scored."""
        return self.failures / f"{name}.json"

    def fail(self, name: str, reason: str) -> None:
        """Note that a shard could not be scored."""
        write_json(self.failure_file(name), {"reason": reason, "log": str(self.log(name))})

    def failure(self, name: str) -> str | None:
        """Why a shard could not be scored; None where nothing was noted."""
        try:
            return str(json.loads(self.failure_file(name).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def log(self, name: str) -> Path:
        """What lm-eval printed."""
        return self.logs / f"{name}.log"

    def clear_work(self, name: str) -> None:
        """Remove what was kept to go on with a shard after an interruption."""
        for folder in self.work.glob(f"{name}.*"):
            shutil.rmtree(folder, ignore_errors=True)
