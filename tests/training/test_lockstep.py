"""Ranks with unequal work run the same number of forward passes; threads replace processes here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rbridge_tasks.training.lockstep import Lockstep, OutOfTimeError
from rbridge_tasks.training.ranks import Ranks


class ThreadRanks(Ranks):
    """Exchanges values between threads."""

    barrier: Any = None
    values: Any = None

    def gather(self, value: Any) -> list[Any]:
        self.values[self.rank] = value
        self.barrier.wait(timeout=30)
        values = list(self.values)
        self.barrier.wait(timeout=30)
        return values


def run(passes: list[int], late_after: int | None = None) -> tuple[list[int], list[str]]:
    """Run ranks with these numbers of batches; return the forward passes and the outcome of each rank."""
    size = len(passes)
    barrier, values = threading.Barrier(size), [None] * size
    calls, ends = [0] * size, [""] * size

    def rank_of(number: int) -> Callable[[], None]:
        ranks = ThreadRanks(number, size)
        object.__setattr__(ranks, "barrier", barrier)
        object.__setattr__(ranks, "values", values)

        def forward(ids: torch.Tensor) -> torch.Tensor:
            calls[number] += 1
            return torch.zeros(*ids.shape, 3)

        def work() -> None:
            is_late = (lambda: number == 0 and calls[0] == late_after) if late_after is not None else lambda: False
            lockstep = Lockstep(forward, ranks, torch.device("cpu"), is_late)
            try:
                for _ in range(passes[number]):
                    lockstep(torch.zeros(2, 5, dtype=torch.int64))
                lockstep.finish()
            except OutOfTimeError:
                ends[number] = "late"

        return work

    threads = [threading.Thread(target=rank_of(number)) for number in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return calls, ends


@pytest.mark.parametrize("passes", [[3, 3], [5, 1], [0, 4], [2, 7, 0], [0, 0]])
def test_every_rank_runs_as_many_passes_as_the_busiest(passes: list[int]) -> None:
    """Ranks with fewer or no batches run dummy passes."""
    assert run(passes) == ([max(passes)] * len(passes), [""] * len(passes))


@pytest.mark.parametrize("passes", [[5, 5], [1, 6], [6, 0]])
def test_one_late_rank_stops_all_before_the_same_pass(passes: list[int]) -> None:
    """No rank waits for a pass that the others do not run."""
    assert run(passes, late_after=2) == ([2, 2], ["late", "late"])
