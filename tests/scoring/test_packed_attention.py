"""Attention over a shared prefix and over own tokens, put together, is one softmax over both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rbridge_tasks.scoring import texts
from rbridge_tasks.scoring.packed_attention import (
    NAME,
    Reading,
    UnsupportedAttentionError,
    attend,
    attend_packed,
    attend_plainly,
    packed_attention,
)
from rbridge_tasks.scoring.texts import Text, pack

from ..error_bounds import assert_within
from ..support import require_attention_in, tiny_model
from ..tensor_bounds import attention_bounds


class Layer(torch.nn.Module):
    """What attention asks of a model's layer."""

    layer_idx = 0


def states(heads: int, tokens: int, width: int) -> torch.Tensor:
    """Queries, keys or values (heads, tokens, width)."""
    return torch.randn(heads, tokens, width)


def by_definition(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """The last queries of a text over all of its keys, in float64, each key head shared by a group of query heads."""
    groups = query.shape[0] // key.shape[0]
    key, value = key.double().repeat_interleave(groups, 0), value.double().repeat_interleave(groups, 0)
    products = query.double() @ key.transpose(1, 2) * scale
    places = torch.arange(key.shape[1] - query.shape[1], key.shape[1])
    products = products.masked_fill(torch.arange(key.shape[1]) > places.unsqueeze(1), -torch.inf)
    return products.softmax(-1) @ value


@pytest.mark.parametrize("short", [2, 128])
@pytest.mark.parametrize("prefix", [0, 1, 70])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("width", [8, 12])
def test_each_text_attends_to_the_prefix_and_to_itself(
    prefix: int, key_heads: int, width: int, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of 1 to 40 tokens, some of which share a beginning, in one line: each as if it stood alone."""
    monkeypatch.setattr(texts, "_SHORT", short)
    torch.manual_seed(0)
    sizes, begun = (40, 3, 17, 1), torch.randint(0, 9, (30,))
    each = [
        np.full(prefix, 7).tolist() + begun[: size // 2].tolist() + [100 + size] * (size - size // 2) for size in sizes
    ]
    line = pack([Text(np.array(text), np.array([0])) for text in each], prefix)
    query, key, value = (states(heads, line.ids.size, width) for heads in (4, key_heads, key_heads))
    kept = states(key_heads, prefix, width), states(key_heads, prefix, width)
    reading = Reading([torch.as_tensor(rows) for rows in line.rows], torch.as_tensor(line.home), line.reach)
    if prefix:
        reading.prefix = {0: (kept[0].unsqueeze(0), kept[1].unsqueeze(0))}
    with packed_attention(tiny_model("llama", 10), reading):
        found, _ = attend_packed(Layer(), query[None], key[None], value[None], None, scaling=0.3)
    in_rows = [row for rows in reading.rows for row in rows]
    for row, size in zip(in_rows, sorted(sizes, reverse=True), strict=True):
        own = row[:size]
        whole = (torch.cat([kept[0], key[:, own]], 1), torch.cat([kept[1], value[:, own]], 1))
        expected = by_definition(query[:, own], *whole, 0.3)
        groups = 4 // key_heads
        seen = [state.repeat_interleave(groups, 0) for state in whole]
        visible = torch.ones(size, prefix + size, dtype=torch.bool).tril(prefix)
        bound, _ = attention_bounds(query[:, own], *seen, scale=0.3, visible=visible)
        # Prefix and own part are put together by their log-sums: each rounded, and an exponential each.
        assert_within(found[0, own].transpose(0, 1), expected, 2 * bound)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_and_plain_attention_agree(dtype: torch.dtype, *, causal: bool) -> None:
    """Values and log-sums; the log-sums in float32 whatever the states are."""
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, 3, tokens, 16).to(dtype) for tokens in (33, 33 if causal else 50, 33 if causal else 50)
    )
    found = attend(query, key, value, scale=0.25, causal=causal)
    expected = attend_plainly(query.double(), key.double(), value.double(), scale=0.25, causal=causal)
    visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril() if causal else None
    bounds = attention_bounds(query, key, value, scale=0.25, visible=visible)
    for one, other, bound in zip(found, expected, bounds, strict=True):
        assert_within(one.double(), other, bound)
    assert found[1].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [127, 128, 129, 256, 300, 512, 513])
def test_causal_attention_brought_in_parts(tokens: int, dtype: torch.dtype) -> None:
    """Around the lengths from which, and up to which, queries are brought a part at a time."""
    torch.manual_seed(0)
    states = [torch.randn(2, 2, tokens, 16).to(dtype) for _ in range(3)]
    require_attention_in(dtype)
    found = attend(*states, scale=0.25, causal=True)
    expected = attend_plainly(*(state.double() for state in states), scale=0.25, causal=True)
    visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    for one, other, bound in zip(found, expected, attention_bounds(*states, scale=0.25, visible=visible), strict=True):
        assert_within(one.double(), other, bound)
    assert (found[0].dtype, found[1].dtype) == (dtype, torch.float32)


@pytest.mark.parametrize(
    "option", [{"softcap": 30.0}, {"position_bias": torch.zeros(1)}, {"is_causal": False}, {"sliding_window": 4}]
)
def test_other_attention_is_refused(option: dict[str, object]) -> None:
    """Caps, biases, text that looks ahead, and windows narrower than the text would be ignored without a word."""
    query = torch.randn(1, 2, 5, 8)
    with (
        packed_attention(tiny_model("llama", 10), Reading((), None, reach=5)),
        pytest.raises(UnsupportedAttentionError),
    ):
        attend_packed(Layer(), query, query, query, None, **option)


def test_model_has_its_own_attention_back() -> None:
    """Behind the pass, and behind an error in it."""
    model = tiny_model("llama", 10)
    before = model.config._attn_implementation

    def failing_pass() -> None:
        with packed_attention(model, Reading((), None, reach=1)):
            assert model.config._attn_implementation == NAME
            assert NAME in ALL_ATTENTION_FUNCTIONS
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_pass()
    assert model.config._attn_implementation == before
    assert NAME not in ALL_ATTENTION_FUNCTIONS
