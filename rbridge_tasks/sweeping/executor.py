"""Who scores shards, and what became of a shard: the types that the local and the Slurm executor share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rbridge_tasks.sweeping.shards import Shard


@dataclass(frozen=True)
class Outcome:
    """The end of a shard.

    Attributes:
        seconds: that it took; None where it failed.
        failure: why it could not be scored.
        started: a worker was started for it, which is part of its time.
        lost: it failed because of the machine it was on, which says nothing about the next shard.
    """

    shard: Shard
    seconds: float | None = None
    failure: str | None = None
    started: bool = False
    lost: bool = False


class Executor(Protocol):
    """Scores shards by workers on this machine, or by jobs of Slurm."""

    @property
    def shards_left(self) -> Sequence[Shard]:
        """Shards without an outcome."""

    @property
    def at_work(self) -> Sequence[Shard]:
        """Shards that are being scored now."""

    @property
    def at_once(self) -> int:
        """How many shards are scored at once."""

    @property
    def queued(self) -> int:
        """How many shards wait for a free machine of a cluster."""

    def submit(self, shards: Sequence[Shard]) -> None:
        """Have shards scored."""

    def wait(self, seconds: float) -> list[Outcome]:
        """Return outcomes that arrive within ``seconds``, immediately if any are ready."""

    def cancel(self) -> None:
        """Score nothing more."""

    def end(self) -> None:
        """Release all processes."""

    def interrupted(self) -> str:
        """Stop after Ctrl-C, and say how to go on."""
