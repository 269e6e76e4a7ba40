"""Log-probability, rank, entropy and maximum from hidden states equal their definitions in float64."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.scoring import token_statistics as module
from rbridge_tasks.scoring.token_statistics import (
    ENTROPY,
    LOGPROB,
    MAX_LOGPROB,
    RANK,
    Head,
    LinearHead,
    token_statistics,
)

from ..error_bounds import assert_within
from ..metrics.strategies import cases
from ..tensor_bounds import product_bound, roundoff, softmax_bounds


def by_definition(logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """The four columns, row by row, from a float64 softmax over the whole vocabulary."""
    rows = []
    for row, target in zip(logits.double(), targets.tolist(), strict=True):
        logprob = torch.log_softmax(row, dim=-1)
        rank = 1 + int((row > row[target]).sum()) + int((row[:target] == row[target]).sum())
        possible = logprob[logprob > -torch.inf]
        rows.append([float(logprob[target]), rank, float(-(possible.exp() * possible).sum()), float(logprob.max())])
    return np.array(rows)


def scored(logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """The same columns from the package; the hidden states are the logits."""
    return token_statistics(logits, targets, torch.clone).numpy()


def agree(
    columns: np.ndarray, logits: torch.Tensor, targets: torch.Tensor, *, logit_error: torch.Tensor | float = 0.0
) -> None:
    """Assert equality with the definition up to rounding. Ranks are exact if the logits are."""
    expected = by_definition(logits, targets)
    bounds = softmax_bounds(logits, targets, logit_error=logit_error)
    for column, bound in zip((LOGPROB, ENTROPY, MAX_LOGPROB), bounds, strict=True):
        assert_within(columns[:, column], expected[:, column], bound, f"column {column}")
    logit_errors = torch.as_tensor(logit_error, dtype=torch.float64).expand_as(logits)
    if not logit_errors.any():
        np.testing.assert_array_equal(columns[:, RANK], expected[:, RANK])
        return
    chosen = targets.unsqueeze(-1)
    above = logits.double() - logits.double().gather(-1, chosen)
    # Rounding may swap tokens whose logits are closer than this.
    tie_width = logit_errors + logit_errors.gather(-1, chosen)
    assert (columns[:, RANK] > (above > tie_width).sum(-1).numpy()).all()
    assert (columns[:, RANK] <= (above >= -tie_width).sum(-1).numpy()).all()


def head_bound(hidden: torch.Tensor, head: LinearHead) -> torch.Tensor:
    """Bound on the difference of two computations of the head's logits.

    Each sums products in float32; the head's blocks also scale the rows and subtract the target's logit. In bfloat16
    each rounds the product to bfloat16, and rounds again after adding the bias.
    """
    size = hidden.double().abs() @ head.weight.double().abs().T
    if head.bias is not None:
        size = size + head.bias.double().abs().nan_to_num(posinf=0.0)
    bound = 2 * (hidden.shape[-1] + 3) * roundoff(torch.float32) * size
    if head.weight.dtype != torch.float32:
        bound = bound + 2 * (1 if head.bias is None else 2) * roundoff(head.weight.dtype) * size
    return bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 40.0])
def test_equals_the_definition(dtype: torch.dtype, scale: float) -> None:
    """From uniform to near-certain predictions, over a vocabulary of 5,000, in each dtype of models."""
    torch.manual_seed(0)
    logits = (torch.randn(60, 5000) * scale).to(dtype)
    targets = torch.randint(0, 5000, (60,))
    targets[:20] = logits[:20].argmax(-1)
    agree(scored(logits, targets), logits, targets)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scale", "offset"), [(0.01, 0.0), (3.0, 0.0), (3.0, -500.0), (300.0, 0.0), (3.0, 10_000.0)])
def test_entropy_and_rank_over_a_large_vocabulary(dtype: torch.dtype, scale: float, offset: float) -> None:
    """Over 151,936 tokens: nearly uniform and certain predictions, logits far from 0, and ties in bfloat16.

    Entropy and log-probability agree with float64 to rounding. The rank is exact: larger logits, then ties by id.
    """
    torch.manual_seed(1)
    vocabulary = 151_936
    logits = (torch.randn(12, vocabulary) * scale + offset).to(dtype)
    targets = torch.randint(0, vocabulary, (12,))
    targets[:4] = logits[:4].argmax(-1)
    targets[4:6] = logits[4:6].argmin(-1)
    agree(scored(logits, targets), logits, targets)


def test_equal_logits_of_a_large_vocabulary_are_ranked_by_id() -> None:
    """With every logit of a large vocabulary the same, the rank is the id + 1, and the entropy is ln V."""
    logits = torch.full((4, 151_936), 2.5, dtype=torch.bfloat16)
    targets = torch.tensor([0, 1, 70_000, 151_935])
    columns = scored(logits, targets)
    assert columns[:, RANK].tolist() == [1, 2, 70_001, 151_936]
    assert_within(columns[:, ENTROPY], np.full(4, np.log(151_936)), softmax_bounds(logits, targets)[1])


def few_values(infinite: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    """Logits of a small vocabulary with many ties."""
    return st.lists(st.one_of(st.sampled_from([-2.0, 0.0, 0.5, 1.0]), infinite), min_size=1, max_size=12)


@cases(300)
@given(few_values(st.floats(-30, 30, width=32, allow_subnormal=False)), st.data())
def test_equal_logits_are_ranked_by_id(values: list[float], data: st.DataObject) -> None:
    """The rank is 1 + the number of larger logits + the number of equal logits with a lower id."""
    logits = torch.tensor([values])
    targets = torch.tensor([data.draw(st.integers(0, len(values) - 1))])
    agree(scored(logits, targets), logits, targets)


@cases(300)
@given(few_values(st.just(-np.inf)), st.data())
def test_impossible_tokens_count_as_probability_zero(values: list[float], data: st.DataObject) -> None:
    """A logit of -inf gives log-probability -inf, the last ranks, and nothing to the entropy; never NaN."""
    if not np.isfinite(values).any():
        return
    logits = torch.tensor([values])
    targets = torch.tensor([data.draw(st.integers(0, len(values) - 1))])
    columns = scored(logits, targets)
    assert not np.isnan(columns).any()
    agree(columns, logits, targets)


def test_the_chunk_size_changes_no_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits are computed a few rows at a time, for any number of rows with the same results."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(133, 8), torch.randn(700, 8)
    targets = torch.randint(0, 700, (133,))
    calls: list[int] = []

    def head(rows: torch.Tensor) -> torch.Tensor:
        calls.append(rows.shape[0])
        return rows @ weight.T

    logits, rounding = hidden @ weight.T, 2 * product_bound(hidden, weight.T)
    for chunk_bytes in (1, 4 * 700 * 7, 1 << 30):
        monkeypatch.setattr(module, "_CHUNK_BYTES", {"cpu": chunk_bytes})
        calls.clear()
        agree(token_statistics(hidden, targets, head).numpy(), logits, targets, logit_error=rounding)
        assert sum(calls) == 133
        assert max(calls[1:]) <= max(1, chunk_bytes // (4 * 700))


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_nan_logit_makes_its_row_nan(place: int) -> None:
    """At any position, and only that row."""
    logits = torch.arange(21.0).reshape(3, 7)
    logits[1, place] = torch.nan
    columns = scored(logits, torch.tensor([3, 3, 3]))
    assert np.isnan(columns[1]).all()
    assert np.isfinite(columns[[0, 2]]).all()


@pytest.mark.parametrize("head", [torch.clone, lambda rows: rows.double(), LinearHead(torch.ones(9, 5), None, None)])
def test_nothing_to_score_gives_no_rows(head: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Zero tokens give zero rows."""
    assert token_statistics(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), head).shape == (0, 4)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of torch threads while a test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_the_number_of_torch_threads_is_restored(threads: int) -> None:
    """Worker threads use one torch thread each; the caller and later threads have as many as before."""
    weight = torch.randn(3000, 8)
    thread_counts: list[int] = []

    def record(logits: torch.Tensor) -> torch.Tensor:
        if threading.current_thread() is not threading.main_thread():
            thread_counts.append(torch.get_num_threads())
        return logits

    token_statistics(torch.randn(1000, 8), torch.zeros(1000, dtype=torch.long), LinearHead(weight, None, record))
    assert set(thread_counts) == ({1} if threads > 1 else set())
    assert torch.get_num_threads() == threads
    later = threading.Thread(target=lambda: thread_counts.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert thread_counts[-1] == threads


def test_an_error_in_a_thread_reaches_the_caller(threads: int) -> None:
    """The number of torch threads is restored, too."""

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise MemoryError("no more")

    head = LinearHead(torch.randn(3000, 8), None, fail)
    with pytest.raises(MemoryError, match="no more"):
        token_statistics(torch.randn(500, 8), torch.zeros(500, dtype=torch.long), head)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("after", [None, lambda logits: logits * 0.5])
@pytest.mark.usefixtures("threads")
def test_projection_in_parts_equals_the_definition(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, after: Head | None, *, bias: bool
) -> None:
    """Over more rows and ids than a block holds, with a bias, a scale, ties, -inf, and a NaN."""
    monkeypatch.setattr(module, "_BLOCK_ROWS", 200)
    monkeypatch.setattr(module, "_BLOCKS_DEALT", 2)
    torch.manual_seed(0)
    rows, vocabulary = 700, 2500
    hidden, weight = torch.randn(rows, 16).to(dtype), torch.randn(vocabulary, 16).to(dtype)
    weight[7] = weight[1900] = weight[1100]
    offset = torch.randn(vocabulary).to(dtype) if bias else None
    if offset is not None:
        offset[7] = offset[1900] = offset[1100]
        offset[[3, 1030]] = -torch.inf
    hidden[650, 3] = torch.nan
    targets = torch.randint(0, vocabulary, (rows,))
    targets[:6] = torch.tensor([7, 1100, 1900, 1023, 1024, 2499])
    targets[targets == 3] = 4
    targets[targets == 1030] = 4
    head = LinearHead(weight, offset, after)
    columns = token_statistics(hidden, targets, head).numpy()
    assert np.isnan(columns[650]).all()
    finite = np.arange(rows) != 650
    agree(columns[finite], head(hidden)[finite], targets[finite], logit_error=head_bound(hidden[finite], head))


@pytest.mark.parametrize("scale", [1.0, 10.0, 40.0])
def test_certain_and_very_unlikely_targets(scale: float) -> None:
    """The gap between the target and the highest logit reaches hundreds of nats: no overflow, all values in range."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 32) * scale, torch.randn(2000, 32)
    logits = hidden @ weight.T
    targets = torch.where(torch.arange(300) % 2 == 0, logits.argmax(-1), logits.argmin(-1))
    columns = token_statistics(hidden, targets, LinearHead(weight, None, None)).numpy()
    assert (columns[::2, RANK] == 1).all()
    assert (columns[::2, LOGPROB] == columns[::2, MAX_LOGPROB]).all()
    assert (columns[:, LOGPROB] <= columns[:, MAX_LOGPROB]).all()
    assert (columns[:, MAX_LOGPROB] <= 0).all()
    assert (columns[:, ENTROPY] >= 0).all()
    exact = hidden.double() @ weight.double().T
    agree(columns, exact, targets, logit_error=product_bound(hidden, weight.T, added=2))


def test_the_order_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The assignment of blocks to threads varies from run to run; many rows are split into blocks."""
    torch.manual_seed(0)
    hidden, targets = torch.randn(900, 16), torch.randint(0, 4000, (900,))
    before, expected = torch.get_num_threads(), None
    head = LinearHead(torch.randn(4000, 16), None, lambda logits: logits)
    try:
        torch.set_num_threads(4)
        for wait in (0.0, 0.001, 0.003, 0.0):
            slow = LinearHead(head.weight, None, lambda logits, wait=wait: time.sleep(wait * random.random()) or logits)
            columns = token_statistics(hidden, targets, slow)
            expected = columns if expected is None else expected
            assert torch.equal(columns, expected)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 256)
    for result in (token_statistics(hidden, targets, head), expected):
        agree(result.numpy(), head(hidden), targets, logit_error=head_bound(hidden, head))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 600])
@pytest.mark.parametrize("after", [None, torch.clone])
@pytest.mark.usefixtures("threads")
def test_a_token_ranks_just_behind_its_equal_lower_columns_id(
    dtype: torch.dtype, rows: int, after: Head | None
) -> None:
    """Each token has the weights of another token in another block; the lower id always ranks first."""
    torch.manual_seed(0)
    half = 9000
    weight = torch.randn(half, 96).to(dtype).repeat(2, 1)
    hidden, targets = torch.randn(rows, 96).to(dtype), torch.randint(0, half, (rows,))
    head = LinearHead(weight, None, after)
    lower_columns, higher_columns = (token_statistics(hidden, ids, head).numpy() for ids in (targets, targets + half))
    full = head(hidden).float()
    for column, bound in zip((LOGPROB, ENTROPY, MAX_LOGPROB), softmax_bounds(full, targets), strict=True):
        assert_within(lower_columns[:, column], higher_columns[:, column], 2 * bound)
    target = full.gather(-1, targets.unsqueeze(-1))
    tied = (full[:, :half] == target).sum(-1).numpy()  # in bfloat16 other tokens tie, too
    np.testing.assert_array_equal(higher_columns[:, RANK] - lower_columns[:, RANK], tied)
