"""From hidden states to log-probability, rank, entropy and maximum log-probability, without keeping the logits."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from rbridge_tasks.backends.matrix_products import linear, multiplied_by_onednn

Head = Callable[[torch.Tensor], torch.Tensor]
#: From the first and past-the-last id, and float32 memory (rows, ids) that may be used for it, to the logits of these
#: ids, float32, which the caller may overwrite.
Block = Callable[[int, int, torch.Tensor], torch.Tensor]

#: Columns of the result of ``token_statistics``.
LOGPROB, RANK, ENTROPY, MAX_LOGPROB = range(4)

#: Logits kept at a time where all of a row are made at once.
_CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 1 << 30}
#: Rows, and columns at most, of a block of logits that one thread makes and reduces at a time on a CPU.
_BLOCK_ROWS, _BLOCK_COLUMNS = 4096, 256
#: Blocks that each thread gets where there are enough columns: none waits long for the last one.
_BLOCKS_EACH = 4
#: Fewer logits are not worth a thread of their own.
_FEWEST_LOGITS = 1 << 19
#: A narrower matrix product may sum in another order.
_FEWEST_COLUMNS = 64


@dataclass(frozen=True)
class LinearHead:
    """An output projection of which any part can be applied by itself.

    Attributes:
        weight: shape (vocabulary, width).
        bias: shape (vocabulary,), or None.
        after: what the model does to each logit behind the projection.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    after: Head

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary)."""
        return self.after(linear(rows, self.weight, self.bias))

    def block(self, rows: torch.Tensor, start: int, stop: int, memory: torch.Tensor) -> torch.Tensor:
        """Logits (rows, stop - start) of the tokens ``start`` to ``stop``, float32; see ``Block``."""
        weight, bias = self.weight[start:stop], None if self.bias is None else self.bias[start:stop]
        if multiplied_by_onednn(weight) or weight.dtype != torch.float32:
            return self.after(linear(rows, weight, bias)).float()
        if bias is None:
            return self.after(torch.mm(rows, weight.t(), out=memory))
        return self.after(torch.addmm(bias, rows, weight.t(), out=memory))

    def of_targets(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logit (rows,) of one token for each row, float32.

        Made by a matrix product like those of blocks, so that it comes out as there to the last bit; but nothing
        promises that, and whoever needs it so has to look.
        """
        found, parts = [], -(-len(targets) // _FEWEST_COLUMNS)
        for some, ids in zip(rows.tensor_split(parts), targets.tensor_split(parts), strict=True):
            columns = ids[torch.arange(_FEWEST_COLUMNS) % len(ids)]
            bias = None if self.bias is None else self.bias[columns]
            found.append(linear(some, self.weight[columns], bias).diagonal())
        return self.after(torch.cat(found).unsqueeze(-1)).squeeze(-1).float()


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
        parts = -(-rows // _BLOCK_ROWS)
        dealt = zip(hidden.tensor_split(parts), targets.tensor_split(parts), strict=True)
        return torch.cat([_from_linear_head(*part, head) for part in dealt])
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
    target = head.of_targets(hidden, targets)
    found = _in_blocks(functools.partial(head.block, hidden), targets, target, head.weight.shape[0])
    # A logit of -inf or NaN makes the sums over a block NaN, and so does a target's logit that is not what its block
    # has, with which ties would not be told. Such rows are rare and are done again, whole.
    again = torch.nonzero(found.isnan().any(-1)).flatten()
    for row in torch.split(again, max(1, _CHUNK_BYTES["cpu"] // (4 * head.weight.shape[0]))):
        found[row] = _reduce(head(hidden[row]).float(), targets[row])
    return torch.empty_like(found).index_copy_(0, order, found)


def _from_logits(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Columns from float32 logits (rows, vocabulary), which stay as they are."""
    targets, order = targets.sort()

    def block(start: int, stop: int, memory: torch.Tensor) -> torch.Tensor:
        return torch.index_select(logits[:, start:stop], 0, order, out=memory)

    target = logits[order, targets]
    found = _in_blocks(block, targets, target, logits.shape[-1])
    again = torch.nonzero(found.isnan().any(-1)).flatten()
    if again.numel():
        found[again] = _reduce(logits[order[again]], targets[again])
    return torch.empty_like(found).index_copy_(0, order, found)


def _in_blocks(block: Block, targets: torch.Tensor, target: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """The four columns from blocks of logits, each read while it is in the cache.

    Blocks are dealt to as many threads as torch has, each of which works by itself: threads that share every small step
    wait for each other at its end, and for other programs on the machine.

    Args:
        block: makes the logits of some ids.
        targets: shape (rows,), ids, ascending.
        target: shape (rows,), their logits.
        vocabulary: number of ids.

    Returns:
        Shape (rows, 4); NaN where a logit is not finite, or a target's is not the one in its block.
    """
    rows, threads = targets.shape[0], torch.get_num_threads()
    used = max(1, min(threads, rows * vocabulary // _FEWEST_LOGITS))
    columns = max(_FEWEST_COLUMNS, min(_BLOCK_COLUMNS, vocabulary // (_BLOCKS_EACH * used)))
    width = -(-vocabulary // -(-vocabulary // columns))  # as even as they come: see _FEWEST_COLUMNS
    starts = torch.arange(0, vocabulary + width, width)
    bounds = torch.searchsorted(targets, starts).tolist()
    # Of equal logits those of lower ids come first: before its own block a target is ranked as if it were a bit less.
    lower = torch.nextafter(target, torch.tensor(-torch.inf))
    own = torch.full((rows, width), torch.nan)  # the block that a row's target lies in
    # Of each block: the maximum, the probability of the maximum in it, and the mean distance from the maximum.
    maxima, top, mean = torch.empty(3, len(starts) - 1, rows)
    waiting = deque(enumerate(zip(starts.tolist(), bounds, bounds[1:], strict=False)))

    def reduce_blocks() -> torch.Tensor:
        """Reduce blocks until none waits; returns how many logits in them are above the target's."""
        above = torch.zeros(rows)
        memory, spare = torch.empty(2, rows * width)
        while waiting:
            try:
                i, (start, first, last) = waiting.popleft()
            except IndexError:  # another thread was faster
                break
            stop = min(start + width, vocabulary)
            scratch = spare[: rows * (stop - start)].view(rows, -1)
            logits = block(start, stop, memory[: scratch.numel()].view_as(scratch))
            own[first:last, : stop - start] = logits[first:last]
            threshold = torch.cat([target[:last], lower[last:]]).unsqueeze(-1)
            above += torch.gt(logits, threshold, out=scratch).sum(-1)
            torch.amax(logits, -1, out=maxima[i])
            logits.sub_(maxima[i].unsqueeze(-1))
            probability = torch.softmax(logits, -1, out=scratch)
            torch.amax(probability, -1, out=top[i])
            torch.sum(logits.mul_(probability), -1, out=mean[i])
        return above

    above = sum(_in_threads(reduce_blocks, used), torch.zeros(rows))
    column = (targets - starts[torch.searchsorted(starts, targets, right=True) - 1]).unsqueeze(-1)
    ties = ((own == target.unsqueeze(-1)) & (torch.arange(width) < column)).sum(-1)
    rank = torch.where(own.gather(-1, column).squeeze(-1) == target, 1 + above + ties, torch.nan)
    highest = maxima.amax(0)
    below = maxima.sub_(highest)
    shares = below.exp().div_(top)  # of a block in the sum of all, in units of the most probable token
    total = shares.sum(0, dtype=torch.float64)
    log_total = total.log()
    entropy = log_total - shares.mul_(below.add_(mean)).sum(0, dtype=torch.float64) / total
    return torch.stack([target.double() - highest - log_total, rank.double(), entropy, -log_total], dim=-1)


def _in_threads(work: Callable[[], torch.Tensor], used: int) -> list[torch.Tensor]:
    """Results of so many threads that all do ``work``, each without help of others."""
    if used == 1:
        return [work()]
    threads = torch.get_num_threads()

    def alone() -> torch.Tensor:
        with torch.inference_mode():
            return work()

    try:
        with ThreadPoolExecutor(used, initializer=_work_alone) as workers:
            return [future.result() for future in [workers.submit(alone) for _ in range(used)]]
    finally:
        torch.set_num_threads(threads)


def _work_alone() -> None:
    """Have the thread that calls this use no other."""
    torch.get_num_threads()  # makes what torch sets for a new thread on its first use be set now
    torch.set_num_threads(1)


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
