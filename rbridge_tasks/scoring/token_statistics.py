"""Reduce hidden states to log-probability, rank, entropy and maximum log-probability, without keeping the logits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rbridge_tasks.scoring.cpu import Blocks, Factor, MakeBlock, linear, reduce_blocks
from rbridge_tasks.scoring.cpu.blocks import BITS, FEWEST_IDS

Head = Callable[[torch.Tensor], torch.Tensor]

#: Columns of the result of ``token_statistics``.
LOGPROB, RANK, ENTROPY, MAX_LOGPROB = range(4)

#: Bytes of float32 logits at a time where whole rows are computed at once. Reducing them takes twice as much beside.
_CHUNK_BYTES = {"cpu": 16 << 20}
_CHUNK_BYTES_ELSEWHERE = 256 << 20
#: Rows in a block on a CPU, and blocks of rows that the threads work on together.
_BLOCK_ROWS, _BLOCKS_DEALT = 1280, 4


@dataclass(frozen=True)
class LinearHead:
    """An output projection that can be applied to part of the vocabulary.

    Attributes:
        weight: shape (vocabulary, width).
        bias: shape (vocabulary,), or None.
        after: what the model does to each logit after the projection; None for nothing.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    after: Head | None

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary)."""
        return self._logits(rows, slice(None))

    def blocks(self, rows: torch.Tensor, targets: torch.Tensor) -> MakeBlock:
        """A function that makes blocks of logits of rows (rows, width) relative to their targets (rows,).

        The target's logit comes from a smaller product. Where that rounds to another last bit, the target's relative
        logit is not 0; ``Blocks.columns`` checks this.
        """
        if self.bias is None and self.after is None and self.weight.dtype == torch.float32:
            factor = Factor(rows * BITS)
            below = self._of_targets(factor.columns, targets).neg_()
            return lambda start, stop: factor.linear(self.weight[start:stop], below)
        target = self._of_targets(rows, targets)

        def make(start: int, stop: int) -> torch.Tensor:
            logits = self._logits(rows, slice(start, stop)).float()
            return logits.t().sub_(target).mul_(BITS)

        return make

    def _of_targets(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logit (rows,) of each row's target, float32."""
        every = torch.arange(max(len(targets), FEWEST_IDS)) % len(targets)
        parts = len(every) // FEWEST_IDS
        pairs = zip(rows[every].tensor_split(parts), targets[every].tensor_split(parts), strict=True)
        logits = [self._logits(some, ids).diagonal() for some, ids in pairs]
        return torch.cat(logits)[: len(targets)].float()

    def _logits(self, rows: torch.Tensor, ids: slice | torch.Tensor) -> torch.Tensor:
        logits = linear(rows, self.weight[ids], None if self.bias is None else self.bias[ids])
        return logits if self.after is None else self.after(logits)


def token_statistics(
    hidden: torch.Tensor, targets: torch.Tensor, head: Head | LinearHead, *, compiled: bool = False
) -> torch.Tensor:
    """Score target tokens from the hidden states that predict them.

    Logits are computed for a few rows at a time, on a CPU for part of the vocabulary at a time, and reduced at once in
    float32. The memory needed does not grow with the number of tokens.

    Args:
        hidden: shape (tokens, width), the input of the output projection.
        targets: shape (tokens,), ids of the tokens to score.
        head: maps (rows, width) to logits (rows, vocabulary).
        compiled: reduce logits by a compiled kernel, which reads them fewer times; not on a CPU.

    Returns:
        float64, shape (tokens, 4): log-probability, rank, entropy and maximum log-probability in natural units. Rank 1
        is the most probable token; among equal logits the lower id comes first. NaN where a logit is NaN.
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
        step = max(1, _CHUNK_BYTES.get(hidden.device.type, _CHUNK_BYTES_ELSEWHERE) // (4 * logits.shape[-1]))
        of_chunk = targets[chunk].to(logits.device)
        columns = _from_logits(logits, of_chunk) if logits.device.type == "cpu" else reduce(logits, of_chunk)
        result[chunk] = columns.to(result.device)
    return result


@torch.inference_mode()  # as in the threads: with gradients enabled, torch multiplies in another way
def _from_linear_head(hidden: torch.Tensor, targets: torch.Tensor, head: LinearHead) -> torch.Tensor:
    targets, order = targets.sort()
    hidden = hidden[order]
    parts = -(-len(targets) // _BLOCK_ROWS)
    of_parts = zip(hidden.tensor_split(parts), targets.tensor_split(parts), strict=True)
    vocabulary = head.weight.shape[0]
    columns = reduce_blocks([Blocks(head.blocks(*part), part[1], vocabulary) for part in of_parts])
    again = torch.nonzero(columns.isnan().any(-1)).flatten()  # rare
    for row in torch.split(again, max(1, _CHUNK_BYTES["cpu"] // (4 * vocabulary))):
        columns[row] = _reduce(head(hidden[row]).float(), targets[row])
    return torch.empty_like(columns).index_copy_(0, order, columns)


def _from_logits(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Columns from float32 logits (rows, vocabulary), which are not changed."""
    targets, order = targets.sort()
    target = logits[order, targets]

    def make(start: int, stop: int) -> torch.Tensor:
        return logits[:, start:stop].index_select(0, order).t().sub_(target).mul_(BITS)

    columns = reduce_blocks([Blocks(make, targets, logits.shape[-1])])
    again = torch.nonzero(columns.isnan().any(-1)).flatten()
    if again.numel():
        columns[again] = _reduce(logits[order[again]], targets[again])
    return torch.empty_like(columns).index_copy_(0, order, columns)


@functools.cache
def _compiled_reduce() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return torch.compile(_reduce, dynamic=True)


def _reduce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The four columns from float32 logits (rows, vocabulary), without waiting for the device."""
    column = targets.unsqueeze(-1)
    target = logits.gather(-1, column)
    lower = torch.arange(logits.shape[-1], device=logits.device) < column
    rank = 1.0 + ((logits > target) | lower.logical_and_(logits == target)).sum(-1)
    highest = logits.amax(-1, keepdim=True)
    probability = (logits - highest).exp_()
    total = probability.sum(-1)
    log_total = total.log()
    minus_expected = torch.special.entr(probability).sum(-1)  # -p ln p; 0 for a logit of -inf
    columns = [
        (target - highest).squeeze(-1) - log_total,
        rank.masked_fill(total.isnan(), torch.nan),
        log_total + minus_expected / total,
        -log_total,
    ]
    return torch.stack([column.double() for column in columns], dim=-1)
