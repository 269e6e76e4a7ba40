"""The course of a sweep: shards go to an executor, outcomes come back, and the score table is made of what is there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.sweeping.checkpoints import SweepError
from rbridge_tasks.sweeping.local import Outcome
from rbridge_tasks.sweeping.plan import Plan
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.shards import OutputFolder, Shard
from rbridge_tasks.tables.collect import Collected, collect
from rbridge_tasks.tables.rows import Note, counted
from rbridge_tasks.tables.score_table import write_scores
from rbridge_traces.files import LockedError, locked

_POLL_SECONDS = 1.0
#: So many failures, and no success before them, are one mistake in what was asked for and not so many bad checkpoints.
_HOPELESS, _HOPELESS_IF_EQUAL = 3, 2


class Executor(Protocol):
    """Who scores shards: workers on this machine, or jobs of Slurm."""

    @property
    def shards_left(self) -> Sequence[Shard]:
        """Shards that are not done with."""

    @property
    def left(self) -> int:
        """How many these are."""

    @property
    def at_work(self) -> Sequence[Shard]:
        """Those that are being scored now."""

    @property
    def at_once(self) -> int:
        """How many are scored at once."""

    @property
    def queued(self) -> int:
        """How many wait for a free machine of others."""

    def submit(self, shards: Sequence[Shard]) -> None:
        """Have shards scored."""

    def wait(self, seconds: float) -> list[Outcome]:
        """What was done with within so many seconds."""

    def cancel(self) -> None:
        """Score nothing more."""

    def end(self) -> None:
        """Let go of everything."""

    def interrupted(self) -> str:
        """Stop after Ctrl-C, and say how to go on."""


@dataclass(frozen=True)
class TableOptions:
    """How the score table is made; see ``scores.collect.collect``."""

    runs: str | None = None
    metrics: Sequence[str] = ()
    include_sample: bool = False


@dataclass
class Finished:
    """What came of a sweep.

    Attributes:
        scored: shards scored in this run.
        failed: label, reason and log of each that could not be.
        reasons: of those that say something about the others.
    """

    scored: int = 0
    failed: list[tuple[str, str, Path]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, folder: OutputFolder) -> None:
        """Count a shard."""
        if outcome.failure is None:
            self.scored += 1
            return
        self.failed.append((outcome.shard.checkpoint.label, outcome.failure, folder.log(outcome.shard.name)))
        self.reasons += [] if outcome.lost else [outcome.failure]

    @property
    def hopeless(self) -> bool:
        """Whether nothing has worked so often that the rest will not either."""
        enough = _HOPELESS_IF_EQUAL if len(set(self.reasons)) == 1 else _HOPELESS
        return self.scored == 0 and len(self.reasons) >= enough


@contextlib.contextmanager
def only_sweep(folder: OutputFolder) -> Iterator[None]:
    """Let one sweep at a time work in a folder. A process that dies releases it.

    Raises:
        SweepError: another sweep is at work there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.root / ".lock", wait=False))
        except LockedError as error:
            raise SweepError(
                f"another rbridge sweep is at work in {folder.root}; wait for it, or give another --output"
            ) from error
        yield


def set_aside(plan: Plan, folder: OutputFolder, say: Callable[[str], None]) -> None:
    """Take shards that no longer stand out of the results."""
    for one in plan.checkpoints:
        for name in one.replaced:
            place = folder.put_aside(name)
            say(f"{one.checkpoint.label}: {one.why}; its scores are in {place.relative_to(folder.root)} now")


def run(
    shards: Sequence[Shard],
    executor: Executor,
    folder: OutputFolder,
    progress: Progress,
    *,
    give_up: bool = True,
) -> Finished:
    """Score shards, and with ``give_up`` stop early where nothing works."""
    finished = Finished()
    executor.submit(shards)
    while executor.left:
        for outcome in executor.wait(_POLL_SECONDS):
            finished.add(outcome, folder)
            progress.add(outcome, executor)
        progress.tick(executor)
        if give_up and finished.hopeless and executor.left:
            progress.say(
                f"the first {len(finished.failed)} have all failed, so the other {executor.left} are not tried"
            )
            executor.cancel()
    return finished


def watch(
    find: Callable[[], Sequence[Shard]],
    executor: Executor,
    folder: OutputFolder,
    progress: Progress,
    *,
    renew: Callable[[], None],
    ended: Callable[[Sequence[Shard], float], bool],
    poll_seconds: float,
) -> Finished:
    """Score checkpoints as they appear.

    Args:
        find: shards of complete checkpoints that were not given before, in the order of training.
        renew: called after each checkpoint.
        ended: whether to stop looking, given the shards that are done with and the seconds since one was found or done.
        poll_seconds: between two looks.
    """
    finished, done = Finished(), list[Shard]()
    since, looked = time.monotonic(), -poll_seconds
    while True:
        if time.monotonic() - looked >= poll_seconds:
            looked = time.monotonic()
            if new := find():
                since = looked
                progress.more(len(new))
                executor.submit(new)
        outcomes = executor.wait(min(poll_seconds, _POLL_SECONDS))
        for outcome in outcomes:
            finished.add(outcome, folder)
            done.append(outcome.shard)
            progress.add(outcome, executor)
            if outcome.failure is None:
                renew()
        progress.tick(executor)
        since = time.monotonic() if outcomes or executor.left else since
        if finished.hopeless:
            progress.say(f"the first {len(finished.failed)} have all failed, so the watch ends")
            executor.cancel()
            return finished
        if not executor.left and ended(done, time.monotonic() - since):
            return finished


def make_table(folder: OutputFolder, options: TableOptions) -> Collected:
    """Collect all shards into ``scores.parquet`` and ``scores.csv``.

    Raises:
        RBridgeError: as ``rbridge collect`` does.
    """
    found = collect([folder.shards], runs=options.runs, metrics=options.metrics, include_sample=options.include_sample)
    for suffix in ("parquet", "csv"):
        write_scores(found.table, folder.root / f"scores.{suffix}")
    return found


def renewed_table(folder: OutputFolder, options: TableOptions) -> tuple[Collected | None, list[Note]]:
    """The table, or a note of why there is none: what has been scored is there all the same."""
    if not any(True for _ in folder.records()):
        return None, []
    try:
        found = make_table(folder, options)
    except RBridgeError as error:
        return None, [Note("no table", 1, f"no score table: {error}")]
    return found, found.notes


def failures_text(finished: Finished) -> list[str]:
    """A line for each checkpoint that could not be scored, and one that sums them up."""
    lines = [f"{label}: {reason} (log: {log})" for label, reason, log in finished.failed]
    if lines:
        lines.append(f"{counted(len(lines), 'checkpoint')} could not be scored; the same command tries them again")
    return lines
