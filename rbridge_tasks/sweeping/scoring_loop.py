"""The loop of a sweep: shards go to an executor, outcomes come back and are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rbridge_tasks.sweeping.executor import Executor, Outcome
from rbridge_tasks.sweeping.progress import Progress
from rbridge_tasks.sweeping.shards import OutputFolder, Shard

_POLL_SECONDS = 1.0
#: A sweep stops after so many failures without a success, or after so many equal ones: the request is wrong.
_HOPELESS, _HOPELESS_IF_EQUAL = 3, 2


@dataclass(frozen=True)
class FailedShard:
    """A checkpoint that could not be scored: its label, the reason and the file with lm-eval's output."""

    checkpoint: str
    reason: str
    log: str


@dataclass
class Tally:
    """The outcomes of a run.

    Attributes:
        scored: shards scored in this run.
        failed: shards that could not be scored.
        reasons: of failures that are not the fault of one machine.
    """

    scored: int = 0
    failed: list[FailedShard] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, folder: OutputFolder) -> None:
        """Count a shard."""
        if outcome.failure is None:
            self.scored += 1
            return
        log = str(folder.log(outcome.shard.name))
        self.failed.append(FailedShard(outcome.shard.checkpoint.label, outcome.failure, log))
        self.reasons += [] if outcome.lost else [outcome.failure]

    @property
    def hopeless(self) -> bool:
        """Whether so many shards have failed without a success that the rest would fail too."""
        enough = _HOPELESS_IF_EQUAL if len(set(self.reasons)) == 1 else _HOPELESS
        return self.scored == 0 and len(self.reasons) >= enough


def score_all(
    shards: Sequence[Shard], executor: Executor, folder: OutputFolder, progress: Progress, *, give_up: bool = True
) -> Tally:
    """Score shards; with ``give_up``, stop early where nothing works."""
    tally = Tally()
    executor.submit(shards)
    while executor.shards_left:
        for outcome in executor.wait(_POLL_SECONDS):
            tally.add(outcome, folder)
            progress.add(outcome, executor)
        progress.tick(executor)
        if give_up and tally.hopeless and (left := len(executor.shards_left)):
            progress.say(f"the first {len(tally.failed)} have all failed, so the other {left} are not tried")
            executor.cancel()
    return tally


def watch(
    find: Callable[[], Sequence[Shard]],
    executor: Executor,
    folder: OutputFolder,
    progress: Progress,
    *,
    after_each: Callable[[], None],
    ended: Callable[[Sequence[Shard], float], bool],
    poll_seconds: float,
) -> Tally:
    """Score checkpoints as they appear.

    Args:
        find: shards of complete checkpoints that were not given before, in the order of training.
        after_each: called after each scored checkpoint.
        ended: whether to stop, from the finished shards and the seconds since one was found or finished.
        poll_seconds: between two searches.
    """
    tally, finished = Tally(), list[Shard]()
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
            tally.add(outcome, folder)
            finished.append(outcome.shard)
            progress.add(outcome, executor)
            if outcome.failure is None:
                after_each()
        progress.tick(executor)
        since = time.monotonic() if outcomes or executor.shards_left else since
        if tally.hopeless:
            progress.say(f"the first {len(tally.failed)} have all failed, so the watch ends")
            executor.cancel()
            return tally
        if not executor.shards_left and ended(finished, time.monotonic() - since):
            return tally
