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
    """The same from the package, with nothing between hidden states and logits."""
    return token_statistics(logits, targets, torch.clone).numpy()


def agree(
    found: np.ndarray, logits: torch.Tensor, targets: torch.Tensor, *, logit_error: torch.Tensor | float = 0.0
) -> None:
    """Equal to the definition but for rounding. Ranks are exact where the logits are."""
    expected = by_definition(logits, targets)
    bounds = softmax_bounds(logits, targets, logit_error=logit_error)
    for column, bound in zip((LOGPROB, ENTROPY, MAX_LOGPROB), bounds, strict=True):
        assert_within(found[:, column], expected[:, column], bound, f"column {column}")
    off = torch.as_tensor(logit_error, dtype=torch.float64).expand_as(logits)
    if not off.any():
        np.testing.assert_array_equal(found[:, RANK], expected[:, RANK])
        return
    chosen = targets.unsqueeze(-1)
    above = logits.double() - logits.double().gather(-1, chosen)
    either = off + off.gather(-1, chosen)  # closer than this, rounding alone decides which token comes first
    assert (found[:, RANK] > (above > either).sum(-1).numpy()).all()
    assert (found[:, RANK] <= (above >= -either).sum(-1).numpy()).all()


def head_bound(hidden: torch.Tensor, head: LinearHead) -> torch.Tensor:
    """How far two computations of the head's logits may lie apart.

    Each sums products in float32; in the head's blocks the rows are scaled and the target's logit is subtracted. In
    bfloat16 each rounds the product, and again with the bias, to bfloat16.
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
    """From uniform to near-certain predictions, over a vocabulary of 5,000, in each dtype that models come in."""
    torch.manual_seed(0)
    logits = (torch.randn(60, 5000) * scale).to(dtype)
    targets = torch.randint(0, 5000, (60,))
    targets[:20] = logits[:20].argmax(-1)
    agree(scored(logits, targets), logits, targets)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scale", "offset"), [(0.01, 0.0), (3.0, 0.0), (3.0, -500.0), (300.0, 0.0), (3.0, 10_000.0)])
def test_entropy_and_rank_over_a_large_vocabulary(dtype: torch.dtype, scale: float, offset: float) -> None:
    """Over 151,936 tokens, from nearly uniform to certain, logits far from 0 and tied in bfloat16: entropy and
    log-probability agree with float64 to rounding, and the rank is exact: strictly larger logits, then ties by id."""
    torch.manual_seed(1)
    vocabulary = 151_936
    logits = (torch.randn(12, vocabulary) * scale + offset).to(dtype)
    targets = torch.randint(0, vocabulary, (12,))
    targets[:4] = logits[:4].argmax(-1)
    targets[4:6] = logits[4:6].argmin(-1)
    agree(scored(logits, targets), logits, targets)


def test_one_token_of_many_equal_ones_is_ranked_by_its_id() -> None:
    """With every logit of a large vocabulary the same, the rank is the id + 1, and the entropy is ln V."""
    logits = torch.full((4, 151_936), 2.5, dtype=torch.bfloat16)
    targets = torch.tensor([0, 1, 70_000, 151_935])
    found = scored(logits, targets)
    assert found[:, RANK].tolist() == [1, 2, 70_001, 151_936]
    assert_within(found[:, ENTROPY], np.full(4, np.log(151_936)), softmax_bounds(logits, targets)[1])


def few_values(infinite: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    """Logits of a small vocabulary in which ties are everywhere."""
    return st.lists(st.one_of(st.sampled_from([-2.0, 0.0, 0.5, 1.0]), infinite), min_size=1, max_size=12)


@cases(300)
@given(few_values(st.floats(-30, 30, width=32, allow_subnormal=False)), st.data())
def test_equal_logits_are_ranked_by_id(values: list[float], data: st.DataObject) -> None:
    """Rank is 1 + strictly larger logits + equal ones of lower id, whichever token is asked for."""
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
    found = scored(logits, targets)
    assert not np.isnan(found).any()
    agree(found, logits, targets)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits are made a few rows at a time; how many at a time changes no number."""
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
def test_nan_comes_out_as_nan(place: int) -> None:
    """A NaN logit anywhere in a row makes the row NaN, and only that row."""
    logits = torch.arange(21.0).reshape(3, 7)
    logits[1, place] = torch.nan
    found = scored(logits, torch.tensor([3, 3, 3]))
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize("head", [torch.clone, lambda rows: rows.double(), LinearHead(torch.ones(9, 5), None, None)])
def test_nothing_to_score_gives_no_rows(head: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """No tokens, no rows."""
    assert token_statistics(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), head).shape == (0, 4)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads that torch has while a test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_leaves_the_threads_of_torch_as_they_were(threads: int) -> None:
    """Blocks are dealt to threads that work alone; the caller, and threads that start later, have as many as before."""
    weight = torch.randn(3000, 8)
    seen: list[int] = []

    def look(logits: torch.Tensor) -> torch.Tensor:
        if threading.current_thread() is not threading.main_thread():
            seen.append(torch.get_num_threads())
        return logits

    token_statistics(torch.randn(1000, 8), torch.zeros(1000, dtype=torch.long), LinearHead(weight, None, look))
    assert set(seen) == ({1} if threads > 1 else set())
    assert torch.get_num_threads() == threads
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen[-1] == threads


