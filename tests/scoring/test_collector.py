"""Scores of prompts, in any order and any windows, become the scores of traces."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.collector import LogProbabilities, ScoringError, TraceCollector
from rbridge_tasks.scoring.tokenization import TokenizedPair
from rbridge_tasks.scoring.windows import Window

from ..metrics.strategies import cases


def pair_of(tokens: int, first: int) -> TokenizedPair:
    """A pair of token ids 100, 101, ..., one character each."""
    starts = np.arange(tokens - first, dtype=np.int32)
    return TokenizedPair(np.arange(100, 100 + tokens), first, starts, starts + 1)


def answer(collector: TraceCollector, window: Window) -> LogProbabilities:
    """Log-probabilities that depend on the id alone: -id / 1000, at rank id."""
    ids = np.array(collector.ids(window))
    logprob = -ids / 1000
    logprob[0] = np.nan
    return LogProbabilities(logprob, logprob / 2, ids)


@cases(200)
@given(
    st.lists(st.tuples(st.integers(2, 40), st.integers(1, 39)), min_size=1, max_size=6),
    st.integers(2, 50),
    st.randoms(use_true_random=False),
)
def test_every_token_gets_its_own_score_once(
    sizes: list[tuple[int, int]], max_prompt: int, order: random.Random
) -> None:
    """For any lengths, window and order of the answers; each pair is reported when all its windows are scored."""
    pairs = [pair_of(tokens, min(first, tokens - 1)) for tokens, first in sizes]
    finished: dict[int, TokenScores] = {}

    def done(indices: object, scores: object) -> None:
        new = dict(zip(indices, scores, strict=True))  # type: ignore[call-overload]
        assert not finished.keys() & new.keys()
        finished.update(new)

    labels = [str(number) for number in range(len(pairs))]
    collector = TraceCollector(pairs, labels, max_length=max_prompt - 1, vocab_size=7, done=done)
    windows = list(collector.windows)
    assert all(len(collector.ids(window)) <= max_prompt for window in windows)
    order.shuffle(windows)
    while windows:
        batch = [windows.pop() for _ in range(min(len(windows), order.randint(1, 3)))]
        collector.add_prompts([(window, answer(collector, window)) for window in batch])
    for number, (pair, scores) in enumerate(zip(pairs, collector.scores(), strict=True)):
        assert finished[number] is scores
        np.testing.assert_array_equal(scores.token_id, pair.ids[pair.first :])
        np.testing.assert_array_equal(scores.rank, scores.token_id)
        np.testing.assert_array_equal(scores.logprob, np.float32(-scores.token_id / 1000))
        np.testing.assert_array_equal(scores.max_logprob, np.float32(-scores.token_id / 2000))
        assert scores.entropy is None


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (-np.inf, "zero"), (-9999.0, "zero"), (np.inf, "NaN"), (0.5, "above 0")]
)
def test_an_invalid_log_probability_names_the_trace(value: float, message: str) -> None:
    """NaN, infinities, values above 0, and -9999, which some APIs write for minus infinity."""
    collector = TraceCollector([pair_of(6, 2)], ["gsm8k/7"], max_length=19, vocab_size=7, done=lambda *_: None)
    (window,) = collector.windows
    scores = answer(collector, window)
    scores.logprob[4] = value
    with pytest.raises(ScoringError, match=message) as caught:
        collector.add_prompts([(window, scores)])
    assert "gsm8k/7" in str(caught.value)
    assert "token 2" in str(caught.value)


def test_a_trace_has_no_ranks_if_one_window_has_none() -> None:
    """Ranks of a part of the trace are not reported."""
    collector = TraceCollector([pair_of(30, 2)], ["gsm8k/7"], max_length=8, vocab_size=7, done=lambda *_: None)
    assert len(collector.windows) > 1
    for number, window in enumerate(collector.windows):
        scores = answer(collector, window)
        rank = scores.rank if number else None
        collector.add_prompts([(window, LogProbabilities(scores.logprob, scores.max_logprob, rank))])
    assert collector.scores()[0].rank is None
