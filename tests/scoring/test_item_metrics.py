"""The metrics of one trace: worked by hand, and in edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rbridge_metrics import TokenScores, TraceMoments
from rbridge_tasks.harness.task_options import WEIGHTINGS
from rbridge_tasks.scoring.item_metrics import MissingWeightsError, item_metrics, require_weights
from rbridge_traces import Trace

from ..error_bounds import UNIT_ROUNDOFF, assert_within

TEXT = "Sum modulo"


def trace(**fields: Any) -> Trace:
    """A trace whose frontier tokens are ``Sum`` 0.9, `` mod`` 0.5 and ``ulo`` 1.0."""
    defaults: dict[str, Any] = {
        "benchmark": "gsm8k",
        "item_id": "1",
        "question": "?",
        "trace": TEXT,
        "choices": None,
        "final_answer": None,
        "gold": None,
        "correct": None,
        "token_end": np.array([3, 7, 10], dtype=np.int32),
        "token_logprob": np.log([0.9, 0.5, 1.0]).astype(np.float32),
        "spans": ((0, 1), (8, 9)),
    }
    return Trace(**(defaults | fields))


def scores() -> TokenScores:
    """Scores of a proxy that splits this text into ``Su``, ``m mod`` and ``ulo``, with NLL 2.0, 1.0 and 0.5 nats."""
    return TokenScores(
        token_id=np.arange(3, dtype=np.int32),
        token_start=np.array([0, 2, 7], dtype=np.int32),
        token_end=np.array([2, 7, 10], dtype=np.int32),
        logprob=np.array([-2.0, -1.0, -0.5], dtype=np.float32),
        rank=np.ones(3, dtype=np.int32),
        entropy=None,
        max_logprob=None,
        vocab_size=10,
    )


def test_the_example_of_the_method_page() -> None:
    """0.6746 and 1.1667 nats per token, as worked by hand in docs/method.md."""
    metrics = item_metrics(scores(), trace(), "confidence", spans=False)
    assert metrics["rbridge_nll"] == pytest.approx((2 * 0.32 / 0.42 + 0.5) / 3, abs=1e-6)
    assert metrics["trace_nll"] == pytest.approx(3.5 / 3)
    assert metrics["trace_bits_per_byte"] == (3.5, len(TEXT))
    assert metrics["rbridge_bits_per_byte"] == (pytest.approx(2 * 0.32 / 0.42 + 0.5, abs=1e-6), len(TEXT))


def test_spans_select_the_tokens_they_touch() -> None:
    """Spans on the first character and inside ``ulo`` select the first and the last token; the sum is divided by 3."""
    metrics = item_metrics(scores(), trace(), "spans", spans=True)
    assert metrics["rbridge_nll"] == metrics["rbridge_span_nll"] == pytest.approx(2.5 / 3)


def test_the_span_nll_is_reported_with_the_weighted_nll() -> None:
    """A trace with both confidences and spans gives both metrics in one run."""
    metrics = item_metrics(scores(), trace(), "confidence", spans=True)
    assert metrics["rbridge_span_nll"] == pytest.approx(2.5 / 3)
    assert metrics["rbridge_nll"] == pytest.approx((2 * 0.32 / 0.42 + 0.5) / 3, abs=1e-6)


def test_without_weights_only_the_plain_metrics_are_reported() -> None:
    """A trace without confidences still has trace_nll and bits per byte."""
    plain = item_metrics(scores(), trace(token_end=None, token_logprob=None), "none", spans=False)
    assert set(plain) == {"trace_nll", "trace_bits_per_byte"}


def test_for_weights_over_the_test_set_a_trace_is_reduced_to_moments() -> None:
    """Moments hold the sums, sizes and confidence range that the MinMax over all traces needs."""
    moments = item_metrics(scores(), trace(), "confidence_test_set", spans=False)["rbridge_nll"]
    assert isinstance(moments, TraceMoments)
    assert (moments.nats, moments.tokens, moments.n_bytes) == (3.5, 3, len(TEXT))
    assert (moments.low, moments.high) == (pytest.approx(0.58), pytest.approx(1.0))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_confidences_are_stored_with_the_samples_for_every_weighting(weighting: str) -> None:
    """So any weighting can be recomputed later."""
    token_scores = scores()
    item_metrics(token_scores, trace(), weighting, spans=True)
    expected = [0.9, 0.58, 1.0]
    assert_within(token_scores.confidence, expected, np.multiply(expected, 2 * UNIT_ROUNDOFF["float32"]))


@pytest.mark.parametrize(
    ("weighting", "fields", "message"),
    [
        ("confidence", {"token_end": None, "token_logprob": None}, "rbridge traces score --benchmark gsm8k"),
        ("confidence_test_set", {"token_end": None, "token_logprob": None}, "no token confidences"),
        ("spans", {"spans": None}, "no spans"),
    ],
)
def test_missing_weights_are_an_error_that_says_what_to_do(
    weighting: str, fields: dict[str, Any], message: str
) -> None:
    """One trace without the fields that the weighting needs is enough; the error names it."""
    require_weights([trace()], weighting, "here")
    with pytest.raises(MissingWeightsError, match=message) as error:
        require_weights([trace(), trace(item_id="2", **fields)], weighting, "here")
    assert "1 of 2 traces in here" in str(error.value)
    assert "gsm8k/2" in str(error.value)
    assert "\n" not in str(error.value)
