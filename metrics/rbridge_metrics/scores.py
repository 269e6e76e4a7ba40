"""Scores of traces from token NLLs and weights, and scores of tasks from traces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import ScoreError
from rbridge_metrics.weights import EQUAL_WITHIN


def trace_nll(nll: npt.ArrayLike) -> float:
    """Mean NLL over the tokens of a trace, in nats per token (the paper's R^phi; every weight 1).

    Args:
        nll: shape (tokens,), nats.

    Raises:
        ScoreError: no tokens, or an NLL that is not finite or below 0 (by more than rounding).

    >>> round(trace_nll([2.0, 1.0, 0.5]), 4)
    1.1667
    """
    return float(_nats(nll).mean())


def rbridge_nll(nll: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Weighted NLL of a trace: the mean over its T tokens of nll * weight, in nats per token.

    arXiv 2509.21013, Eq. 1. Divided by T, not by the sum of the weights.

    Args:
        nll: shape (tokens,), nats.
        weights: shape (tokens,), see ``minmax_weights`` and ``span_weights``.

    Raises:
        ScoreError: no tokens, different shapes, a value that is not finite, or an NLL below 0.

    >>> round(rbridge_nll([2.0, 1.0, 0.5], [0.7619, 0.0, 1.0]), 4)
    0.6746
    """
    return weighted_nats(nll, weights) / np.size(nll)


def weighted_nats(nll: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Sum over tokens of nll * weight, in nats: the numerator of rBridge NLL and of rBridge bits per byte.

    Raises:
        ScoreError: no tokens, different shapes, a value that is not finite, or an NLL below 0.
    """
    values, factors = _nats(nll), _finite(weights, "weight")
    if values.shape != factors.shape:
        raise ScoreError(f"{values.size} token NLLs but {factors.size} weights; one of each is needed")
    return float(values @ factors)


def bits_per_byte(nats: npt.ArrayLike, n_bytes: npt.ArrayLike) -> float:
    """Corpus-level bits per byte: sum of nats / (ln 2 * sum of bytes). Compares across tokenizers.

    Args:
        nats: shape (traces,), summed NLL (weighted or not) of each trace.
        n_bytes: shape (traces,), UTF-8 length of each trace.

    Raises:
        ScoreError: no traces, no bytes, different shapes, or a value that is not finite or below 0.

    >>> bits_per_byte([math.log(2) * 6, math.log(2) * 2], [3, 1])
    2.0
    """
    numerator, denominator = _nats_and_bytes(nats, n_bytes)
    return float(numerator.sum() / (math.log(2) * denominator.sum()))


def bits_per_byte_stderr(nats: npt.ArrayLike, n_bytes: npt.ArrayLike) -> float:
    """Standard error of ``bits_per_byte`` over traces, by the delta method for a ratio of means.

    With r the ratio sum(nats) / sum(bytes) and n traces: sqrt(n / (n - 1) * sum((nats - r * bytes)^2)) / sum(bytes),
    in bits. NaN for a single trace. Arguments and errors are those of ``bits_per_byte``.
    """
    numerator, denominator = _nats_and_bytes(nats, n_bytes)
    n = numerator.size
    if n < 2:
        return math.nan
    residual = numerator - numerator.sum() / denominator.sum() * denominator
    return float(math.sqrt(n / (n - 1) * (residual @ residual)) / denominator.sum() / math.log(2))


class TraceMoments(NamedTuple):
    """Sums of a trace from which scores with MinMax over the whole test set are computed at the end.

    Attributes:
        nats: sum of NLL over the trace's tokens.
        confident_nats: sum of NLL * confidence.
        tokens, n_bytes: size of the trace.
        low, high: smallest and largest token confidence of the trace.
    """

    nats: float
    confident_nats: float
    tokens: int
    n_bytes: int
    low: float
    high: float

    @classmethod
    def of(cls, nll: npt.ArrayLike, confidence: npt.ArrayLike, n_bytes: int) -> TraceMoments:
        """Reduce one trace; arrays of shape (tokens,)."""
        values = np.asarray(confidence, dtype=np.float64)
        return cls(
            nats=float(_nats(nll).sum()),
            confident_nats=weighted_nats(nll, values),
            tokens=values.size,
            n_bytes=n_bytes,
            low=float(values.min()),
            high=float(values.max()),
        )


def weighted_nats_over_test_set(moments: Sequence[TraceMoments]) -> FloatArray:
    """Sum of nll * weight of each trace, with weights MinMax-normalised over all traces given.

    Equal to weighting with ``minmax_weights_over_test_set`` and summing, without keeping the token arrays:
    sum(nll * (c - low) / (high - low)) = (sum(nll * c) - low * sum(nll)) / (high - low).

    Args:
        moments: one per trace of the test set.

    Returns:
        Shape (traces,), nats.

    Raises:
        ScoreError: no traces, or a moment that is not finite.
    """
    if not moments:
        raise ScoreError("no traces to score; at least one is needed")
    table = np.asarray(moments, dtype=np.float64)
    if not np.isfinite(table).all():
        at = int(np.argmin(np.isfinite(table).all(axis=1)))
        raise ScoreError(f"trace {at} of the test set contributes {moments[at]}; a score needs finite numbers")
    nats, confident = table[:, 0], table[:, 1]
    low, high = float(table[:, 4].min()), float(table[:, 5].max())
    if high - low <= EQUAL_WITHIN:
        return nats
    return (confident - low * nats) / (high - low)


def _finite(values: npt.ArrayLike, what: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{what} are no numbers ({error}); one number per token, or per trace, is needed") from error
    if not array.size:
        raise ScoreError(f"no {what} to score; at least one is needed")
    if array.ndim != 1:
        raise ScoreError(f"{what} of shape {array.shape}; one value per token, or per trace, is needed")
    if not np.isfinite(array).all():
        at = int(np.argmax(~np.isfinite(array)))
        raise ScoreError(f"{what} {array[at]} at position {at}; a score needs finite numbers")
    return array


def _nats(values: npt.ArrayLike) -> FloatArray:
    """Check negative log-likelihoods. Values far below 0 are log-probabilities with the wrong sign."""
    array = _finite(values, "NLL")
    if array.min() < -0.001:  # beyond the rounding of any back end
        at = int(np.argmin(array))
        raise ScoreError(f"NLL {array[at]} at position {at} is below 0; give the negative of the log-probability")
    return array


def _nats_and_bytes(nats: npt.ArrayLike, n_bytes: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    numerator, denominator = _nats(nats), _finite(n_bytes, "byte count")
    if numerator.shape != denominator.shape:
        raise ScoreError(f"NLL of {numerator.size} traces but {denominator.size} byte counts; one of each is needed")
    if denominator.min() < 0 or denominator.sum() == 0:
        raise ScoreError("bits per byte of traces without bytes; each trace needs text")
    return numerator, denominator
