"""Scores of traces and tasks: the paper's formulas, in every order of summation that the package uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rbridge_metrics import (
    ScoreError,
    TraceMoments,
    bits_per_byte,
    bits_per_byte_stderr,
    character_confidence,
    frontier_tokens,
    minmax_weights,
    minmax_weights_over_test_set,
    rbridge_nll,
    token_confidence,
    trace_nll,
    weighted_nats,
    weighted_nats_over_test_set,
)

from . import reference
from .strategies import byte_tokens, cases, confidences, cuts, nlls, texts

ROUNDING = 1e-12
MISSING: Any = None  # what a null in JSON becomes


def nearly(expected: float, *, within: float = 0.0) -> object:
    """Equal up to the rounding of a few hundred float64 additions, 1e-16 each. Numbers below 1e-300 lose digits."""
    return pytest.approx(expected, rel=ROUNDING, abs=within + 1e-300)


@st.composite
def scored_traces(draw: st.DrawFn) -> list[tuple[list[float], list[float]]]:
    """NLLs and confidences of the tokens of one to six traces."""
    traces = draw(st.lists(confidences(), min_size=1, max_size=6))
    return [(draw(nlls(len(confidence))), confidence) for confidence in traces]


def test_worked_example_of_the_design() -> None:
    """NLL 2, 1, 0.5 at weights 0.32 / 0.42, 0, 1: (2 * 0.7619 + 0 + 0.5) / 3 = 0.6746; unweighted 3.5 / 3 = 1.1667."""
    characters = character_confidence([3, 7, 10], np.log([0.9, 0.5, 1.0]))
    weights = minmax_weights(token_confidence(characters, [0, 2, 7], [2, 7, 10]))
    assert rbridge_nll([2.0, 1.0, 0.5], weights) == nearly((2 * 0.32 / 0.42 + 0.5) / 3)
    assert round(rbridge_nll([2.0, 1.0, 0.5], weights), 4) == 0.6746
    assert round(trace_nll([2.0, 1.0, 0.5]), 4) == 1.1667


def test_score_divides_by_tokens_not_by_weights() -> None:
    """NLL 4 and 2 at weights 0.5 and 0: (4 * 0.5 + 0) / 2 = 1, where dividing by the weights would give 4."""
    assert rbridge_nll([4.0, 2.0], [0.5, 0.0]) == 1.0


def test_bits_per_byte_weighs_traces_by_their_bytes() -> None:
    """8 bits over 2 bytes and 4 bits over 10: 12 / 12 = 1, where a mean of ratios would give (4 + 0.4) / 2 = 2.2."""
    assert bits_per_byte(np.log(2) * np.array([8.0, 4.0]), [2, 10]) == nearly(1.0)


def test_bits_per_byte_stderr_worked_by_hand() -> None:
    """3 and 1 bits over 1 byte each: r = 2, residuals 1 and -1, sqrt(2 / 1 * 2) / 2 = 1."""
    assert bits_per_byte_stderr(np.log(2) * np.array([3.0, 1.0]), [1, 1]) == nearly(1.0)


def test_test_set_scope_worked_by_hand() -> None:
    """Range 0.2 to 1.0: the first trace has weights 0, 0.5 on NLL 3, 4; the second has 1 on NLL 5: 2 and 5 nats."""
    moments = [TraceMoments.of([3.0, 4.0], [0.2, 0.6], 9), TraceMoments.of([5.0], [1.0], 4)]
    np.testing.assert_allclose(weighted_nats_over_test_set(moments), [2.0, 5.0], rtol=ROUNDING)


@cases(500)
@given(scored_traces())
def test_moments_equal_weights_and_sums(traces: list[tuple[list[float], list[float]]]) -> None:
    """The test-set scope needs no token arrays: five numbers per trace give the same weighted sums.

    The rounding of a difference of two sums is divided by the spread of the confidences.
    """
    moments = [TraceMoments.of(nll, confidence, 10) for nll, confidence in traces]
    weights = minmax_weights_over_test_set([confidence for _, confidence in traces])
    direct = [weighted_nats(nll, weight) for (nll, _), weight in zip(traces, weights, strict=True)]
    values = [value for _, confidence in traces for value in confidence]
    spread = max(values) - min(values)
    rounding = 64 * np.finfo(np.float64).eps / (spread if spread > reference.EQUAL_WITHIN else 1.0)
    for nats, expected, (nll, _) in zip(weighted_nats_over_test_set(moments), direct, traces, strict=True):
        assert nats == nearly(expected, within=rounding * sum(nll))


@cases(300)
@given(scored_traces())
def test_moments_hold_what_a_trace_contributes(traces: list[tuple[list[float], list[float]]]) -> None:
    """Sums, counts and range of each trace equal those of a loop."""
    for nll, confidence in traces:
        moments = TraceMoments.of(nll, confidence, 7)
        assert moments.nats == nearly(math.fsum(nll))
        assert moments.confident_nats == nearly(reference.weighted_nats(nll, confidence))
        assert moments[2:] == (len(nll), 7, min(confidence), max(confidence))


@cases(300)
@given(scored_traces())
def test_scores_equal_the_loops(traces: list[tuple[list[float], list[float]]]) -> None:
    """rBridge NLL, trace NLL and bits per byte equal sums of one addition at a time."""
    for nll, weights in traces:
        assert rbridge_nll(nll, weights) == nearly(reference.rbridge_nll(nll, weights))
        assert trace_nll(nll) == nearly(reference.trace_nll(nll))
    nats = [math.fsum(nll) for nll, _ in traces]
    n_bytes = [3 * len(nll) for nll, _ in traces]
    assert bits_per_byte(nats, n_bytes) == nearly(reference.bits_per_byte(nats, n_bytes))


@cases(300)
@given(scored_traces())
def test_weighted_score_never_exceeds_the_plain_one(traces: list[tuple[list[float], list[float]]]) -> None:
    """Weights are at most 1, so the score is at most the plain NLL, up to rounding."""
    for nll, confidence in traces:
        score = rbridge_nll(nll, minmax_weights(confidence))
        assert 0 <= score <= trace_nll(nll) * (1 + ROUNDING) + 1e-300


@cases(500)
@given(st.data(), st.integers(1, 20), st.sampled_from([0.1, 0.3, 0.7, 1 / 3, 0.999, 1.0]))
def test_score_of_equal_confidences_is_the_plain_one(data: st.DataObject, tokens: int, confidence: float) -> None:
    """Also for confidences that are equal up to rounding, as 0.1 + 0.2 and 0.3: rounding must not become weights."""
    nll = data.draw(nlls(tokens))
    noise = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=tokens, max_size=tokens)))
    noisy = np.minimum(confidence * (1 + noise * np.finfo(np.float64).eps), 1.0)
    plain = trace_nll(nll)
    assert rbridge_nll(nll, minmax_weights(noisy)) == nearly(plain)
    moments = [TraceMoments.of(nll, noisy, 1)]
    assert weighted_nats_over_test_set(moments)[0] == nearly(plain * tokens)


@cases(500)
@given(st.data(), st.integers(2, 20))
def test_characters_in_another_order_are_equal_confidences(data: st.DataObject, tokens: int) -> None:
    """Tokens of characters 0.1, 0.2 and 0.3 in any order have one mean, though their float sums differ."""
    order = st.permutations([0.1, 0.2, 0.3])
    characters = [character for _ in range(tokens) for character in data.draw(order)]
    ends = 3 * np.arange(tokens) + 3
    nll = data.draw(nlls(tokens))
    weights = minmax_weights(token_confidence(characters, ends - 3, ends))
    assert rbridge_nll(nll, weights) == nearly(trace_nll(nll))


@cases(500)
@given(st.data(), texts())
def test_text_to_score_equals_the_loops(data: st.DataObject, text: str) -> None:
    """Two tokenizations of any text cut at any bytes, through the whole package and through loops over bytes.

    Stored log-probabilities are float32: x moves by |x| * 2^-24 and exp(x) by at most 0.37 * 2^-24 = 2.2e-8. MinMax
    divides that by the spread of the confidences, twice over; so 1e-7 over the spread, relative to the plain NLL.
    """
    byte_end, logprob = data.draw(byte_tokens(text))
    proxy_end = data.draw(cuts(len(text.encode())))
    nll = data.draw(nlls(len(proxy_end)))
    covered = reference.characters_of_byte_tokens(text, [0, *proxy_end[:-1]], proxy_end)
    characters = character_confidence(*frontier_tokens(text, byte_end, logprob))
    confidence = token_confidence(characters, [start for start, _ in covered], [end for _, end in covered])
    spread = confidence.max() - confidence.min()
    assume(spread > 1e-6)
    expected = reference.rbridge_nll_of_trace(text, byte_end, logprob, proxy_end, nll)
    score = rbridge_nll(nll, minmax_weights(confidence))
    assert score == pytest.approx(expected, rel=0, abs=trace_nll(nll) * 1e-7 / spread + 1e-300)


@cases(500)
@given(st.data(), texts())
def test_characters_to_score_equal_the_loops(data: st.DataObject, text: str) -> None:
    """From float64 character confidences the error is float64 rounding over the spread: 1e-13 / spread."""
    byte_end, logprob = data.draw(byte_tokens(text))
    proxy_end = data.draw(cuts(len(text.encode())))
    nll = data.draw(nlls(len(proxy_end)))
    covered = reference.characters_of_byte_tokens(text, [0, *proxy_end[:-1]], proxy_end)
    characters = reference.character_confidence_from_bytes(text, byte_end, logprob)
    confidence = token_confidence(characters, [start for start, _ in covered], [end for _, end in covered])
    spread = confidence.max() - confidence.min()
    assume(not 0.99e-9 < spread < 1.01e-9)  # in between, rounding decides whether the confidences count as equal
    expected = reference.rbridge_nll_of_trace(text, byte_end, logprob, proxy_end, nll)
    score = rbridge_nll(nll, minmax_weights(confidence))
    rounding = 1e-13 / (spread if spread > reference.EQUAL_WITHIN else 1.0) + ROUNDING
    assert score == pytest.approx(expected, rel=0, abs=trace_nll(nll) * rounding + 1e-300)


@cases(300)
@given(st.lists(st.just(0.0) | st.floats(1e-6, 1e4), min_size=2, max_size=30).map(np.array), st.integers(1, 1000))
def test_stderr_of_equal_sizes_is_the_ordinary_one(nats: npt.NDArray[np.float64], n_bytes: int) -> None:
    """If all traces have the same number of bytes, the ratio is a mean and its error the standard error of the mean."""
    ordinary = np.std(nats / n_bytes / math.log(2), ddof=1) / math.sqrt(len(nats))
    stderr = bits_per_byte_stderr(nats, [n_bytes] * len(nats))
    assert stderr == pytest.approx(ordinary, rel=1e-9, abs=1e-12 * nats.max() / n_bytes)


def test_stderr_agrees_with_the_bootstrap() -> None:
    """Over 500 traces of very different length, 4,000 resamples (their own error: 1 %) give the same to 5 %."""
    rng = np.random.default_rng(20260101)
    n_bytes = rng.lognormal(6.5, 0.8, 500).astype(int) + 1
    nats = n_bytes * rng.gamma(9.0, 0.05, 500)
    resamples = rng.integers(0, 500, (4000, 500))
    bootstrap = nats[resamples].sum(1) / n_bytes[resamples].sum(1) / math.log(2)
    assert bits_per_byte_stderr(nats, n_bytes) == pytest.approx(bootstrap.std(ddof=1), rel=0.05)


def test_stderr_of_one_trace_is_not_a_number() -> None:
    """One trace gives no spread over traces: NaN, not 0, which would mean certainty."""
    assert math.isnan(bits_per_byte_stderr([10.0], [5]))


GOOD = TraceMoments.of([1.0, 2.0], [0.2, 0.9], 5)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: trace_nll([]), id="no tokens"),
        pytest.param(lambda: trace_nll([1.0, math.nan]), id="NLL is NaN"),
        pytest.param(lambda: trace_nll([1.0, MISSING]), id="NLL is missing"),
        pytest.param(lambda: trace_nll([1.0, math.inf]), id="NLL is infinite"),
        pytest.param(lambda: trace_nll([1.0, -0.5]), id="log-probability above 0"),
        pytest.param(lambda: trace_nll([[1.0, 2.0], [3.0, 4.0]]), id="two traces at once"),
        pytest.param(lambda: trace_nll(1.0), id="a bare number"),
        pytest.param(lambda: rbridge_nll([], []), id="no tokens, no weights"),
        pytest.param(lambda: rbridge_nll([1.0, 2.0], [0.5]), id="fewer weights than tokens"),
        pytest.param(lambda: rbridge_nll([1.0, 2.0], [[0.5], [1.0]]), id="weights in a column"),
        pytest.param(lambda: rbridge_nll([1.0, 2.0], ["high", "low"]), id="weights in words"),
        pytest.param(lambda: rbridge_nll([1.0, 2.0], [[0.5], 1.0]), id="weights of several shapes"),
        pytest.param(lambda: rbridge_nll([[1.0, 2.0]], [[0.5, 1.0]]), id="weighted traces at once"),
        pytest.param(lambda: rbridge_nll([1.0, 2.0], [0.5, math.nan]), id="weight is NaN"),
        pytest.param(lambda: rbridge_nll([1.0, 2.0], [0.5, math.inf]), id="weight is infinite"),
        pytest.param(lambda: rbridge_nll([-1.0, -2.0], [0.5, 1.0]), id="log-probabilities given as NLL"),
        pytest.param(lambda: weighted_nats([1.0, 2.0], [0.5]), id="fewer weights than NLLs"),
        pytest.param(lambda: bits_per_byte([], []), id="no traces"),
        pytest.param(lambda: bits_per_byte([1.0, 2.0], [3]), id="fewer byte counts than traces"),
        pytest.param(lambda: bits_per_byte([1.0, math.nan], [3, 3]), id="nats are NaN"),
        pytest.param(lambda: bits_per_byte([1.0, 2.0], [0, 0]), id="no bytes"),
        pytest.param(lambda: bits_per_byte([1.0, 2.0], [5, -1]), id="negative byte count"),
        pytest.param(lambda: bits_per_byte([-1.0, -2.0], [5, 5]), id="log-probabilities given as nats"),
        pytest.param(lambda: bits_per_byte_stderr([], []), id="no traces to spread"),
        pytest.param(lambda: bits_per_byte_stderr([1.0, 2.0, 3.0], [3]), id="one byte count for all"),
        pytest.param(lambda: bits_per_byte_stderr([1.0, 2.0], [0, 0]), id="spread of traces without bytes"),
        pytest.param(lambda: bits_per_byte_stderr([1.0, math.inf], [3, 3]), id="spread of infinite nats"),
        pytest.param(lambda: TraceMoments.of([], [], 5), id="moments of no tokens"),
        pytest.param(lambda: TraceMoments.of([1.0, 2.0], [0.5], 5), id="moments of fewer confidences"),
        pytest.param(lambda: TraceMoments.of([1.0, math.nan], [0.5, 0.6], 5), id="moments of an NLL of NaN"),
        pytest.param(lambda: TraceMoments.of([1.0, 2.0], [0.5, math.nan], 5), id="moments of a confidence of NaN"),
        pytest.param(lambda: weighted_nats_over_test_set([]), id="test set without traces"),
        pytest.param(lambda: weighted_nats_over_test_set([GOOD._replace(low=math.nan)]), id="moments with NaN"),
        pytest.param(
            lambda: weighted_nats_over_test_set([GOOD, GOOD._replace(confident_nats=math.inf)]),
            id="moments with an infinite sum",
        ),
    ],
)
def test_values_that_give_no_score_are_refused_in_one_line(call: Callable[[], object]) -> None:
    """Values that cannot be scored give a one-line error, never a number."""
    with pytest.raises(ScoreError) as refusal:
        call()
    assert "\n" not in str(refusal.value)
