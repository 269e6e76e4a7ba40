"""Multiple choice in cloze form, and token edit distance: by hand, against plain loops, and at the edges of floats."""

from __future__ import annotations

import functools
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import CLOZE_METRICS, ClozeScores, ScoreError, cloze_metrics, cloze_scores, edit_distance

from .strategies import cases

Item = tuple[list[float], int, list[int]]


@st.composite
def items(draw: st.DrawFn, lowest: float = -300.0) -> Item:
    """Log-probabilities of 2 to 10 choices, the index of the right choice, and their lengths."""
    logprob = draw(st.lists(st.floats(lowest, 0.0), min_size=2, max_size=10))
    length = draw(st.lists(st.integers(1, 400), min_size=len(logprob), max_size=len(logprob)))
    return logprob, draw(st.integers(0, len(logprob) - 1)), length


def naive_scores(logprob: list[float], gold: int, length: list[int]) -> ClozeScores:
    """The definitions, in 60 decimal digits, so that nothing underflows."""
    with localcontext() as context:
        context.prec = 60
        p = [(Decimal(value) / n).exp() for value, n in zip(logprob, length, strict=True)]
        wrong = [value for at, value in enumerate(p) if at != gold]
        best = max(range(len(p)), key=lambda at: logprob[at] / length[at])  # the first of equal choices
        return ClozeScores(
            float(p[gold]), float(p[gold] / sum(p)), float(sum(p)), float(p[gold] - max(wrong)), float(best == gold)
        )


def test_worked_example() -> None:
    """Three choices of 0.5, 0.125 and 0.0625, the second right; of 1, 3 and 2 characters: 0.5, 0.5 and 0.25 each."""
    logprob = np.log([0.5, 0.125, 0.0625])
    assert cloze_scores(logprob, 1) == pytest.approx((0.125, 0.125 / 0.6875, 0.6875, -0.375, 0.0))
    assert cloze_scores(logprob, 1, [1, 3, 2])[:4] == pytest.approx((0.5, 0.4, 1.25, 0.0))
    assert cloze_scores(logprob, 1, [1, 4, 2]).accuracy == 1.0


@cases(300)
@given(items())
def test_equal_to_the_definitions(item: Item) -> None:
    """Each of the five scores, raw and per unit of length."""
    logprob, gold, length = item
    approximately = functools.partial(pytest.approx, rel=1e-9, abs=1e-15)
    assert cloze_scores(logprob, gold, length) == approximately(naive_scores(logprob, gold, length))
    assert cloze_scores(logprob, gold) == approximately(naive_scores(logprob, gold, [1] * len(logprob)))


@cases(200)
@given(items(lowest=-1e6))
def test_always_numbers_in_their_ranges(item: Item) -> None:
    """However improbable the choices are, nothing is NaN, and the normalised probabilities of all choices sum to 1."""
    logprob, _, length = item
    for lengths in (None, length):
        per_choice = [cloze_scores(logprob, gold, lengths) for gold in range(len(logprob))]
        assert np.isfinite(per_choice).all()
        assert sum(scores.norm_correct_prob for scores in per_choice) == pytest.approx(1.0)
        assert sum(scores.accuracy for scores in per_choice) == 1.0
        assert all(-1 <= scores.margin <= 1 and 0 <= scores.correct_prob <= 1 for scores in per_choice)


def test_choices_too_improbable_for_a_float_still_compare() -> None:
    """Where every raw probability is 0, normalised probability and accuracy follow from the log-probabilities."""
    scores = cloze_scores([-5000.0, -5000.0 + math.log(3)], 1)
    assert (scores.correct_prob, scores.total_prob, scores.margin, scores.accuracy) == (0.0, 0.0, 0.0, 1.0)
    assert scores.norm_correct_prob == pytest.approx(0.75)


def test_of_equal_choices_the_first_counts() -> None:
    """As in lm-eval's ``acc``; the margin is 0 for both."""
    assert [cloze_scores([-1.0, -1.0, -2.0], gold).accuracy for gold in (0, 1)] == [1.0, 0.0]
    assert [cloze_scores([-1.0, -1.0, -2.0], gold).margin for gold in (0, 1)] == [0.0, 0.0]


def test_fifteen_metrics_by_name() -> None:
    """Raw, per character and per byte, in this order."""
    metrics = cloze_metrics([-2.0, -3.0], 1, [1, 2], [2, 3])
    assert tuple(metrics) == CLOZE_METRICS
    assert len(CLOZE_METRICS) == 15
    assert metrics["cf_correct_prob"] == pytest.approx(math.exp(-3))
    assert metrics["cf_correct_prob_per_char"] == pytest.approx(math.exp(-1.5))
    assert metrics["cf_norm_correct_prob_per_byte"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("logprob", "gold", "length", "message"),
    [
        ([-1.0], 0, None, "at least two choices"),
        ([[-1.0, -2.0]], 0, None, "at least two choices"),
        ([-1.0, -2.0], 2, None, "number 2 of 2"),
        ([-1.0, -2.0], -1, None, "number -1 of 2"),
        ([-1.0, math.nan], 0, None, "log-probability nan of choice 1"),
        ([-math.inf, -1.0], 0, None, "log-probability -inf of choice 0"),
        ([-1.0, 0.5], 0, None, "at most 0"),
        ([-1.0, -2.0], 0, [1, 0], "a positive one for each"),
        ([-1.0, -2.0], 0, [1], "a positive one for each"),
    ],
)
def test_what_is_no_item_is_refused(logprob: list[float], gold: int, length: list[int] | None, message: str) -> None:
    """The message says what was found and what is needed."""
    with pytest.raises(ScoreError, match=message):
        cloze_scores(logprob, gold, length)


def naive_distance(first: str, second: str) -> int:
    """Levenshtein's recursive definition."""

    @functools.cache
    def rest(i: int, j: int) -> int:
        if i == len(first) or j == len(second):
            return len(first) - i + len(second) - j
        return min(rest(i + 1, j) + 1, rest(i, j + 1) + 1, rest(i + 1, j + 1) + (first[i] != second[j]))

    return rest(0, 0)


@cases(300)
@given(st.text("abc", max_size=14), st.text("abcd", max_size=14))
def test_edit_distance_equals_its_definition(first: str, second: str) -> None:
    """For any two sequences, empty ones included, and symmetric in the two."""
    assert edit_distance(first, second) == edit_distance(second, first) == naive_distance(first, second)


def test_edit_distance_by_hand() -> None:
    """One word replaced and one inserted; every word inserted when the first sequence is empty."""
    assert edit_distance(["half", "of", "48", "is", "24"], ["half", "of", "48", "makes", "24", "clips"]) == 2
    assert edit_distance([], ["a", "b", "c"]) == 3
    assert edit_distance([], []) == 0
