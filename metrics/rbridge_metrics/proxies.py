"""Proxy metrics over expert trajectories (arXiv 2605.18607): 10 statistics of each trace token under 8 weightings.

With token t of a trace, p_t the probability of the token and p_max that of the most probable one, H_t the entropy of
the predicted distribution divided by ln V, and r_t the rank of the token (1 is the most probable):

======================  ==========================        =======================  ==================================
statistic s_t           is                                weighting w_t            is
======================  ==========================        =======================  ==================================
cross_entropy           -ln p_t, nats                     uniform                  1
top1, 2, 3, 5_accuracy  1 if r_t <= 1, 2, 3, 5            probability              p_t
entropy                 H_t, 0 to 1                       improbability            1 - p_t
rank                    r_t                               entropy                  H_t
reciprocal_rank         1 / r_t                           inverse_entropy          1 / (H_t + ``entropy_floor``)
margin                  p_max - p_t                       frequency                f_t, of the token in a count table
wrong_confidence        p_max if r_t > 1, else 0          inverse_frequency        1 / f_t
..                      ..                                gaussian                 exp(-(s - mean s)^2 / 2h^2), s = NLL
======================  ==========================        =======================  ==================================

A proxy of a trace is sum(w_t s_t) / sum(w_t) over its last ``last_tokens`` tokens; of a task, the mean over traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import ScoreError
from rbridge_metrics.proxy_names import STATISTICS, WEIGHTINGS
from rbridge_metrics.token_scores import TokenScores

_TOKENS_AT_ONCE = 1 << 16  # keeps intermediate arrays in the processor's cache
_ROUNDING = 1e-3  # tolerance for probabilities above 1 and entropies below 0


@dataclass(frozen=True)
class ProxyParameters:
    """Parameters that the definitions leave open.

    Attributes:
        last_tokens: score this many tokens from the end of each trace; None for all.
        gaussian_width_nats: h of the Gaussian weighting.
        entropy_floor: added to the entropy, which is 0 to 1, before it is inverted. A certain token weighs at most
            about 1 / ``entropy_floor`` times as much as one of which the model knows nothing.
    """

    last_tokens: int | None = 1000
    gaussian_width_nats: float = 1.0
    entropy_floor: float = 0.01

    def __post_init__(self) -> None:
        if self.last_tokens is not None and self.last_tokens < 1:
            raise ScoreError(f"last_tokens is {self.last_tokens}; give at least 1, or None for all tokens")
        for name in ("gaussian_width_nats", "entropy_floor"):
            if not 0 < getattr(self, name) < np.inf:
                raise ScoreError(f"{name} is {getattr(self, name)}; give a positive number")


DEFAULTS = ProxyParameters()


def proxy_scores(
    scores: TokenScores, *, counts: npt.ArrayLike | None = None, parameters: ProxyParameters = DEFAULTS
) -> FloatArray:
    """All 80 proxies of one trace.

    Args:
        scores: of the trace, at least one token.
        counts: shape (vocabulary,), how often each token id occurs in some corpus; see ``frequency_weights``.
        parameters: see ``ProxyParameters``.

    Returns:
        Shape (10, 8), rows as in ``STATISTICS`` and columns as in ``WEIGHTINGS``. NaN in the cells that need missing
        data (entropies, maximum log-probabilities or ranks of the trace, counts), and nowhere else. If all weights of
        a trace are 0, its tokens count equally.

    Raises:
        ScoreError: no tokens, a number that is not finite, or is none of its kind, or a token beyond the counts.
    """
    result: FloatArray = proxy_scores_of_traces([scores], counts=counts, parameters=parameters)[0]
    return result


def proxy_scores_of_traces(
    traces: Sequence[TokenScores], *, counts: npt.ArrayLike | None = None, parameters: ProxyParameters = DEFAULTS
) -> FloatArray:
    """All 80 proxies of each trace: what ``proxy_scores`` gives for one at a time, several times faster.

    Args:
        traces: at least one token each; some may have entropies and others not.
        counts, parameters: as for ``proxy_scores``.

    Returns:
        Shape (traces, 10, 8).

    Raises:
        ScoreError: as ``proxy_scores``; names the trace by its place, from 0.
    """
    table = None if counts is None else np.asarray(counts)
    result = np.empty((len(traces), len(STATISTICS), len(WEIGHTINGS)))
    for first, stop in _blocks(traces):
        result[first:stop] = _score_block(traces[first:stop], table, parameters, first)
    return result


def last_tokens(array: npt.NDArray[np.generic], parameters: ProxyParameters) -> npt.NDArray[np.generic]:
    """The part of a per-token array that the proxies are computed from."""
    return array if parameters.last_tokens is None else array[-parameters.last_tokens :]


def frequency_weights(token_id: npt.ArrayLike, counts: npt.ArrayLike) -> FloatArray:
    """Relative frequency of each token in a count table. A token that was never counted is taken as counted once.

    Args:
        token_id: shape (tokens,), ids in the vocabulary.
        counts: shape (vocabulary,), occurrences of each id, 0 or more, at least one of them above 0.

    Returns:
        Shape (tokens,), above 0.

    Raises:
        ScoreError: nothing was counted, a count is below 0, or an id is not whole or beyond the table.

    >>> frequency_weights([0, 2, 1], [6, 2, 0])
    array([0.75 , 0.125, 0.25 ])
    """
    ids, table = np.asarray(token_id), np.asarray(counts)
    if table.ndim != 1 or table.dtype.kind not in "iuf":
        raise ScoreError(f"token counts of shape {table.shape} and type {table.dtype}; one number for each token id")
    if ids.size and ids.dtype.kind not in "iu":
        raise ScoreError(f"token ids of type {ids.dtype}; whole numbers are needed")
    total = table.sum()
    if not 0 < total < np.inf or table.min() < 0:
        raise ScoreError("token counts that are all 0, or below 0; count at least one token")
    if ids.size and not 0 <= ids.min() <= ids.max() < table.size:
        wrong = ids[(ids < 0) | (ids >= table.size)][0]
        raise ScoreError(
            f"token id {wrong} with counts of a vocabulary of {table.size} tokens; count with the tokenizer of the "
            "model that was scored"
        )
    weights: FloatArray = np.maximum(table[ids.astype(np.intp)], 1) / float(total)
    return weights


def weighted_means(statistics: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of each statistic under each weighting, sum(w s) / sum(w); the plain mean where all weights are 0.

    Args:
        statistics: shape (statistics, tokens), at least one token.
        weights: shape (weightings, tokens), 0 or more.

    Returns:
        Shape (statistics, weightings).

    >>> weighted_means(np.array([[1.0, 0.0, 1.0]]), np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0]])).round(4)
    array([[0.75  , 0.6667]])
    """
    total = weights.sum(axis=1)
    if not (total != 0).all():
        weights = np.where((total == 0)[:, None], 1.0, weights)
        total = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):  # NaN stays NaN, in its own row and column
        means: FloatArray = (statistics @ weights.T) / total
    return means


