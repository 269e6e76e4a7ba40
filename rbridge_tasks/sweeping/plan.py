"""What of a sweep is there, what is to be scored, and what is left for later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rbridge_tasks.sweeping.checkpoints import Checkpoint, SweepError
from rbridge_tasks.sweeping.completeness import lacking
from rbridge_tasks.sweeping.identity import outdated
from rbridge_tasks.sweeping.settings import Settings
from rbridge_tasks.sweeping.shards import OutputFolder, Record, Shard, decisive

State = Literal["scored", "to score", "outdated", "incomplete"]


@dataclass(frozen=True)
class Planned:
    """A checkpoint and what there is to do for it.

    Attributes:
        state: "outdated" means that it is to be scored because something has changed since it was.
        why: what has changed, or what it lacks.
        shard: what is to be scored; None where nothing is, or nothing can be.
        replaced: finished shards that no longer stand, by name.
    """

    checkpoint: Checkpoint
    state: State
    why: str = ""
    shard: Shard | None = None
    replaced: tuple[str, ...] = ()


@dataclass
class Plan:
    """All checkpoints of a sweep, in the order of training."""

    checkpoints: list[Planned] = field(default_factory=list)

    @property
    def to_score(self) -> list[Shard]:
        """Shards that are missing."""
        return [one.shard for one in self.checkpoints if one.shard is not None]

    def count(self, state: State) -> int:
        """Checkpoints in a state."""
        return sum(one.state == state for one in self.checkpoints)


def plan(checkpoints: Iterable[Checkpoint], settings: Settings, folder: OutputFolder) -> Plan:
    """Compare what is asked for with the shards that are there.

    Of a checkpoint that was scored on some of the tasks with the same settings, the others are left to score.

    Raises:
        SweepError: a checkpoint was scored on one of the tasks with other settings: the two do not compare.
    """
    by_reference: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record in folder.records():
        by_reference[record.reference].append(record)
    return Plan([_planned(one, settings, by_reference[one.pretrained, one.revision], folder) for one in checkpoints])


def _planned(checkpoint: Checkpoint, settings: Settings, records: list[Record], folder: OutputFolder) -> Planned:
    reason = _incomplete(checkpoint, settings)
    if reason is not None and not records:
        return Planned(checkpoint, "incomplete", reason)
    changed = {} if reason is not None else {one.name: outdated(one, checkpoint, settings) for one in records}
    stale = {name: why for name, why in changed.items() if why is not None}
    why = next(iter(stale.values()), "")
    standing = [record for record in records if record.name not in stale]
    wanted = decisive(checkpoint, settings)
    covered: set[str] = set()
    for record in standing:
        if record.settings == wanted:
            covered.update(record.tasks)
        elif shared := [task for task in settings.tasks if task in record.tasks]:
            raise SweepError(_conflict(checkpoint, record, wanted, shared[0], folder))
    left = [task for task in settings.tasks if task not in covered]
    if not left:
        return Planned(checkpoint, "scored", why, replaced=tuple(stale))
    if reason is not None:
        return Planned(checkpoint, "incomplete", reason)
    shard = Shard(checkpoint, settings.for_tasks(left))
    return Planned(checkpoint, "outdated" if stale else "to score", why, shard, tuple(stale))


def _incomplete(checkpoint: Checkpoint, settings: Settings) -> str | None:
    """Why a checkpoint cannot be loaded yet; None where it can, or is the Hub's."""
    if not checkpoint.is_local:
        return None
    elsewhere = "tokenizer" in settings.of_model(checkpoint)
    return lacking(Path(checkpoint.pretrained), tokenizer_elsewhere=elsewhere and checkpoint.tokenizer is None)


def _conflict(
    checkpoint: Checkpoint, record: Record, wanted: dict[str, object], task: str, folder: OutputFolder
) -> str:
    name = next(key for key in {**wanted, **record.settings} if wanted.get(key) != record.settings.get(key))
    return (
        f"{folder.root} has {checkpoint.label} on {task} with {name} {record.settings.get(name)!r}, and now it is "
        f"{wanted.get(name)!r}; such scores do not compare, so give another --output, or remove {folder.root}"
    )
