"""What scoring cannot take less time than: the operations that the work needs, at rates this machine is seen to reach.

Counted are one pass of every different token of the inputs through the model's body (a token that texts share, behind
the same text, counts once), its attention to all tokens before it, and the output projection of every position that
predicts a trace token. Each kind of matrix product is timed on its own, in the shapes that occur, the best of several
ways to cut it up. Norms, activations, softmax, and everything that is no matrix product count as nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from rbridge_tasks.backends.prefix_tree import shared_tokens
from rbridge_tasks.tokenization import TokenizedPair


@dataclass(frozen=True)
class Work:
    """Operations of the different tokens.

    Attributes:
        tokens: different tokens of the inputs.
        projected: positions that predict a trace token.
        linear: operations in linear layers by (inputs, outputs).
        attention: operations in attention.
        projection: operations in the output projection.
        heads, width, keys: attention heads, their width, and the tokens a token attends to, on average.
        hidden, vocabulary: shape of the output projection.
    """

    tokens: int
    projected: int
    linear: dict[tuple[int, int], float]
    attention: float
    projection: float
    heads: int
    width: int
    keys: float
    hidden: int
    vocabulary: int

    @property
    def total(self) -> float:
        """All operations."""
        return sum(self.linear.values()) + self.attention + self.projection


def count_work(model: Any, pairs: Sequence[TokenizedPair]) -> Work:
    """Operations (a multiplication and an addition are two) to score pairs under a decoder of linear layers.

    Args:
        model: a transformers causal LM in which all attention is full and causal.
        pairs: what is scored, each shorter than the model's window.
    """
    inputs = sorted((pair.ids[:-1] for pair in pairs), key=lambda ids: ids.astype(">u4").tobytes())
    shared = [0] + [shared_tokens(a, b) for a, b in itertools.pairwise(inputs)]
    different = [np.arange(known, ids.size) for known, ids in zip(shared, inputs, strict=True)]
    tokens = sum(places.size for places in different)
    keys = sum(float((places + 1).sum()) for places in different)
    projected = sum(pair.ids.size - pair.first for pair in pairs)
    head, config = model.get_output_embeddings(), model.config
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    linear: Counter[tuple[int, int]] = Counter()
    for layer in layers:
        linear[layer.in_features, layer.out_features] += 2 * layer.in_features * layer.out_features * tokens
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Work(
        tokens=tokens,
        projected=projected,
        linear=dict(linear),
        attention=4.0 * heads * width * keys * config.num_hidden_layers,
        projection=2.0 * head.in_features * head.out_features * projected,
        heads=heads,
        width=width,
        keys=keys / tokens,
        hidden=head.in_features,
        vocabulary=head.out_features,
    )


def measured_floor(work: Work, clock: Callable[[], float], *, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Seconds of ``work`` on the CPU, by kind of product, and the rates (operations a second) behind them."""
    products: dict[str, tuple[float, float]] = {}
    for (inputs, outputs), operations in work.linear.items():
        ways = [_linear(rows, inputs, outputs, outputs, dtype) for rows in (512, 2048)]
        products[f"linear {inputs} to {outputs}"] = operations, _rate(ways, clock)
    cuts = [(64, work.vocabulary), (512, work.vocabulary), (512, 1024), (512, 8192)]
    ways = [_linear(rows, work.hidden, work.vocabulary, columns, dtype) for rows, columns in cuts]
    products["projection"] = work.projection, _rate(ways, clock)
    products["attention"] = work.attention, _rate(_attention(work, dtype), clock)
    seconds = {name: operations / rate for name, (operations, rate) in products.items()}
    return {
        "seconds": sum(seconds.values()),
        "seconds_of": seconds,
        "operations_of": {name: operations for name, (operations, _) in products.items()},
        "rate_of": {name: rate for name, (_, rate) in products.items()},
        "tokens": work.tokens,
        "projected": work.projected,
    }


_Way = tuple[float, Callable[[], object]]


def _linear(rows: int, inputs: int, outputs: int, columns: int, dtype: torch.dtype) -> _Way:
    entering, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    parts = weight.split(columns)

    def product() -> None:
        for part in parts:
            functional.linear(entering, part)

    return 2.0 * rows * inputs * outputs, product


def _attention(work: Work, dtype: torch.dtype) -> list[_Way]:
    keys = max(1, round(work.keys))
    ways: list[_Way] = []
    for queries in (128, 512):
        query, key = (torch.randn(work.heads, size, work.width).to(dtype) for size in (queries, keys))
        weights = torch.rand(work.heads, queries, keys).to(dtype)

        def product(query: Any = query, key: Any = key, weights: Any = weights) -> None:
            torch.bmm(query, key.transpose(1, 2))
            torch.bmm(weights, key)

        ways.append((4.0 * work.heads * queries * keys * work.width, product))
    return ways


def _rate(ways: Sequence[_Way], clock: Callable[[], float], repeats: int = 9) -> float:
    """Operations a second of the best way, each at its median."""
    rates = []
    for operations, product in ways:
        product()
        seconds = []
        for _ in range(repeats):
            began = clock()
            product()
            seconds.append(clock() - began)
        rates.append(operations / statistics.median(seconds))
    return max(rates)
