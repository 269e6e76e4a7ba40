"""The schedule decides which steps are scored."""

from __future__ import annotations

from rbridge_tasks.training.ranks import Ranks
from rbridge_tasks.training.schedule import Schedule


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def scored_steps(schedule: Schedule, clock: Clock, seconds: list[float]) -> list[int]:
    """Steps that are scored if they take ``seconds``."""
    schedule.scored(0)
    steps = []
    for step, duration in enumerate(seconds, start=1):
        clock.now += duration
        if schedule.due(step, Ranks()):
            steps.append(step)
            schedule.scored(step)
    return steps


def test_every_few_steps() -> None:
    """Multiples of the interval are scored, so that a resumed run scores the same steps."""
    clock = Clock()
    assert scored_steps(Schedule(4, None, clock), clock, [1.0] * 12) == [4, 8, 12]


def test_every_few_minutes() -> None:
    """The first step after the interval is scored, also if the first steps are slow."""
    clock = Clock()
    assert scored_steps(Schedule(None, 1.0, clock), clock, [10.0] * 20) == [6, 12, 18]
    clock = Clock()
    steps = scored_steps(Schedule(None, 1.0, clock), clock, [50.0] + [1.0] * 100)
    assert steps[0] == 11


def test_without_a_rule_every_step_is_scored() -> None:
    """The training loop decides when it calls."""
    clock = Clock()
    assert scored_steps(Schedule(None, None, clock), clock, [1.0] * 3) == [1, 2, 3]


def test_clocks_are_compared_at_few_steps() -> None:
    """Each comparison waits for all ranks; an hour of one-second steps has at most 25."""
    clock, compared = Clock(), []

    class Counted(Ranks):
        def gather(self, value: object) -> list[object]:  # type: ignore[override]
            compared.append(value)
            return [value]

    schedule = Schedule(None, 60.0, clock)
    schedule.scored(0)
    for step in range(1, 3600):
        clock.now = float(step)
        assert not schedule.due(step, Counted())
    clock.now = 3600.0
    assert schedule.due(3600, Counted())
    assert len(compared) <= 25
