"""Tokens given as bytes become the confidence of every character of a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import TraceCache, with_confidence

from ..error_bounds import assert_within, stored_bound
from ..metrics.reference import character_confidence_from_bytes
from ..metrics.strategies import byte_tokens, cases, texts
from .answers import known
from .support import complaint, make_trace, same, write


@cases(150)
@given(st.data())
def test_a_character_has_the_mean_confidence_over_its_bytes(data: st.DataObject) -> None:
    """The result equals the reference for any tokenization of the bytes, also with impossible tokens."""
    text = data.draw(texts().filter(str.strip))
    ends, drawn = data.draw(byte_tokens(text))
    logprobs = list(map(known, drawn))
    trace = with_confidence(make_trace(trace=text), ends, logprobs)
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    characters = np.repeat(np.exp(trace.token_logprob.astype(float)), np.diff(trace.token_end, prepend=0))
    expected = np.array(character_confidence_from_bytes(text, ends, logprobs))
    assert np.array_equal(np.isnan(characters), np.isnan(expected))
    of_known = ~np.isnan(expected)
    assert_within(characters[of_known], expected[of_known], stored_bound(expected[of_known]))
    assert trace.unknown_tokens == np.isnan(trace.token_logprob).sum()


def test_the_rest_of_the_trace_stays() -> None:
    """Confidences are added or replaced; no other field changes."""
    trace = make_trace(gold="4", correct=True, spans=((0, 1),))
    scored = with_confidence(with_confidence(trace, [9], [-3.0]), np.array([5, 9]), np.array([-0.5, -0.25]))
    assert same(
        scored, make_trace(gold="4", correct=True, spans=((0, 1),), token_end=[5, 9], token_logprob=[-0.5, -0.25])
    )


def test_unknown_tokens_can_be_stored(tmp_path: Any) -> None:
    """-9999 and minus infinity are unknown, and stay unknown in the cache."""
    scored = with_confidence(make_trace(), [2, 4, 9], [-9999.0, float("-inf"), -1.0])
    write(TraceCache(str(tmp_path)), [scored])
    (loaded,) = TraceCache(str(tmp_path)).load("gsm8k").traces
    assert same(loaded, scored)
    assert loaded.token_logprob is not None
    assert np.isnan(loaded.token_logprob).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("ends", "logprobs"),
    [
        ([5, 8], [-1.0, -1.0]),
        ([5, 10], [-1.0, -1.0]),
        ([5, 4, 9], [-1.0, -1.0, -1.0]),
        ([], []),
        ([5, 9], [-1.0]),
        ([9], [0.5]),
    ],
)
def test_tokens_that_do_not_fit_the_trace_are_refused_by_name(ends: list[int], logprobs: list[float]) -> None:
    """Tokens of another text and invalid log-probabilities give a one-line error with the trace."""
    assert complaint(with_confidence, make_trace(), ends, logprobs).startswith("trace gsm8k/17: ")
