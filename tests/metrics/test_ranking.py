"""Agreement of two orders: naive references, ties by hand, and invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rbridge_metrics import RankingError, decision_accuracy, kendall_tau_b, spearman
from rbridge_metrics.ranking import agreement, pair_counts, ranks

from .strategies import cases

#: Scores with many ties.
scores = st.integers(-4, 4).map(float)
tables = st.integers(2, 9).flatmap(
    lambda n: st.tuples(st.lists(scores, min_size=n, max_size=n), st.lists(scores, min_size=n, max_size=n))
)


def naive_decision_accuracy(proxy: list[float], target: list[float]) -> float:
    """Pair by pair; higher is better on both sides."""
    right, ordered = 0.0, 0
    for i, j in itertools.combinations(range(len(proxy)), 2):
        if target[i] == target[j]:
            continue
        ordered += 1
        if proxy[i] == proxy[j]:
            right += 0.5
        elif (proxy[i] > proxy[j]) == (target[i] > target[j]):
            right += 1
    return right / ordered if ordered else math.nan


@given(tables)
@cases(300)
def test_measures_equal_naive_pairs_and_scipy(table: tuple[list[float], list[float]]) -> None:
    """Decision accuracy is a count of pairs, tau-b and rho are SciPy's, ties and undefined cases included."""
    proxy, target = table
    ours = decision_accuracy(proxy, target, lower_is_better=False)
    assert ours == pytest.approx(naive_decision_accuracy(proxy, target), nan_ok=True)
    with np.errstate(all="ignore"):
        tau = stats.kendalltau(proxy, target, variant="b").statistic
    assert kendall_tau_b(proxy, target, lower_is_better=False) == pytest.approx(tau, abs=1e-12, nan_ok=True)
    constant = len(set(proxy)) == 1 or len(set(target)) == 1
    rho = math.nan if constant else stats.spearmanr(proxy, target).statistic
    assert spearman(proxy, target, lower_is_better=False) == pytest.approx(rho, abs=1e-12, nan_ok=True)


@given(tables)
@cases(100)
def test_direction_is_a_change_of_sign(table: tuple[list[float], list[float]]) -> None:
    """A metric that is better lower has the counts of its negative, on either side."""
    proxy, target = table
    negated, negated_target = [-score for score in proxy], [-score for score in target]
    expected = pair_counts(proxy, target, lower_is_better=False)
    assert pair_counts(negated, target, lower_is_better=True) == expected
    assert pair_counts(negated, negated_target, lower_is_better=True, target_lower_is_better=True) == expected


@given(tables, st.randoms())
@cases(100)
def test_the_order_of_the_table_does_not_matter(table: tuple[list[float], list[float]], rng: object) -> None:
    """Shuffling the candidates changes no measure: position does not break ties."""
    proxy, target = table
    order = list(range(len(proxy)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    shuffled = [proxy[at] for at in order], [target[at] for at in order]
    assert pair_counts(*shuffled, lower_is_better=True) == pair_counts(proxy, target, lower_is_better=True)
    assert spearman(*shuffled, lower_is_better=True) == pytest.approx(
        spearman(proxy, target, lower_is_better=True), abs=1e-12, nan_ok=True
    )


@given(st.integers(2, 7), st.integers(1, 6), st.integers(0, 10**6))
@cases(60)
def test_rows_at_once_equal_rows_one_by_one(candidates: int, rows: int, seed: int) -> None:
    """Measures of all resamples together equal those of each resample alone."""
    rng = np.random.default_rng(seed)
    table, target = rng.integers(0, 4, (rows, candidates)), rng.integers(0, 4, candidates)
    measures = agreement(table, target, lower_is_better=True)
    for at, row in enumerate(table):
        expected = (
            decision_accuracy(row, target, lower_is_better=True),
            kendall_tau_b(row, target, lower_is_better=True),
            spearman(row, target, lower_is_better=True),
        )
        assert [values[at] for values in measures] == pytest.approx(expected, nan_ok=True)


def test_ties_by_hand() -> None:
    """NLL 1, 1, 2, 3 against accuracies 5, 4, 4, 4: the target ties three pairs, the proxy one of the others."""
    counts = pair_counts([1, 1, 2, 3], [5, 4, 4, 4], lower_is_better=True)
    assert counts == (2, 0, 1, 3)
    assert counts.decision_accuracy == pytest.approx(2.5 / 3)


def test_a_target_without_order_gives_no_number() -> None:
    """Where the target ties every pair the measures are NaN, not 0 or 1."""
    assert math.isnan(decision_accuracy([1, 2], [3, 3], lower_is_better=True))
    assert math.isnan(kendall_tau_b([1, 2], [3, 3], lower_is_better=True))


def test_ties_share_their_mean_rank() -> None:
    """Two candidates tied for first have rank 1.5 each, in either order."""
    assert ranks([0.5, 0.7, 0.7, 0.1], lower_is_better=False).tolist() == [3.0, 1.5, 1.5, 4.0]


@pytest.mark.parametrize(
    ("proxy", "target", "message"),
    [
        ([1.0], [1.0], "1 candidate with a target"),
        ([1.0, 2.0], [1.0], "2 proxy scores but 1 target scores"),
        ([1.0, math.nan], [1.0, 2.0], "proxy score nan at position 1"),
        ([1.0, 2.0], [math.inf, 2.0], "target score inf at position 0"),
        ([], [], "no proxy score"),
        ([[1.0, 2.0]], [1.0, 2.0], "scores of shapes"),
    ],
)
def test_what_cannot_be_compared_is_refused(proxy: list[float], target: list[float], message: str) -> None:
    """A missing score never takes part in an order."""
    with pytest.raises(RankingError, match=message):
        decision_accuracy(proxy, target, lower_is_better=True)
