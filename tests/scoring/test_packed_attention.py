"""Attention over a shared prefix and over a text's own tokens combines to one softmax over both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers import masking_utils
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rbridge_tasks.scoring import texts
from rbridge_tasks.scoring.attention_kernels import attend, attend_plainly
from rbridge_tasks.scoring.attention_masks import Mask, UnsupportedAttentionError
from rbridge_tasks.scoring.packed_attention import NAME, KeysValues, Reading, attend_packed, packed_attention
from rbridge_tasks.scoring.texts import Text, pack

from ..error_bounds import assert_within
from ..support import require_attention_in, tiny_model
from ..tensor_bounds import attention_bounds


class Layer(torch.nn.Module):
    """The attribute that attention reads from a model's layer."""

    layer_idx = 0


#: A model whose layers are never called; only its name for the attention function is used.
MODEL = tiny_model("llama", 10)


def attended(states: Sequence[torch.Tensor], reading: Reading, **options: Any) -> torch.Tensor:
    """Attention over queries, keys and values (heads, tokens, width); the result is (tokens, heads, width)."""
    query, key, value = (state.unsqueeze(0) for state in states)
    with packed_attention(MODEL, reading):
        return attend_packed(Layer(), query, key, value, **options)[0][0]


def states(heads: int, tokens: int, width: int) -> torch.Tensor:
    """Queries, keys or values (heads, tokens, width)."""
    return torch.randn(heads, tokens, width)


def by_definition(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    visible: torch.Tensor,
    cap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of a text's last queries over all its keys, in float64; query heads in a group share a key head."""
    groups = query.shape[0] // key.shape[0]
    key, value = key.double().repeat_interleave(groups, 0), value.double().repeat_interleave(groups, 0)
    products = query.double() @ key.transpose(1, 2) * scale
    if cap is not None:
        products = cap * torch.tanh(products / cap)
    products = products.masked_fill(~visible, -torch.inf)
    if sinks is not None:
        products = torch.cat([products, sinks.double().view(-1, 1, 1).expand(-1, products.shape[1], 1)], 2)
    return products.softmax(-1)[..., : value.shape[1]] @ value


@dataclass(frozen=True)
class Kind:
    """One kind of attention: mask, cap, sinks, number of key heads, and widths."""

    mask: Callable[..., torch.Tensor] | None = None
    cap: float | None = None
    sinks: bool = False
    key_heads: int = 2
    width: int = 8
    value_width: int = 8


def window(size: int) -> Callable[..., torch.Tensor]:
    return masking_utils.sliding_window_causal_mask_function(size)


def chunks(size: int) -> Callable[..., torch.Tensor]:
    return masking_utils.chunked_causal_mask_function(size, torch.zeros(1, dtype=torch.int64))


#: With a prefix of 70 tokens and texts of up to 40 after it: windows that end in the text, at the start of the prefix,
#: in it, and beyond it; chunks that begin in the prefix, at its end and in the text.
KINDS = {
    "causal": Kind(),
    **{f"{heads} key heads": Kind(key_heads=heads) for heads in (1, 4)},
    **{
        f"width {width}, values {values}": Kind(width=width, value_width=values)
        for width, values in ((12, 12), (12, 8), (8, 12))
    },
    **{f"window {size}": Kind(window(size)) for size in (1, 2, 7, 33, 71, 100, 500)},
    **{f"chunks of {size}": Kind(chunks(size)) for size in (1, 16, 35, 70, 90, 500)},
    "cap": Kind(cap=0.5),
    "sinks": Kind(sinks=True),
    "window, cap, sinks, widths": Kind(window(33), 2.0, sinks=True, key_heads=1, width=12),
}


@pytest.mark.parametrize("short", [2, 128])
@pytest.mark.parametrize("prefix", [0, 1, 70])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_text_attends_to_the_prefix_and_to_itself(
    kind: Kind, prefix: int, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of 1 to 40 tokens in one line, some with a common start, give the outputs of each text alone."""
    monkeypatch.setattr(texts, "_SHORT", short)
    torch.manual_seed(0)
    sizes, shared_start = (40, 3, 17, 1), torch.randint(0, 9, (30,))
    each = [
        np.full(prefix, 7).tolist() + shared_start[: size // 2].tolist() + [100 + size] * (size - size // 2)
        for size in sizes
    ]
    line = pack([Text(np.array(text), np.array([0])) for text in each], prefix)
    mask = kind.mask and Mask.of(kind.mask, line.reach, torch.device("cpu"))
    masks = {0: mask} if mask else {}
    sinks = torch.randn(4) if kind.sinks else None
    options: dict[str, Any] = {"scaling": 0.3, "softcap": kind.cap, "s_aux": sinks}

    def random_states(tokens: int) -> list[torch.Tensor]:
        shapes = ((4, kind.width), (kind.key_heads, kind.width), (kind.key_heads, kind.value_width))
        return [states(heads, tokens, width) for heads, width in shapes]

    prefix_keys_values: KeysValues = {}
    prefix_states, text_states = random_states(prefix), random_states(line.ids.size)
    if prefix:
        reading = Reading((), None, prefix, np.arange(prefix), masks=masks, kept=prefix_keys_values)
        attended(prefix_states, reading, **options)
    rows = [torch.as_tensor(rows) for rows in line.rows]
    reading = Reading(rows, torch.as_tensor(line.home), line.reach, line.positions, prefix, prefix_keys_values, masks)
    outputs = attended(text_states, reading, **options)
    in_rows = [row for rows in reading.rows for row in rows]
    for row, size in zip(in_rows, sorted(sizes, reverse=True), strict=True):
        query = text_states[0][:, row[:size]]
        key, value = (torch.cat([prefix_states[i], text_states[i][:, row[:size]]], 1) for i in (1, 2))
        positions = torch.arange(prefix + size)
        visible = positions <= positions[prefix:, None]
        if kind.mask:
            zero = torch.tensor(0)
            visible &= kind.mask(zero, zero, positions[prefix:, None], positions[None])
        expected = by_definition(query, key, value, 0.3, visible, kind.cap, sinks)
        keys, values = (state.repeat_interleave(4 // kind.key_heads, 0) for state in (key, value))
        bound, _ = attention_bounds(query, keys, values, scale=0.3, visible=visible)
        # Prefix and text are combined by their log-sums, each of which is rounded and exponentiated.
        assert_within(outputs[row[:size]].transpose(0, 1), expected, 2 * bound)


def test_keys_that_no_later_token_sees_are_not_kept() -> None:
    """A window of 33 keeps the last 32 keys of a 70-token prefix for the next token; chunks of 35 keep none."""
    for function, keys in ((window(33), 32), (chunks(35), 0), (window(100), 70)):
        mask = Mask.of(function, 71, torch.device("cpu"))
        reading = Reading((), None, 70, np.arange(70), masks={0: mask} if mask else {}, kept={})
        attended([states(2, 70, 8) for _ in range(3)], reading)
        assert reading.kept is not None
        assert [state.shape[2] for state in reading.kept[0]] == [keys, keys]


@pytest.mark.parametrize(
    "function",
    [
        masking_utils.bidirectional_mask_function,
        masking_utils.and_masks(masking_utils.causal_mask_function, lambda _b, _h, q, k: (q - k) % 2 == 0),
        masking_utils.and_masks(masking_utils.causal_mask_function, lambda _b, _h, q, k: (q < 9) | (k > 4) | (q > 20)),
        masking_utils.and_masks(
            masking_utils.causal_mask_function, masking_utils.padding_mask_function(torch.ones(1, 50))
        ),
    ],
    ids=["later keys", "every other key", "an earlier key again", "a number for each token"],
)
def test_other_masks_are_refused(function: Callable[..., torch.Tensor]) -> None:
    """A mask is accepted only if each token sees all keys from a first key to itself, depending on positions alone."""
    with pytest.raises(UnsupportedAttentionError):
        Mask.of(function, 50, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_blocks_that_are_fully_hidden(dtype: torch.dtype) -> None:
    """First visible keys lie further apart than a block of the kernel: some queries see no key of the first blocks."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 16).to(dtype) for tokens in (100, 1500, 1500))
    first = np.linspace(0, 1499, 100).astype(np.int64)
    results = attend(query, key, value, scale=0.3, causal=False, first=first)
    hidden = torch.arange(1500) < torch.from_numpy(first).unsqueeze(1)
    expected = attend_plainly(query.double(), key.double(), value.double(), scale=0.3, causal=False, hidden=hidden)
    for result, reference, bound in zip(
        results, expected, attention_bounds(query, key, value, scale=0.3, visible=~hidden), strict=True
    ):
        assert_within(result.double(), reference, bound)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_and_plain_attention_agree(dtype: torch.dtype, *, causal: bool) -> None:
    """Values and log-sums agree; log-sums are float32 for states of any dtype."""
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, 3, tokens, 16).to(dtype) for tokens in (33, 33 if causal else 50, 33 if causal else 50)
    )
    results = attend(query, key, value, scale=0.25, causal=causal)
    expected = attend_plainly(query.double(), key.double(), value.double(), scale=0.25, causal=causal)
    visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril() if causal else None
    bounds = attention_bounds(query, key, value, scale=0.25, visible=visible)
    for result, reference, bound in zip(results, expected, bounds, strict=True):
        assert_within(result.double(), reference, bound)
    assert results[1].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [127, 128, 129, 256, 300, 512, 513])
