"""From hidden states to log-probability, rank, entropy and maximum log-probability, without keeping the logits."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from rbridge_tasks.scoring.matrix_products import Factor, linear
from rbridge_tasks.scoring.threads import in_threads, take

Head = Callable[[torch.Tensor], torch.Tensor]
#: From the first and past-the-last id to logits of these ids less the target's of each row, in bits: (ids, rows),
#: float32, in memory that the caller may overwrite.
MakeBlock = Callable[[int, int], torch.Tensor]

#: Columns of the result of ``token_statistics``.
LOGPROB, RANK, ENTROPY, MAX_LOGPROB = range(4)

#: Bits in a nat: powers of two take a third of the time of powers of e.
_BITS = math.log2(math.e)
#: Logits kept at a time where all of a row are made at once.
_CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 1 << 30}
#: Rows, and logits, in a block that one thread makes and reduces at a time on a CPU: most of it stays in its own cache.
_BLOCK_ROWS, _BLOCK_LOGITS = 1280, 320 << 10
#: Blocks of rows that are dealt to threads together.
_BLOCKS_DEALT = 4
#: Blocks that each thread gets where there are enough ids: none waits long for the last one.
_BLOCKS_EACH = 4
#: Fewer logits are not worth a thread of their own.
_FEWEST_LOGITS = 1 << 19
#: Bits from a target's logit up to the highest, at most: float32 loses a share of it in sums told from the target.
_FARTHEST = 32
#: Rows of each factor of a matrix product, at least: a smaller one may sum in another order.
_FEWEST_IDS = 64


@dataclass(frozen=True)
class LinearHead:
    """An output projection of which any part can be applied by itself.

    Attributes:
        weight: shape (vocabulary, width).
        bias: shape (vocabulary,), or None.
        after: what the model does to each logit behind the projection; None for nothing.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    after: Head | None

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary)."""
        return self._logits(rows, slice(None))

    def blocks(self, rows: torch.Tensor, targets: torch.Tensor) -> MakeBlock:
        """What makes blocks of the logits of rows (rows, width), told from those of their targets (rows,).

        The target's own come out as 0 if the smaller product that they are taken from gives the last bit that the
        larger one gives; nothing promises that, and whoever needs it has to look.
        """
        if self.bias is None and self.after is None and self.weight.dtype == torch.float32:
            factor = Factor(rows * _BITS)
            below = self._of_targets(factor.columns, targets).neg_()
            return lambda start, stop: factor.linear(self.weight[start:stop], below)
        target = self._of_targets(rows, targets)

        def make(start: int, stop: int) -> torch.Tensor:
            logits = self._logits(rows, slice(start, stop)).float()
            return logits.t().sub_(target).mul_(_BITS)

        return make

    def _of_targets(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logit (rows,) of one token for each row, float32."""
        every = torch.arange(max(len(targets), _FEWEST_IDS)) % len(targets)
        parts = len(every) // _FEWEST_IDS
        pairs = zip(rows[every].tensor_split(parts), targets[every].tensor_split(parts), strict=True)
        found = [self._logits(some, ids).diagonal() for some, ids in pairs]
        return torch.cat(found)[: len(targets)].float()

    def _logits(self, rows: torch.Tensor, ids: slice | torch.Tensor) -> torch.Tensor:
        logits = linear(rows, self.weight[ids], None if self.bias is None else self.bias[ids])
        return logits if self.after is None else self.after(logits)