def _blocks(traces: Sequence[TokenScores]) -> Iterator[tuple[int, int]]:
    """Ranges of traces of a bounded number of tokens."""
    first, tokens = 0, 0
    for at, trace in enumerate(traces):
        if tokens and tokens + trace.logprob.size > _TOKENS_AT_ONCE:
            yield first, at
            first, tokens = at, 0
        tokens += trace.logprob.size
    if first < len(traces):
        yield first, len(traces)


def _score_block(
    traces: Sequence[TokenScores], counts: npt.NDArray[np.generic] | None, parameters: ProxyParameters, number: int
) -> FloatArray:
    """Proxies of some traces; ``number`` is the place of the first among all, for errors."""
    lengths = np.array([last_tokens(trace.logprob, parameters).size for trace in traces])
    if not lengths.all():
        raise ScoreError(f"trace {number + int(np.argmin(lengths))} has no tokens; a proxy needs at least one")
    ends = np.cumsum(lengths)
    starts = ends - lengths

    def column(name: str) -> FloatArray:
        """Numbers of all tokens, NaN for traces that do not have them."""
        arrays = [getattr(trace, name) for trace in traces]
        parts = [
            np.full(length, np.nan) if array is None else last_tokens(array, parameters)
            for array, length in zip(arrays, lengths, strict=True)
        ]
        joined = np.concatenate(parts).astype(np.float64)
        there = np.repeat([array is not None for array in arrays], lengths)
        low, high = _RANGES[name]
        wrong = there & ~(np.isfinite(joined) & (joined >= low) & (joined <= high))
        if wrong.any():
            at = int(np.argmax(wrong))
            trace = int(np.searchsorted(ends, at, side="right"))
            raise ScoreError(
                f"{name} {joined[at]:g} of token {at - starts[trace]} of trace {number + trace}; a proxy needs finite "
                f"numbers{'' if high == np.inf else f' of at most {high:g}'} there"
            )
        return joined

    logprob, rank = np.minimum(column("logprob"), 0.0), column("rank")
    p_max = np.exp(np.minimum(column("max_logprob"), 0.0))
    sizes = np.array([trace.vocab_size for trace in traces])
    if sizes.min() < 2:
        raise ScoreError(f"a vocabulary of {sizes.min()}; an entropy between 0 and 1 needs at least 2 tokens")
    entropy = np.maximum(column("entropy"), 0.0) / np.repeat(np.log(sizes), lengths)
    top1, top2, top3, top5 = (np.where(np.isnan(rank), np.nan, rank <= top) for top in (1, 2, 3, 5))
    statistics = np.stack([
        -logprob, top1, top2, top3, top5, entropy, rank, 1 / rank,
        np.maximum(p_max - np.exp(logprob), 0.0), p_max * (1 - top1),
    ])  # fmt: skip
    if counts is None:
        frequency = np.full(logprob.size, np.nan)
    else:
        frequency = frequency_weights(
            np.concatenate([last_tokens(trace.token_id, parameters) for trace in traces]), counts
        )
    # Weights of one trace may be multiplied by any number: the largest is 1, so that none of them vanishes in float64.
    scaled = np.exp(logprob - np.repeat(np.maximum.reduceat(logprob, starts), lengths))
    off = np.square(logprob - np.repeat(np.add.reduceat(logprob, starts) / lengths, lengths))
    off -= np.repeat(np.minimum.reduceat(off, starts), lengths)
    weights = np.stack([
        np.ones(logprob.size), scaled, -np.expm1(logprob), entropy, 1 / (entropy + parameters.entropy_floor),
        frequency, 1 / frequency, np.exp(off / (-2 * parameters.gaussian_width_nats**2)),
    ])  # fmt: skip
    bounds = pairwise([0, *ends.tolist()])
    return np.stack([weighted_means(statistics[:, start:end], weights[:, start:end]) for start, end in bounds])


_RANGES = {
    "logprob": (-np.inf, _ROUNDING),
    "max_logprob": (-np.inf, _ROUNDING),
    "entropy": (-_ROUNDING, np.inf),
    "rank": (1.0, np.inf),
}
