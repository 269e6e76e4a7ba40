"""Reduce logits block by block: each block is small enough to stay in a processor's cache while it is reduced."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import pad

from rbridge_tasks.scoring.cpu.threads import in_threads, take

#: Makes the block of ids [start, stop): logits minus each row's target logit, in bits, shape (ids, rows), float32. The
#: caller may overwrite it.
MakeBlock = Callable[[int, int], torch.Tensor]

#: Bits in a nat: powers of two take a third of the time of powers of e.
BITS = math.log2(math.e)
#: Logits in a block, at most.
_BLOCK_LOGITS = 320 << 10
#: Blocks per thread, at least where there are enough ids: no thread waits long for the last block.
_BLOCKS_EACH = 4
#: Fewer logits are not worth a thread.
_FEWEST_LOGITS = 1 << 19
#: Largest gap, in bits, between the target's logit and the maximum. Above it float32 loses digits, and the row is
#: recomputed relative to its maximum.
_LARGEST_GAP = 32
#: Smallest number of ids in a matrix product: a smaller product may sum in another order.
FEWEST_IDS = 64


class Blocks:
    """Logits of some rows relative to their targets, reduced one part of the vocabulary at a time.

    Relative to the target's logit a rank is a count of signs, and the sum of exponentials needs a single pass.

    Args:
        make: makes a block.
        targets: shape (rows,), ids in ascending order.
        vocabulary: number of ids.
    """

    def __init__(self, make: MakeBlock, targets: torch.Tensor, vocabulary: int) -> None:
        rows, threads = len(targets), torch.get_num_threads()
        self.logits = rows * vocabulary
        ids = max(FEWEST_IDS, min(_BLOCK_LOGITS // rows, vocabulary // (_BLOCKS_EACH * threads)))
        self._height = -(-vocabulary // -(-vocabulary // ids))  # blocks of equal height: see FEWEST_IDS
        self._make, self._vocabulary = make, vocabulary
        starts = torch.arange(0, vocabulary, self._height)
        home = torch.searchsorted(starts, targets, right=True) - 1  # the block that holds the target
        self._place = targets - starts[home]
        self._bounds = torch.searchsorted(home, torch.arange(len(starts) + 1)).tolist()
        # Of each block: the count of logits above the target's, the maximum, the sum of exponentials, and the sum of
        # exponentials times logits. Of the rows whose target is in the block: all logits.
        self._of_blocks = torch.empty(4, len(starts), rows)
        self._above, self._highest, self._total, self._expected = (kind.unbind() for kind in self._of_blocks)
        self._at_home = [torch.empty(self._height, 0)] * len(starts)

    def __len__(self) -> int:
        return len(self._at_home)

    def reduce(self, i: int, scratch: torch.Tensor) -> torch.Tensor:
        """Make and reduce a block. Returns memory to pass as ``scratch`` with the next block."""
        start, first, last = i * self._height, self._bounds[i], self._bounds[i + 1]
        logits = self._make(start, min(start + self._height, self._vocabulary))
        if first < last:
            self._at_home[i] = logits[:, first:last].clone()
        if scratch.shape != logits.shape:
            scratch = torch.empty_like(logits)
        exponentials = torch.exp2(logits, out=scratch)
        torch.sum(exponentials, 0, out=self._total[i])
        torch.amax(logits, 0, out=self._highest[i])
        torch.sum(exponentials.mul_(logits), 0, out=self._expected[i])
        logits[:, :last].gt_(0)
        logits[:, last:].ge_(0)  # among equal logits the lower id comes first, and these ids are lower
        torch.sum(logits, 0, out=self._above[i])
        return scratch

    def columns(self) -> torch.Tensor:
        """The four columns (rows, 4) once all blocks are reduced.

        NaN in rows that must be recomputed from their maximum: a logit is NaN, -inf or far above the target's, or the
        target's own is not 0 in its block, so that ties would be missed.
        """
        self._at_home[-1] = pad(self._at_home[-1], (0, 0, 0, self._height - len(self._at_home[-1])), value=torch.nan)
        at_home = torch.cat(self._at_home, 1)
        ties = ((at_home == 0) & (torch.arange(self._height).unsqueeze(-1) < self._place)).sum(0)
        rank = 1 + ties + self._of_blocks[0].sum(0)
        highest = self._of_blocks[1].amax(0).double()
        total, expected = self._of_blocks[2:].sum(1, dtype=torch.float64)
        log_total = total.log2().clamp(min=highest)  # rounding alone can make it smaller
        entropy = (log_total - expected / total).clamp(min=0)
        columns = torch.stack([-log_total / BITS, rank, entropy / BITS, (highest - log_total) / BITS], dim=-1)
        target_is_zero = at_home.gather(0, self._place.unsqueeze(0)).squeeze(0) == 0
        sound = target_is_zero & (highest <= _LARGEST_GAP) & columns.isfinite().all(-1)
        return columns.where(sound.unsqueeze(-1), torch.nan)


def reduce_blocks(parts: Sequence[Blocks]) -> torch.Tensor:
    """The four columns of all rows of all parts.

    Each of torch's threads takes block after block. Threads that share every small operation would wait for each other
    at its end, and for other programs on the machine.
    """
    blocks = deque((part, i) for part in parts for i in range(len(part)))

    def reduce() -> None:
        scratch = torch.empty(0)
        for part, i in take(blocks):
            scratch = part.reduce(i, scratch)

    in_threads(reduce, max(1, min(torch.get_num_threads(), sum(part.logits for part in parts) // _FEWEST_LOGITS)))
    return torch.cat([part.columns() for part in parts])
