"""From hidden states to log-probability, rank, entropy and maximum log-probability, without keeping the logits."""

from __future__ import annotations

from collections.abc import Callable

import torch

Head = Callable[[torch.Tensor], torch.Tensor]

#: Columns of the result of ``token_statistics``.
LOGPROB, RANK, ENTROPY, MAX_LOGPROB = range(4)

_CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 1 << 30}


def token_statistics(hidden: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
    """Score target tokens from the hidden states that predict them.

    Logits are made for a few rows at a time and reduced at once in float32, so the memory needed does not grow with
    the number of tokens.

    Args:
        hidden: shape (tokens, width), what enters the output projection.
        targets: shape (tokens,), ids of the tokens to score.
        head: from (rows, width) to logits (rows, vocabulary).

    Returns:
        float64, shape (tokens, 4): log-probability, rank, entropy and maximum log-probability in natural units. Rank 1
        is the most probable token; a token of equal logit and lower id comes first. NaN where a logit is NaN.
    """
    result = torch.empty(hidden.shape[0], 4, dtype=torch.float64, device=hidden.device)
    rows = hidden.shape[0]
    done = 0
    step = 16
    while done < rows:
        chunk = slice(done, done + step)
        logits = head(hidden[chunk]).float()
        result[chunk] = _reduce(logits, targets[chunk].to(logits.device)).to(result.device)
        done += step
        step = max(1, _CHUNK_BYTES.get(hidden.device.type, 256 << 20) // (4 * logits.shape[-1]))
    return result


def _reduce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Reduce float32 logits (rows, vocabulary), which are overwritten, to the four columns."""
    column = targets.unsqueeze(-1)
    target = logits.gather(-1, column)
    # The sign of each difference by arithmetic: several times faster on a CPU than counting booleans. Two different
    # floats differ by far more than 1e-38, and counts up to 2^24 are exact in float32.
    sign = torch.sub(logits, target).mul_(3e38).clamp_(-1.0, 1.0)
    above_minus_below = sign.sum(-1)
    above_plus_below = sign.abs_().sum(-1)
    rank = 1 + (above_plus_below + above_minus_below) / 2
    ties = logits.shape[-1] - above_plus_below
    # Equal logits (common in bfloat16) are ordered by id; a target of -inf has no difference to others of -inf.
    exactly = torch.nonzero((ties > 1) | torch.isneginf(target.squeeze(-1))).flatten()
    if exactly.numel():
        rows, value = logits[exactly], target[exactly]
        lower_id = torch.arange(rows.shape[-1], device=rows.device) < column[exactly]
        rank[exactly] = 1 + ((rows > value) | ((rows == value) & lower_id)).sum(-1).float()
    logits.sub_(logits.amax(-1, keepdim=True))
    shifted_target = logits.gather(-1, column).squeeze(-1)
    probability = torch.exp(logits, out=sign)
    total = probability.sum(-1)
    expected = probability.mul_(logits).sum(-1)
    excluded = torch.isnan(expected) & ~torch.isnan(total)  # a logit of -inf: 0 * -inf counts as 0
    if bool(excluded.any()):
        rows = logits[excluded]
        expected[excluded] = (rows.exp() * rows.masked_fill(rows == -torch.inf, 0.0)).sum(-1)
    log_total = total.log()
    columns = [shifted_target - log_total, rank, log_total - expected / total, -log_total]
    return torch.stack([column.double() for column in columns], dim=-1)
