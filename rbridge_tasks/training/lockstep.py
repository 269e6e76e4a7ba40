"""Forward passes that all ranks run together: with sharded parameters, each pass of one rank needs all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rbridge_tasks.training.ranks import Ranks

_DUMMY_TOKENS = 8


class OutOfTimeError(Exception):
    """The time budget is spent; control flow inside this package, never seen by a caller."""


@dataclass(frozen=True)
class Lockstep:
    """A function from token ids to logits of which every rank runs the same number of calls.

    Before each call the ranks exchange whether they have work. A rank without work calls the function with dummy ids
    (``finish``) until no rank has any. Batches need not be equal: a rank may halve a batch or read a text in parts.

    Attributes:
        forward: the function.
        ranks: who calls it.
        device: where dummy ids are put.
        is_late: whether this rank's time is spent; all ranks then stop before the same call.
    """

    forward: Callable[[torch.Tensor], torch.Tensor]
    ranks: Ranks
    device: torch.device
    is_late: Callable[[], bool]

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of this rank's ids.

        Raises:
            OutOfTimeError: on all ranks together.
        """
        self._any_works(works=True)
        return self.forward(ids)

    def finish(self) -> None:
        """Take part in the calls of the other ranks until none has work.

        Raises:
            OutOfTimeError: on all ranks together.
        """
        dummy = torch.zeros(1, _DUMMY_TOKENS, dtype=torch.int64, device=self.device)
        while self._any_works(works=False):
            self.forward(dummy)

    def _any_works(self, *, works: bool) -> bool:
        working, late = zip(*self.ranks.gather((works, self.is_late())), strict=True)
        if any(late) and any(working):
            raise OutOfTimeError
        return any(working)