def test_an_error_in_a_thread_reaches_the_caller(threads: int) -> None:
    """And torch has its threads back then, too."""

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
    """Over more rows and ids than a block holds, with a bias, a scale behind it, ties, -inf, and a NaN."""
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
    found = token_statistics(hidden, targets, head).numpy()
    assert np.isnan(found[650]).all()
    finite = np.arange(rows) != 650
    agree(found[finite], head(hidden)[finite], targets[finite], logit_error=head_bound(hidden[finite], head))


@pytest.mark.parametrize("scale", [1.0, 10.0, 40.0])
def test_sure_and_surprised_predictions(scale: float) -> None:
    """Up to hundreds of nats between the target and the highest logit: no overflow, and no bound is crossed."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 32) * scale, torch.randn(2000, 32)
    logits = hidden @ weight.T
    targets = torch.where(torch.arange(300) % 2 == 0, logits.argmax(-1), logits.argmin(-1))
    found = token_statistics(hidden, targets, LinearHead(weight, None, None)).numpy()
    assert (found[::2, RANK] == 1).all()
    assert (found[::2, LOGPROB] == found[::2, MAX_LOGPROB]).all()
    assert (found[:, LOGPROB] <= found[:, MAX_LOGPROB]).all()
    assert (found[:, MAX_LOGPROB] <= 0).all()
    assert (found[:, ENTROPY] >= 0).all()
    exact = hidden.double() @ weight.double().T
    agree(found, exact, targets, logit_error=product_bound(hidden, weight.T, added=2))


def test_which_thread_is_faster_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads take blocks as they come to them, which is never the same twice; rows are split where they are many."""
    torch.manual_seed(0)
    hidden, targets = torch.randn(900, 16), torch.randint(0, 4000, (900,))
    before, expected = torch.get_num_threads(), None
    head = LinearHead(torch.randn(4000, 16), None, lambda logits: logits)
    try:
        torch.set_num_threads(4)
        for wait in (0.0, 0.001, 0.003, 0.0):
            slow = LinearHead(head.weight, None, lambda logits, wait=wait: time.sleep(wait * random.random()) or logits)
            found = token_statistics(hidden, targets, slow)
            expected = found if expected is None else expected
            assert torch.equal(found, expected)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 256)
    for result in (token_statistics(hidden, targets, head), expected):
        agree(result.numpy(), head(hidden), targets, logit_error=head_bound(hidden, head))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 600])
@pytest.mark.parametrize("after", [None, torch.clone])
@pytest.mark.usefixtures("threads")
def test_a_token_ranks_just_behind_its_twin_of_lower_id(dtype: torch.dtype, rows: int, after: Head | None) -> None:
    """Every token has another with the same weights, in another block: of the two the lower id comes first, exactly."""
    torch.manual_seed(0)
    half = 9000
    weight = torch.randn(half, 96).to(dtype).repeat(2, 1)
    hidden, targets = torch.randn(rows, 96).to(dtype), torch.randint(0, half, (rows,))
    head = LinearHead(weight, None, after)
    of_lower, of_higher = (token_statistics(hidden, ids, head).numpy() for ids in (targets, targets + half))
    full = head(hidden).float()
    for column, bound in zip((LOGPROB, ENTROPY, MAX_LOGPROB), softmax_bounds(full, targets), strict=True):
        assert_within(of_lower[:, column], of_higher[:, column], 2 * bound)
    target = full.gather(-1, targets.unsqueeze(-1))
    tied = (full[:, :half] == target).sum(-1).numpy()  # in bfloat16 also with tokens that are no twins
    np.testing.assert_array_equal(of_higher[:, RANK] - of_lower[:, RANK], tied)
