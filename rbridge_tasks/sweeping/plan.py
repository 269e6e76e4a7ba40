"""Compare the checkpoints of a sweep with its finished shards: what is scored, what is left, what is incomplete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.sweeping.completeness import lacking
from rbridge_tasks.sweeping.identity import outdated
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder, Shard, ShardRecord

State = Literal["scored", "to score", "outdated", "incomplete"]
_Records = dict[str, ShardRecord]


@dataclass(frozen=True)
class PlannedCheckpoint:
    """A checkpoint and what is to be done for it.

    Attributes:
        state: "outdated" means that it is scored again because something has changed since it was scored.
        why: what has changed, or what it lacks.
        shard: what is to be scored; None where nothing is, or nothing can be.
        replaced: names of finished shards that are outdated.
    """

    checkpoint: Checkpoint
    state: State
    why: str = ""
    shard: Shard | None = None
    replaced: tuple[str, ...] = ()


@dataclass
class SweepPlan:
    """All checkpoints of a sweep, in the order of training."""

    checkpoints: list[PlannedCheckpoint] = field(default_factory=list)

    @property
    def to_score(self) -> list[Shard]:
        """Shards that are missing."""
        return [planned.shard for planned in self.checkpoints if planned.shard is not None]

    def in_state(self, state: State) -> list[PlannedCheckpoint]:
        """Checkpoints in a state."""
        return [planned for planned in self.checkpoints if planned.state == state]


def plan(checkpoints: Iterable[Checkpoint], settings: EvaluationSettings, folder: OutputFolder) -> SweepPlan:
    """Compare checkpoints with the shards that are finished.

    Where a checkpoint was scored on some of the tasks with the same settings, only the other tasks are left.

    Raises:
        SweepError: a checkpoint was scored on one of the tasks with other settings: the two do not compare.
    """
    by_reference: dict[tuple[str, str | None], _Records] = defaultdict(dict)
    for name, record in folder.records():
        by_reference[record.checkpoint.pretrained, record.checkpoint.revision][name] = record
    return SweepPlan(
        [
            _planned(checkpoint, settings, by_reference[checkpoint.pretrained, checkpoint.revision], folder)
            for checkpoint in checkpoints
        ]
    )


def _planned(
    checkpoint: Checkpoint, settings: EvaluationSettings, records: _Records, folder: OutputFolder
) -> PlannedCheckpoint:
    lack = _lack(checkpoint, settings)
    if lack is not None and not records:
        return PlannedCheckpoint(checkpoint, "incomplete", lack)
    changes = {} if lack is not None else {name: outdated(records[name], checkpoint, settings) for name in records}
    stale = {name: change for name, change in changes.items() if change is not None}
    why = next(iter(stale.values()), "")
    wanted = settings.decisive(checkpoint)
    covered: set[str] = set()
    for record in (record for name, record in records.items() if name not in stale):
        if record.settings == wanted:
            covered.update(record.tasks)
        elif shared := [task for task in settings.tasks if task in record.tasks]:
            raise SweepError(_conflict(checkpoint, record, wanted, shared[0], folder))
    left = tuple(task for task in settings.tasks if task not in covered)
    if not left:
        return PlannedCheckpoint(checkpoint, "scored", why, replaced=tuple(stale))
    if lack is not None:
        return PlannedCheckpoint(checkpoint, "incomplete", lack)
    shard = Shard(checkpoint, replace(settings, tasks=left))
    return PlannedCheckpoint(checkpoint, "outdated" if stale else "to score", why, shard, tuple(stale))


def _lack(checkpoint: Checkpoint, settings: EvaluationSettings) -> str | None:
    """Why a checkpoint cannot be loaded yet; None where it can, or is on the Hub."""
    if not checkpoint.is_local:
        return None
    elsewhere = settings.of_model(checkpoint).get("tokenizer") != checkpoint.tokenizer
    return lacking(Path(checkpoint.pretrained), tokenizer_elsewhere=elsewhere)


def _conflict(
    checkpoint: Checkpoint, record: ShardRecord, wanted: dict[str, object], task: str, folder: OutputFolder
) -> str:
    name = next(key for key in {**wanted, **record.settings} if wanted.get(key) != record.settings.get(key))
    return (
        f"{folder.root} has {checkpoint.label} on {task} with {name} {record.settings.get(name)!r}, and now it is "
        f"{wanted.get(name)!r}; such scores do not compare, so give another --output, or remove {folder.root}"
    )
