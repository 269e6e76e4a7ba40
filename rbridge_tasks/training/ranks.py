"""The processes that score together: one, or the ranks of a torch.distributed group."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

_T = TypeVar("_T")


@dataclass(frozen=True)
class Ranks:
    """A group of processes.

    Attributes:
        rank: of this process.
        size: number of processes.
        group: of torch.distributed; None for the default group.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def of(cls, group: Any = None) -> Ranks:
        """The ranks of a group; a single process where torch.distributed is not initialised."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(group), distributed.get_world_size(group), group)

    def gather(self, value: _T) -> list[_T]:
        """The values of all ranks, in their order. Every rank must call this."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self.group)
        return values

    def share(self, costs: Sequence[float]) -> list[int]:
        """Indices of the items of this rank: the costliest items first, each to the rank with the least to do.

        Args:
            costs: of all items, the same on every rank.

        >>> [Ranks(rank, 2).share([5, 1, 4, 3]) for rank in range(2)]
        [[0, 1], [2, 3]]
        """
        loads = [(0.0, rank) for rank in range(self.size)]
        own = []
        for item in sorted(range(len(costs)), key=lambda item: -costs[item]):
            load, rank = heapq.heappop(loads)
            heapq.heappush(loads, (load + costs[item], rank))
            if rank == self.rank:
                own.append(item)
        return sorted(own)
