"""The numbers of a score table that are logged, and their names and steps."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.dashboards.histories import (
    LARGEST_STEP,
    DashboardError,
    last_checkpoints,
    only_rows,
    run_histories,
)
from rbridge_tasks.tables.score_table import checked_scores

from ..metrics.strategies import cases
from ..tables.made_scores import row


def checked(*rows: dict[str, Any]) -> pd.DataFrame:
    return checked_scores(pd.DataFrame(rows))


def test_each_run_of_a_size_is_a_history_with_each_number_once() -> None:
    """Runs and sizes have separate histories; known standard errors have lm-eval's names."""
    histories, notes = run_histories(
        checked(
            row("web", 0.7, size=(1e9, 2e9)),
            row("web", 0.9, size=(1e9, 1e9), metric="exact_match,strict-match", stderr=0.02),
            row("web", 0.8, size=(7e9, 1e9), stderr=None),
            row("books", 0.6, size=(None, 1e9)),
        )
    )
    assert notes == []
    assert [(history.name, history.config) for history in histories] == [
        ("books", {"run": "books"}),
        ("web-1B", {"run": "web", "params": 1e9}),
        ("web-7B", {"run": "web", "params": 7e9}),
    ]
    assert histories[1].values == {
        10**9: {"tokens": 1e9, "gsm8k/exact_match,strict-match": 0.9, "gsm8k/exact_match_stderr,strict-match": 0.02},
        2 * 10**9: {"tokens": 2e9, "gsm8k/rbridge_nll": 0.7, "gsm8k/rbridge_nll_stderr": 0.01},
    }
    assert histories[2].values == {10**9: {"tokens": 1e9, "gsm8k/rbridge_nll": 0.8}}


@cases(30)
@given(st.sets(st.integers(0, LARGEST_STEP - 1), min_size=1, max_size=20))
def test_steps_are_exact_token_counts_in_ascending_order(tokens: set[int]) -> None:
    """Integer counts below 2**53 are exact, so different checkpoints have different steps."""
    ((history,), _) = run_histories(checked(*(row("web", 1.0, size=(1e9, float(count))) for count in tokens)))
    assert list(history.values) == sorted(tokens)


def test_rows_without_an_integer_token_count_are_counted_and_named() -> None:
    """They have no tokens or a fractional count; if there are no other rows, the command fails."""
    lost = [row("web", 0.5, size=(1e9, None)), row("web", 0.5, size=(1e9, 1.5))]
    histories, notes = run_histories(checked(row("web", 0.7), *lost))
    assert [list(history.values) for history in histories] == [[1_600_000_000]]
    assert notes == [
        "1 score without tokens not logged, such as gsm8k/rbridge_nll of web-1000000000.0-None; "
        "give tokens with rbridge collect --runs FILE",
        "1 score whose tokens are no whole number below 2**53 not logged, such as gsm8k/rbridge_nll of "
        "web-1000000000.0-1.5; give tokens with rbridge collect --runs FILE",
    ]
    with pytest.raises(DashboardError, match="nothing to log: 1 score without tokens"):
        run_histories(checked(lost[0]))


@pytest.mark.parametrize(
    ("conflict", "message"),
    [
        (row("web", 0.5, size=(1.0001e9, 2e9)), "'web' of 1000000000 parameters and run 'web' of 1000100000 "),
        (row("web-1B", 0.5, size=(None, 2e9)), "'web' of 1000000000 parameters and run 'web-1B' of nan "),
        (row("web", 0.5, size=(1e9, 1e9)) | {"model": "copy"}, "both give gsm8k/rbridge_nll of web-1B at 1000000000"),
    ],
)  # fmt: skip
def test_rows_with_the_same_name_in_a_dashboard_are_refused(conflict: dict[str, Any], message: str) -> None:
    """Sizes with the same text, equal run names, and two models at one checkpoint."""
    with pytest.raises(DashboardError, match=message):
        run_histories(checked(row("web", 0.7, size=(1e9, 1e9)), conflict))


def test_a_name_does_not_depend_on_the_rest_of_the_table() -> None:
    """A run keeps its name if another size of it is added to the table."""
    small, large = row("web", 0.7, size=(1e9, 1e9)), row("web", 0.7, size=(7e9, 1e9))
    alone, both = run_histories(checked(small))[0], run_histories(checked(small, large))[0]
    assert alone[0] == both[0]


def test_patterns_select_rows_and_unknown_ones_are_refused() -> None:
    """A pattern is a metric with or without its filter, a benchmark, both, or has wildcards."""
    table = checked(
        row("web", 1.0), row("web", 0.1, metric="acc"), row("web", 0.2, metric="exact_match,strict-match"),
        row("web", 0.3, benchmark="csqa", metric="acc"),
    )  # fmt: skip
    chosen = {
        "acc": [1, 3], "exact_match": [2], "exact_match,strict-match": [2], "csqa": [3],
        "gsm8k/acc": [1], "gsm8k/*": [0, 1, 2]
    }  # fmt: skip
    for pattern, rows in chosen.items():
        assert only_rows(table, [pattern]).index.to_list() == rows
    assert only_rows(table, ["acc", "rbridge_*"]).index.to_list() == [0, 1, 3]
    with pytest.raises(DashboardError, match=r"'ac' fits none .* benchmarks are csqa, gsm8k, its metrics acc, exact"):
        only_rows(table, ["ac"])


def test_the_last_checkpoint_is_that_of_each_run_and_size() -> None:
    """Also if the size is unknown; a row without tokens is the last one only if there is no other."""
    table = checked(
        row("web", 1.0, size=(1e9, 1e9)), row("web", 0.9, size=(1e9, 2e9)), row("web", 0.8, size=(None, 1e9)),
        row("books", 0.7, size=(1e9, None)), row("web", 0.6, size=(1e9, None)),
    )  # fmt: skip
    assert last_checkpoints(table)["value"].to_list() == [0.9, 0.8, 0.7]
    assert math.isnan(last_checkpoints(table)["tokens"].iloc[2])
