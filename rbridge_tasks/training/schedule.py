"""When to score: every so many steps or minutes, decided alike on all ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from rbridge_tasks.training.ranks import Ranks


@dataclass
class Schedule:
    """Decides whether a step is scored.

    Minutes are those of rank 0. The ranks compare clocks at few steps only, which rank 0 foresees from the time per
    step: a comparison at every step would make the training wait for the device each time.

    Attributes:
        every_steps: score where this divides the step; None for no such rule.
        every_minutes: score when so much time has passed since the last scoring; None for no such rule. Without any
            rule, every step is scored.
        clock: seconds, from any origin.
    """

    every_steps: int | None
    every_minutes: float | None
    clock: Callable[[], float]
    _last: tuple[int, float] = field(default=(0, 0.0), init=False)
    _check_at: int = field(default=0, init=False)

    def due(self, step: int, ranks: Ranks) -> bool:
        """Whether to score at this step, after ``scored`` was called once. Every rank must ask at the same steps."""
        if self.every_steps is None and self.every_minutes is None:
            return True
        by_steps = self.every_steps is not None and step > 0 and step % self.every_steps == 0
        return by_steps or (step >= self._check_at and self._minutes_passed(step, ranks))

    def scored(self, step: int) -> None:
        """Start to count minutes anew."""
        self._last, self._check_at = (step, self.clock()), step + 1

    def _minutes_passed(self, step: int, ranks: Ranks) -> bool:
        if self.every_minutes is None:
            return False
        last_step, last_time = self._last
        passed, steps, interval = self.clock() - last_time, max(1, step - last_step), 60 * self.every_minutes
        ahead = math.ceil((interval - passed) * steps / passed) if passed > 0 else 1
        # At most as many steps ahead as were timed: the first step may include a compilation.
        due, self._check_at = ranks.gather((passed >= interval, step + max(1, min(ahead, steps))))[0]
        return due
