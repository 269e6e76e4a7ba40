"""MinMax and span weights: range, order, invariance, and refusal of bad confidences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rbridge_metrics import RBridgeError, ScoreError, minmax_weights, minmax_weights_over_test_set, span_weights

from . import reference
from .strategies import cases, confidences

# Weights are divided by a range of at least 1e-9 (below it all are 1), and float64 rounds a confidence by 1e-16: the
# error is at most 1e-6. The second bound is for ranges above 0.001.
WORST, USUAL = 1e-6, 1e-12
MISSING: Any = None  # what a null in JSON becomes


def test_worked_example_of_the_design() -> None:
    """Confidences 0.9, 0.58, 1.0 become 0.32 / 0.42 = 0.7619, 0 and 1."""
    np.testing.assert_allclose(minmax_weights([0.9, 0.58, 1.0]), [0.32 / 0.42, 0.0, 1.0], rtol=1e-12)


def test_test_set_scope_uses_one_range_for_all_traces() -> None:
    """Traces (0.2, 0.6) and (0.7, 1.0) share the minimum 0.2 and the range 0.8: 0, 0.5 and 0.625, 1."""
    first, second = minmax_weights_over_test_set([[0.2, 0.6], [0.7, 1.0]])
    np.testing.assert_allclose(first, [0.0, 0.5], rtol=1e-12)
    np.testing.assert_allclose(second, [0.625, 1.0], rtol=1e-12)


def test_trace_without_tokens_stays_empty_in_a_test_set() -> None:
    """An empty trace gets no weights and does not change those of other traces."""
    empty, full = minmax_weights_over_test_set([[], [0.2, 0.6]])
    assert empty.shape == (0,)
    assert full.tolist() == [0.0, 1.0]


def test_span_weights_are_one_inside_and_zero_outside() -> None:
    """``[start, end)`` = [2, 5) over tokens [0, 2), [2, 3), [3, 6), [6, 7)."""
    assert span_weights([0, 2, 3, 6], [2, 3, 6, 7], [(2, 5)]).tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("confidence", [[0.7], [0.3] * 5, [0.0, 0.0], [1.0, 1.0], [0.1 + 0.2, 0.3, 0.6 / 2]])
def test_equal_confidences_give_equal_weights(confidence: list[float]) -> None:
    """All weights are 1 when the confidences are equal up to rounding."""
    assert minmax_weights(confidence).tolist() == [1.0] * len(confidence)


@cases(1000)
@given(confidences())
def test_weights_span_zero_to_one_in_the_order_of_the_confidences(confidence: list[float]) -> None:
    """Exactly 0, exactly 1, the rest between, in the order of the confidences; or 1 for all."""
    weights = minmax_weights(confidence)
    if max(confidence) - min(confidence) <= reference.EQUAL_WITHIN:
        assert (weights == 1).all()
        return
    assert weights.min() == 0
    assert weights.max() == 1
    assert (np.diff(weights[np.argsort(confidence)]) >= 0).all()
    np.testing.assert_allclose(weights, reference.minmax_weights(confidence), rtol=0, atol=WORST)


@cases(700)
@given(confidences(), st.floats(1e-3, 1e3), st.floats(-1.0, 1.0))
def test_weights_ignore_scale_and_offset_of_the_confidences(
    confidence: list[float], scale: float, offset: float
) -> None:
    """``scale * confidence + offset`` gives the same weights, up to the rounding of that expression."""
    spread = max(confidence) - min(confidence)
    assume(spread > 1e-3)
    moved = minmax_weights(scale * np.array(confidence) + offset)
    rounding = 8 * np.finfo(np.float64).eps * (scale + abs(offset)) / (scale * spread)
    np.testing.assert_allclose(moved, minmax_weights(confidence), rtol=0, atol=rounding)


@cases(700)
@given(st.lists(confidences(), min_size=1, max_size=6))
def test_test_set_scope_equals_the_loop(traces: list[list[float]]) -> None:
    """One minimum and one maximum over all tokens of all traces."""
    weights = minmax_weights_over_test_set(traces)
    expected = reference.minmax_weights_over_test_set(traces)
    values = [value for trace in traces for value in trace]
    tolerance = USUAL if max(values) - min(values) > 1e-3 else WORST
    for trace_weights, trace_expected in zip(weights, expected, strict=True):
        np.testing.assert_allclose(trace_weights, trace_expected, rtol=0, atol=tolerance)


@cases(500)
@given(confidences())
def test_test_set_of_one_trace_is_that_trace(confidence: list[float]) -> None:
    """With a single trace the two scopes agree exactly."""
    np.testing.assert_array_equal(minmax_weights_over_test_set([confidence])[0], minmax_weights(confidence))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: minmax_weights([]), id="no tokens"),
        pytest.param(lambda: minmax_weights([0.5, math.nan]), id="confidence is NaN"),
        pytest.param(lambda: minmax_weights([0.5, MISSING]), id="confidence is missing"),
        pytest.param(lambda: minmax_weights([0.5, math.inf]), id="confidence is infinite"),
        pytest.param(lambda: minmax_weights([0.5, -math.inf]), id="log of a confidence of 0"),
        pytest.param(lambda: minmax_weights([[0.5, 0.1], [0.2, 0.3]]), id="two traces at once"),
        pytest.param(lambda: minmax_weights(0.5), id="a bare number"),
        pytest.param(lambda: minmax_weights_over_test_set([]), id="no traces"),
        pytest.param(lambda: minmax_weights_over_test_set([[], []]), id="only empty traces"),
        pytest.param(lambda: minmax_weights_over_test_set([[math.nan, 0.2], [0.5]]), id="NaN in the first trace"),
        pytest.param(lambda: minmax_weights_over_test_set([[0.1, 0.9], [math.nan]]), id="NaN in a later trace"),
        pytest.param(lambda: minmax_weights_over_test_set([[0.1], [math.inf]]), id="infinite in a later trace"),
        pytest.param(lambda: minmax_weights_over_test_set([0.1, 0.9]), id="one trace where several are meant"),
    ],
)
def test_bad_confidences_are_refused_in_one_line(call: Callable[[], object]) -> None:
    """Values that are not confidences and wrong shapes give a one-line error, never weights."""
    with pytest.raises(ScoreError) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_bad_spans_are_refused_in_one_line() -> None:
    """A reversed span is refused, not counted as empty."""
    with pytest.raises(RBridgeError) as refusal:
        span_weights([0, 2], [2, 4], [(3, 1)])
    assert "\n" not in str(refusal.value)