def token_statistics(
    hidden: torch.Tensor, targets: torch.Tensor, head: Head | LinearHead, *, compiled: bool = False
) -> torch.Tensor:
    """Score target tokens from the hidden states that predict them.

    Logits are made for a few rows at a time, on a CPU for a part of the vocabulary at a time, and reduced at once in
    float32, so the memory needed does not grow with the number of tokens.

    Args:
        hidden: shape (tokens, width), what enters the output projection.
        targets: shape (tokens,), ids of the tokens to score.
        head: from (rows, width) to logits (rows, vocabulary).
        compiled: whether logits are reduced by a compiled kernel, which reads them fewer times; not on a CPU.

    Returns:
        float64, shape (tokens, 4): log-probability, rank, entropy and maximum log-probability in natural units. Rank 1
        is the most probable token; a token of equal logit and lower id comes first. NaN where a logit is NaN.
    """
    rows = hidden.shape[0]
    if isinstance(head, LinearHead) and hidden.device.type == "cpu" and rows:
        dealt = _BLOCKS_DEALT * _BLOCK_ROWS
        of_parts = zip(torch.split(hidden, dealt), torch.split(targets, dealt), strict=True)
        return torch.cat([_from_linear_head(*part, head) for part in of_parts])
    reduce = _compiled_reduce() if compiled and hidden.device.type != "cpu" else _reduce
    result = torch.empty(rows, 4, dtype=torch.float64, device=hidden.device)
    done, step = 0, 16
    while done < rows:
        chunk = slice(done, done + step)
        done += step
        logits = head(hidden[chunk]).float()
        step = max(1, _CHUNK_BYTES.get(hidden.device.type, 256 << 20) // (4 * logits.shape[-1]))
        of_chunk = targets[chunk].to(logits.device)
        columns = _from_logits(logits, of_chunk) if logits.device.type == "cpu" else reduce(logits, of_chunk)
        result[chunk] = columns.to(result.device)
    return result


@torch.inference_mode()  # as in the threads: what gradients are asked of is multiplied in another way
def _from_linear_head(hidden: torch.Tensor, targets: torch.Tensor, head: LinearHead) -> torch.Tensor:
    targets, order = targets.sort()
    hidden = hidden[order]
    parts = -(-len(targets) // _BLOCK_ROWS)
    of_parts = zip(hidden.tensor_split(parts), targets.tensor_split(parts), strict=True)
    vocabulary = head.weight.shape[0]
    found = _reduce_blocks([_Blocks(head.blocks(*part), part[1], vocabulary) for part in of_parts])
    again = torch.nonzero(found.isnan().any(-1)).flatten()  # rare
    for row in torch.split(again, max(1, _CHUNK_BYTES["cpu"] // (4 * vocabulary))):
        found[row] = _reduce(head(hidden[row]).float(), targets[row])
    return torch.empty_like(found).index_copy_(0, order, found)


def _from_logits(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Columns from float32 logits (rows, vocabulary), which stay as they are."""
    targets, order = targets.sort()
    target = logits[order, targets]

    def make(start: int, stop: int) -> torch.Tensor:
        return logits[:, start:stop].index_select(0, order).t().sub_(target).mul_(_BITS)

    found = _reduce_blocks([_Blocks(make, targets, logits.shape[-1])])
    again = torch.nonzero(found.isnan().any(-1)).flatten()
    if again.numel():
        found[again] = _reduce(logits[order[again]], targets[again])
    return torch.empty_like(found).index_copy_(0, order, found)


class _Blocks:
    """Logits of some rows, less their target's, a part of the vocabulary at a time, each read while it is in the cache.

    Told from the target's logit, a token's place is a matter of signs and the sum of exponentials one of a single pass.

    Args:
        make: makes a block.
        targets: shape (rows,), ids, ascending.
        vocabulary: number of ids.
    """

    def __init__(self, make: MakeBlock, targets: torch.Tensor, vocabulary: int) -> None:
        rows, threads = len(targets), torch.get_num_threads()
        self.logits = rows * vocabulary
        ids = max(_FEWEST_IDS, min(_BLOCK_LOGITS // rows, vocabulary // (_BLOCKS_EACH * threads)))
        self._height = -(-vocabulary // -(-vocabulary // ids))  # as even as they come: see _FEWEST_IDS
        self._make, self._vocabulary = make, vocabulary
        starts = torch.arange(0, vocabulary, self._height)
        home = torch.searchsorted(starts, targets, right=True) - 1  # the block that a target lies in
        self._place = targets - starts[home]
        self._bounds = torch.searchsorted(home, torch.arange(len(starts) + 1)).tolist()
        # Of each block: how many logits are above the target's, the highest, the sum of exponentials, and that of their
        # products with the logits; and of the rows at home in it all logits.
        self._of_blocks = torch.empty(4, len(starts), rows)
        self._above, self._highest, self._total, self._expected = (kind.unbind() for kind in self._of_blocks)
        self._at_home = [torch.empty(self._height, 0)] * len(starts)

    def __len__(self) -> int:
        return len(self._at_home)

    def reduce(self, i: int, scratch: torch.Tensor) -> torch.Tensor:
        """Make and reduce a block, with the help of memory, which is returned for the next one if it can be."""
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
        logits[:, last:].ge_(0)  # of equal logits those of lower ids come first, and these ids are lower
        torch.sum(logits, 0, out=self._above[i])
        return scratch

    def columns(self) -> torch.Tensor:
        """The four columns (rows, 4), when all blocks are reduced.

        NaN in rows that have to be done in another way, from their highest logit: one is NaN, -inf, or far above the
        target's, or the target's is not the one in its block, so that ties would not be told.
        """
        self._at_home[-1] = pad(self._at_home[-1], (0, 0, 0, self._height - len(self._at_home[-1])), value=torch.nan)
        at_home = torch.cat(self._at_home, 1)
        ties = ((at_home == 0) & (torch.arange(self._height).unsqueeze(-1) < self._place)).sum(0)
        rank = 1 + ties + self._of_blocks[0].sum(0)
        highest = self._of_blocks[1].amax(0).double()
        total, expected = self._of_blocks[2:].sum(1, dtype=torch.float64)
        log_total = total.log2().clamp(min=highest)  # less it is by rounding only
        entropy = (log_total - expected / total).clamp(min=0)
        columns = torch.stack([-log_total / _BITS, rank, entropy / _BITS, (highest - log_total) / _BITS], dim=-1)
        found = at_home.gather(0, self._place.unsqueeze(0)).squeeze(0) == 0
        sound = found & (highest <= _FARTHEST) & columns.isfinite().all(-1)
        return columns.where(sound.unsqueeze(-1), torch.nan)


def _reduce_blocks(parts: Sequence[_Blocks]) -> torch.Tensor:
    """The four columns of all rows.

    Blocks are dealt to as many threads as torch has, each of which works by itself: threads that share every small step
    wait for each other at its end, and for other programs on the machine.
    """
    waiting = deque((part, i) for part in parts for i in range(len(part)))

    def reduce() -> None:
        """Reduce blocks until none waits."""
        scratch = torch.empty(0)
        for part, i in take(waiting):
            scratch = part.reduce(i, scratch)

    in_threads(reduce, max(1, min(torch.get_num_threads(), sum(part.logits for part in parts) // _FEWEST_LOGITS)))
    return torch.cat([part.columns() for part in parts])


@functools.cache
def _compiled_reduce() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return torch.compile(_reduce, dynamic=True)


def _reduce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The four columns from float32 logits (rows, vocabulary), without waiting for the device."""
    column = targets.unsqueeze(-1)
    target = logits.gather(-1, column)
    of_lower_id = torch.arange(logits.shape[-1], device=logits.device) < column
    rank = 1.0 + ((logits > target) | ((logits == target) & of_lower_id)).sum(-1)
    shifted = logits - logits.amax(-1, keepdim=True)
    probability = shifted.exp()
    total = probability.sum(-1)
    log_total = total.log()
    expected = torch.where(probability > 0, probability * shifted, 0.0).sum(-1)  # a logit of -inf counts as 0
    columns = [
        shifted.gather(-1, column).squeeze(-1) - log_total,
        torch.where(total.isnan(), torch.nan, rank),
        log_total - expected / total,
        -log_total,
    ]
    return torch.stack([column.double() for column in columns], dim=-1)
