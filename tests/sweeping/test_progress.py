"""The remaining time is computed from measured shards, or reported as unknown or as a lower bound."""

from __future__ import annotations

import io
import math

from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.sweeping.checkpoint import Checkpoint
from rbridge_tasks.sweeping.executor import Outcome
from rbridge_tasks.sweeping.progress import Progress, Timing
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import Shard


def shard(size: int, number: int = 0) -> Shard:
    """Return a shard of a checkpoint with ``size`` bytes of weights."""
    return Shard(Checkpoint(f"/run-{size}/step{number}", weight_bytes=size), EvaluationSettings())


def test_the_time_is_unknown_before_the_first_measurement() -> None:
    """Without a measured shard the remaining time is NaN."""
    left = Timing().left([shard(10)], 1)
    assert math.isnan(left.seconds)
    assert str(left) == "time left not known yet"


@given(st.floats(0.1, 1e4), st.integers(1, 50), st.integers(1, 8))
def test_equal_shards_run_in_rounds(seconds: float, left: int, workers: int) -> None:
    """n shards of t seconds on w workers end after ceil(n / w) rounds of t seconds."""
    timing = Timing()
    timing.add(Outcome(shard(10), seconds))
    remaining = timing.left([shard(10, number) for number in range(left)], workers)
    assert math.isclose(remaining.seconds, math.ceil(left / workers) * seconds)
    assert not remaining.at_least


def test_a_size_that_was_not_measured_makes_a_lower_bound() -> None:
    """Jobs that wait for a node make a lower bound, too."""
    timing = Timing()
    timing.add(Outcome(shard(10**6), 5.0))
    assert str(timing.left([shard(10**6), shard(10**9)], 1)) == "at least 5 s left"
    assert str(timing.left([shard(10**6)], 1, queued=1)) == "at least 5 s left"
    assert str(timing.left([shard(10**6), shard(10**6)], 1)) == "about 10 s left"


def test_the_start_of_a_worker_counts_only_until_another_measurement() -> None:
    """Failures do not count."""
    timing = Timing()
    timing.add(Outcome(shard(10), 60.0, started=True))
    timing.add(Outcome(shard(10), failure="broken"))
    assert timing.left([shard(10)], 1).seconds == 60.0
    timing.add(Outcome(shard(10), 2.0))
    assert timing.left([shard(10)], 1).seconds == 2.0


def test_without_a_terminal_there_is_a_line_for_each_shard() -> None:
    """There is no bar and no escape sequence."""

    class Idle:
        left, shards_left, at_work, at_once, queued = 1, (shard(10),), (), 1, 0

    out = io.StringIO()
    with Progress(3, out) as progress:
        progress.add(Outcome(shard(10, 1), 61.0), Idle())  # type: ignore[arg-type]
        progress.add(Outcome(shard(10, 2), failure="no weights"), Idle())  # type: ignore[arg-type]
    assert (progress.done, progress.scored) == (2, 1)
    assert out.getvalue().splitlines() == [
        "1 of 3: run-10/step1, 1 min 1 s; about 1 min 1 s left",
        "2 of 3: run-10/step2, FAILED: no weights; about 1 min 1 s left",
    ]
