"""Scoring on a simulated GPU never waits, mixes no devices, copies from pinned memory, and needs little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rbridge_tasks.scoring.attention_masks import Mask
from rbridge_tasks.scoring.forward import Forward
from rbridge_tasks.scoring.readers import PackedReader
from rbridge_tasks.scoring.texts import Text
from rbridge_tasks.scoring.token_statistics import token_statistics

from .simulated_gpu import DEVICE, UnpinnedCopyError, simulated_gpu, without_content

pytestmark = pytest.mark.slow
GIB = 2**30


def llama(vocabulary: int = 4000, *, tied: bool = True, dtype: torch.dtype = torch.bfloat16) -> LlamaForCausalLM:
    """Two layers of width 1024 on the "meta" device."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=2,
        num_attention_heads=16,
        num_key_value_heads=8,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config).to(dtype).eval()


def texts(count: int, prompt: int, scored: int) -> list[Text]:
    """Texts of different lengths with one prompt."""
    random = np.random.default_rng(0)
    shared = random.integers(0, 4000, prompt)
    batch = []
    for i in range(count):
        ids = random.integers(0, 4000, 30 + scored - i)
        batch.append(Text(np.concatenate([shared, ids[:-1]]), ids[-(scored - i) :]))
    return batch


#: No mask; a window that ends inside the prompt; one that ends inside the texts.
WINDOWS = [None, 350, 64]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_prompt_and_batch_are_queued_without_waiting(dtype: torch.dtype, window: int | None) -> None:
    """A prompt is read and a batch after it; then the batch with its prompts. The second layer has a sliding window."""
    model = llama(dtype=dtype)
    batch = texts(6, prompt=300, scored=200)
    masks = {} if window is None else {1: Mask((np.arange(1000) - window + 1).clip(0))}
    with simulated_gpu() as gpu:
        reader = PackedReader(Forward(without_content(model), DEVICE), frozenset(range(2)), masks)
        prefix = reader.keep(batch[0].ids[:300], None)
        for kept in (prefix, None):
            columns = reader.read(batch, kept)
            assert columns.shape == (sum(text.targets.size for text in batch), 4)
            assert columns.device == DEVICE
    assert gpu.uploads > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("vocabulary", [150_000, 262_144])
def test_large_vocabularies_take_a_gibibyte(vocabulary: int, tied: bool, dtype: torch.dtype) -> None:
    """In addition to the weights, for a batch of 8 texts with 200 scored tokens each."""
    model = llama(vocabulary, tied=tied, dtype=dtype)
    with simulated_gpu() as gpu:
        reader = PackedReader(Forward(without_content(model), DEVICE), frozenset(range(2)))
        weight_bytes = gpu.peak
        reader.read(texts(8, prompt=100, scored=200), None)
    assert weight_bytes >= vocabulary * 1024 * dtype.itemsize * (1 if tied else 2)
    assert gpu.peak - weight_bytes <= GIB, gpu.at


def test_memory_does_not_grow_with_the_number_of_tokens() -> None:
    """Logits of four times the tokens take the same memory: only hidden states and results grow."""
    peaks = []
    for rows in (4000, 16_000):
        with simulated_gpu() as gpu:
            weight = torch.empty(150_000, 256, dtype=torch.bfloat16, device=DEVICE)
            hidden = torch.empty(rows, 256, dtype=torch.bfloat16, device=DEVICE)
            targets = torch.empty(rows, dtype=torch.int64, device=DEVICE)
            before = gpu.peak
            token_statistics(hidden, targets, lambda part, weight=weight: part @ weight.t())
            peaks.append(gpu.peak - before)
    assert peaks[1] - peaks[0] <= 12_000 * 4 * 8 * 2


def waits(values: torch.Tensor) -> Any:
    return values.sum().item()


def selects(values: torch.Tensor) -> Any:
    return values[values > 0]


def mixes(values: torch.Tensor) -> Any:
    return values + torch.ones(4)


def uploads_from_pageable_memory(values: torch.Tensor) -> Any:
    return torch.ones(4).to(values.device, non_blocking=True)


def copies_back(values: torch.Tensor) -> Any:
    return values.to("cpu")


@pytest.mark.parametrize("mistake", [waits, selects, mixes, uploads_from_pageable_memory, copies_back])
def test_the_simulation_detects_mistakes(mistake: Any) -> None:
    """Each of these functions would wait for a real GPU, or fail on one."""
    with simulated_gpu():
        values = torch.empty(4, device=DEVICE)
        with pytest.raises((RuntimeError, UnpinnedCopyError)):
            mistake(values)