def test_causal_attention_computed_in_parts(tokens: int, dtype: torch.dtype) -> None:
    """At the smallest and largest lengths for which queries are processed in parts."""
    torch.manual_seed(0)
    states = [torch.randn(2, 2, tokens, 16).to(dtype) for _ in range(3)]
    require_attention_in(dtype)
    results = attend(*states, scale=0.25, causal=True)
    expected = attend_plainly(*(state.double() for state in states), scale=0.25, causal=True)
    visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    for result, reference, bound in zip(
        results, expected, attention_bounds(*states, scale=0.25, visible=visible), strict=True
    ):
        assert_within(result.double(), reference, bound)
    assert (results[0].dtype, results[1].dtype) == (dtype, torch.float32)


@pytest.mark.parametrize(
    "option",
    [
        {"s_aux": torch.zeros(1, 2, 5, 1)},
        {"position_bias": torch.zeros(1)},
        {"is_causal": False},
        {"sliding_window": 4},
    ],
)
def test_other_attention_is_refused(option: dict[str, Any]) -> None:
    """Biases, non-causal attention, windows without a mask, and sinks of another shape raise an error."""
    query = torch.randn(1, 2, 5, 8)
    with (
        packed_attention(MODEL, Reading((), None, reach=5, positions=np.arange(5))),
        pytest.raises(UnsupportedAttentionError),
    ):
        attend_packed(Layer(), query, query, query, None, **option)


def test_the_models_own_attention_is_restored() -> None:
    """After a pass that fails."""
    model = MODEL
    before = model.config._attn_implementation

    def failing_pass() -> None:
        with packed_attention(model, Reading((), None, reach=1, positions=np.arange(1))):
            assert model.config._attn_implementation == NAME
            assert NAME in ALL_ATTENTION_FUNCTIONS
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_pass()
    assert model.config._attn_implementation == before
    assert NAME not in ALL_ATTENTION_FUNCTIONS
