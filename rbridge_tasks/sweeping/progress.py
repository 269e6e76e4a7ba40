"""The progress of a sweep and its time left, estimated from durations measured in this run only."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, TextIO

from rbridge_tasks.sweeping.executor import Executor, Outcome
from rbridge_tasks.sweeping.shards import Shard
from rbridge_tasks.visible_text import shortened

Group = tuple[Any, ...]
_SHORT = 120  # characters of a failure; the end of the sweep prints all of it


class TimeLeft(NamedTuple):
    """Seconds left; a lower bound where a kind of shard was never measured, or shards wait for a free machine."""

    seconds: float
    at_least: bool

    def __str__(self) -> str:
        if math.isnan(self.seconds):
            return "time left not known yet"
        return f"{'at least ' if self.at_least else 'about '}{duration(self.seconds)} left"


def group_of(shard: Shard) -> Group:
    """Shards of one group take about the same time: the same tasks with weights of the same size."""
    checkpoint = shard.checkpoint
    size = round(math.log(checkpoint.weight_bytes), 1) if checkpoint.weight_bytes else checkpoint.named.params
    return (size if size is not None else checkpoint.pretrained, shard.settings.tasks)


class Timing:
    """Durations of the shards that this run has scored."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[Group, bool], list[float]] = defaultdict(list)

    def add(self, outcome: Outcome) -> None:
        """Add the duration of a scored shard."""
        if outcome.seconds is not None:
            self._seconds[group_of(outcome.shard), outcome.started].append(outcome.seconds)

    def of(self, group: Group) -> float | None:
        """Median seconds of a shard of a group, without the start of a worker where such durations are known."""
        seconds = self._seconds.get((group, False)) or self._seconds.get((group, True))
        return statistics.median(seconds) if seconds else None

    def left(self, shards: Sequence[Shard], at_once: int, *, queued: int = 0) -> TimeLeft:
        """How long the shards without an outcome will take.

        Args:
            shards: those without an outcome.
            at_once: how many are scored at once.
            queued: how many of them wait for a free machine, for an unknown time.

        Returns:
            Medians of the durations of each group, spread over the workers; NaN while nothing was measured.
        """
        known = [seconds for seconds in map(self.of, map(group_of, shards)) if seconds is not None]
        if not known:
            return TimeLeft(0.0 if not shards else math.nan, at_least=False)
        rounds = max(math.ceil(len(known) / max(at_once, 1)), 1)
        seconds = max(sum(known) / max(at_once, 1), statistics.median(known) * rounds)
        return TimeLeft(seconds, at_least=len(known) < len(shards) or queued > 0)


def duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> duration(42.4), duration(312), duration(7500), duration(200_000)
    ('42 s', '5 min 12 s', '2 h 5 min', '2 d 7 h')
    """
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


class Progress:
    """Prints the progress after each shard: a bar on a terminal, a line elsewhere.

    Args:
        total: shards to score in this run.
        file: where to.
    """

    def __init__(self, total: int, file: TextIO | None = None) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self.timing = Timing()
        self._file = file or sys.stderr
        self._started = time.monotonic()
        self._bar: Any = None

    @property
    def scored(self) -> int:
        """Shards scored so far."""
        return self.done - self.failed

    def __enter__(self) -> Progress:
        if self._file.isatty():
            from rich import progress
            from rich.console import Console

            parts = (
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
            )
            self._bar = progress.Progress(*parts, console=Console(file=self._file), transient=True)
            self._task = self._bar.add_task("Scoring", total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def more(self, count: int) -> None:
        """Add shards to score."""
        self.total += count
        if self._bar is not None:
            self._bar.update(self._task, total=self.total)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._file, flush=True)

    def add(self, outcome: Outcome, executor: Executor) -> None:
        """Report an outcome."""
        self.done += 1
        self.failed += outcome.failure is not None
        self.timing.add(outcome)
        label = outcome.shard.checkpoint.label
        failure = shortened(outcome.failure or "", _SHORT)
        how = f"FAILED: {failure}" if failure else duration(outcome.seconds or 0)
        left = f"; {self.left(executor)}" if executor.shards_left else ""
        self.say(f"{self.done} of {self.total}: {label}, {how}{left}")
        self.tick(executor)

    def tick(self, executor: Executor) -> None:
        """Refresh the bar."""
        if self._bar is not None:
            at_work = ", ".join(shard.checkpoint.label for shard in executor.at_work[:3])
            text = f"{at_work or 'waiting'} ({self.left(executor)})" if executor.shards_left else "Scoring"
            self._bar.update(self._task, completed=self.done, description=text)

    def left(self, executor: Executor) -> TimeLeft:
        """How long the rest will take."""
        return self.timing.left(executor.shards_left, executor.at_once, queued=executor.queued)
