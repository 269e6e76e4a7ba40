"""For pairs of any length, each trace token is scored once, in a window that fits the model, with text before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.scoring.windows import plan_windows

from ..metrics.strategies import cases


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int, int]:
    """Number of tokens of a pair, index of its first scored token, and the model's window."""
    context = draw(st.integers(1, 60))
    return context + draw(st.integers(1, 200)), context, draw(st.integers(1, 80))


@cases(500)
@given(pairs())
def test_every_scored_token_is_in_exactly_one_window(case: tuple[int, int, int]) -> None:
    """No token of the trace is left out or scored twice, and the windows come in order."""
    tokens, first, max_length = case
    windows = plan_windows(3, tokens, first, max_length)
    assert [token for window in windows for token in range(window.first, window.stop)] == list(range(first, tokens))
    assert {window.pair for window in windows} == {3}


@cases(500)
@given(pairs())
def test_no_input_is_longer_than_the_models_window(case: tuple[int, int, int]) -> None:
    """Each window's input lies within the pair and has at most ``max_length`` tokens."""
    tokens, first, max_length = case
    for window in plan_windows(0, tokens, first, max_length):
        assert 1 <= window.inputs <= max_length
        assert window.inputs == len(range(tokens)[window.start : window.stop - 1])


@cases(500)
@given(pairs())
def test_first_scored_token_of_a_window_has_a_token_before_it(case: tuple[int, int, int]) -> None:
    """A token without a token before it has no prediction."""
    tokens, first, max_length = case
    assert all(0 <= window.start < window.first < window.stop for window in plan_windows(0, tokens, first, max_length))


@cases(500)
@given(pairs())
def test_trace_that_fits_is_one_window_cut_as_lm_eval_cuts(case: tuple[int, int, int]) -> None:
    """lm-eval keeps the last ``max_length + 1`` tokens of context and continuation, and feeds all but the last."""
    tokens, first, max_length = case
    if tokens - first > max_length:
        return
    (window,) = plan_windows(0, tokens, first, max_length)
    assert list(range(tokens))[window.start : window.stop - 1] == list(range(tokens))[-(max_length + 1) :][:-1]


@cases(500)
@given(pairs())
def test_later_windows_keep_half_a_window_of_text(case: tuple[int, int, int]) -> None:
    """After the first window of a long trace, a token has at least ``max_length // 2 - 1`` tokens before it."""
    tokens, first, max_length = case
    for window in plan_windows(0, tokens, first, max_length)[1:]:
        assert window.first - window.start >= max_length // 2 - 1
        assert window.start > 0
