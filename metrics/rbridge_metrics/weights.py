"""Token weights: confidences rescaled to [0, 1], or 0/1 from marked spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray, span_overlap
from rbridge_metrics.errors import ScoreError

#: Smaller differences of confidences count as zero: they are rounding errors, which MinMax would stretch to 0..1.
EQUAL_WITHIN = 1e-9


def minmax_weights(confidence: npt.ArrayLike) -> FloatArray:
    """Rescale the confidences of one trace to [0, 1] (MinMax step of Algorithm 1, arXiv 2509.21013).

    Args:
        confidence: shape (tokens,), confidence of each proxy token, see ``token_confidence``.

    Returns:
        Weights, shape (tokens,). If every confidence is equal (to 1e-9), all weights are 1: nothing is singled out and
        the score falls back to the plain NLL.

    Raises:
        ScoreError: no tokens, a confidence that is not finite, or a wrong shape.

    >>> minmax_weights([0.9, 0.58, 1.0]).round(4)
    array([0.7619, 0.    , 1.    ])
    """
    values = np.asarray(confidence, dtype=np.float64)
    return _rescale(values, *confidence_range([values]))


def minmax_weights_over_test_set(confidences: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    """Rescale with the minimum and maximum over all traces of the test set instead of one trace.

    Args:
        confidences: one array of shape (tokens of that trace,) per trace.

    Returns:
        One array of weights per trace, shapes as given.

    Raises:
        ScoreError: no tokens at all, a confidence that is not finite, or a wrong shape.

    >>> minmax_weights_over_test_set([[0.2, 0.4], [0.6]])
    [array([0. , 0.5]), array([1.])]
    """
    arrays = [np.asarray(values, dtype=np.float64) for values in confidences]
    low, high = confidence_range(arrays)
    return [_rescale(values, low, high) for values in arrays]


def span_weights(
    token_start: npt.ArrayLike, token_end: npt.ArrayLike, spans: Sequence[tuple[int, int]] | npt.ArrayLike
) -> FloatArray:
    """Weight 1 for tokens that overlap a marked span, 0 for the others (mask mode of the authors' release).

    Arguments, result shape and errors are those of ``span_overlap``.

    >>> span_weights([0, 3], [3, 5], [(3, 4)])
    array([0., 1.])
    """
    return span_overlap(token_start, token_end, spans).astype(np.float64)


def confidence_range(confidences: Sequence[FloatArray]) -> tuple[float, float]:
    """Minimum and maximum confidence over traces; the two numbers of the MinMax step.

    Raises:
        ScoreError: no tokens at all, a confidence that is not finite, or a wrong shape.
    """
    for values in confidences:
        if values.ndim != 1:
            raise ScoreError(f"token confidences of shape {values.shape}; (tokens,) of each trace is needed")
    filled = [values for values in confidences if values.size]
    if not filled:
        raise ScoreError("no token confidences to rescale; a trace needs at least one token")
    extremes = np.array([(values.min(), values.max()) for values in filled])
    if not np.isfinite(extremes).all():
        raise ScoreError("a token confidence is NaN or infinite; confidences are probabilities in [0, 1]")
    return float(extremes[:, 0].min()), float(extremes[:, 1].max())


def _rescale(values: FloatArray, low: float, high: float) -> FloatArray:
    if high - low <= EQUAL_WITHIN:
        return np.ones_like(values)
    return (values - low) / (high - low)
