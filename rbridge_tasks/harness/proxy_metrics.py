"""The proxies that the tasks ``rbridge_proxies_*`` report, under names that lm-eval finds.

Proxies weighted by token frequency need the token counts of all traces, so their items are token ids and ranks until
lm-eval aggregates them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lm_eval.api.registry import register_aggregation

from rbridge_metrics import ScoreError
from rbridge_metrics.proxies import frequency_weights, weighted_means
from rbridge_tasks.harness.metrics import registered, with_stderr
from rbridge_tasks.tables.catalogue import REPORTED_PROXIES


@dataclass(frozen=True)
class TokenRanks:
    """What a trace contributes to scores that are weighted by the frequency of its tokens in all traces.

    Attributes:
        token_id, rank: of the tokens that are scored, shape (tokens,).
    """

    token_id: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]

    def __str__(self) -> str:
        return f"{self.rank.size} tokens, see resps"


def _item_scores(items: Sequence[TokenRanks], top: int, *, inverse: bool) -> list[float]:
    """Accuracy of each trace, its tokens weighted by their frequency in all of them, or by the inverse of it."""
    if not items:
        raise ScoreError("no traces to score; at least one is needed")
    counts = np.bincount(np.concatenate([item.token_id for item in items]))
    scores = []
    for item in items:
        weights = frequency_weights(item.token_id, counts)
        hits = (item.rank <= top).astype(np.float64)
        scores.append(float(weighted_means(hits[None], (1 / weights if inverse else weights)[None])[0, 0]))
    return scores


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def _stderr(scores: Sequence[float]) -> float:
    """Standard error of a mean over traces, the frequencies taken as they are. NaN for a single trace."""
    n = len(scores)
    return float(np.std(scores, ddof=1)) / math.sqrt(n) if n > 1 else math.nan


@register_aggregation("top5_accuracy_by_trace_token_frequency")
@with_stderr(lambda items: _stderr(_item_scores(items, 5, inverse=False)))
def top5_accuracy_by_trace_token_frequency(items: Sequence[TokenRanks]) -> float:
    """Mean over traces, tokens weighted by how often they occur in all of them."""
    return _mean(_item_scores(items, 5, inverse=False))


@register_aggregation("top1_accuracy_by_inverse_trace_token_frequency")
@with_stderr(lambda items: _stderr(_item_scores(items, 1, inverse=True)))
def top1_accuracy_by_inverse_trace_token_frequency(items: Sequence[TokenRanks]) -> float:
    """Mean over traces, tokens weighted by one over how often they occur in all of them."""
    return _mean(_item_scores(items, 1, inverse=True))


#: Aggregation of each metric whose items are ``TokenRanks``.
BY_TRACE_TOKENS = {
    "top5_accuracy_by_frequency": "top5_accuracy_by_trace_token_frequency",
    "top1_accuracy_by_inverse_frequency": "top1_accuracy_by_inverse_trace_token_frequency",
}


top5_accuracy_by_frequency, top1_accuracy_by_inverse_frequency, entropy, reciprocal_rank, cross_entropy = map(
    registered, REPORTED_PROXIES
)
