"""What scoring cannot take less time than: the operations that the work needs, at rates this machine is seen to reach.

Counted are one pass of every different token of the inputs through the model's body (a token that texts share, behind
the same text, counts once), its attention to all tokens before it, and the output projection of every position that
predicts a trace token. Each kind of matrix product is made as often as the work asks for, in the shapes that occur, cut
up in the best of several ways. Norms, activations, softmax, and everything that is no matrix product count as nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from rbridge_tasks.scoring import cpu
from rbridge_tasks.scoring.cpu.threads import in_threads, take
from rbridge_tasks.scoring.prefix_tree import shared_tokens
from rbridge_tasks.scoring.tokenization import TokenizedPair


@dataclass(frozen=True)
class Work:
    """Operations of the different tokens.

    Attributes:
        tokens: different tokens of the inputs.
        common: tokens that all inputs begin with.
        projected: positions that predict a trace token.
        linear: operations in linear layers by (inputs, outputs).
        attention: operations in attention.
        projection: operations in the output projection.
        heads, width, keys: attention heads, their width, and the tokens a token attends to, on average.
        hidden, vocabulary: shape of the output projection.
    """

    tokens: int
    common: int
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
        common=min(shared[1:], default=0),
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
    """Seconds that the products of ``work`` take on the CPU: all of them, made one behind the other.

    Twice: linear layers by torch's own product, and by the faster one that ours uses where it can, in the fastest of
    several ways.

    Returns:
        ``seconds`` with torch's own products and ``seconds_onednn``; ``seconds_of`` each maker's products by
        kind and ``operations_of`` each kind; ``tokens``, ``common`` and ``projected``.
    """
    cuts = [(64, work.vocabulary), (512, work.vocabulary), (512, 1024), (512, 8192), (2048, 256)]
    attention = _time(work.attention, _attention(work, dtype), clock)
    seconds_of: dict[str, dict[str, float]] = {}
    for maker, linear in (("torch", functional.linear), ("oneDNN", cpu.linear)):
        seconds_of[maker] = {"attention": attention}
        for (inputs, outputs), operations in work.linear.items():
            ways = [_linear(linear, rows, inputs, outputs, outputs, dtype) for rows in (512, 2048)]
            seconds_of[maker][f"linear {inputs} to {outputs}"] = _time(operations, ways, clock)
        ways = [_linear(linear, rows, work.hidden, work.vocabulary, columns, dtype) for rows, columns in cuts]
        if maker == "oneDNN":
            ways += [_dealt(rows, work.hidden, work.vocabulary, dtype) for rows in (640, 1280)]
        seconds_of[maker]["projection"] = _time(work.projection, ways, clock)
    operations_of = {f"linear {inputs} to {outputs}": count for (inputs, outputs), count in work.linear.items()}
    return {
        "seconds": sum(seconds_of["torch"].values()),
        "seconds_onednn": sum(seconds_of["oneDNN"].values()),
        "seconds_of": seconds_of,
        "operations_of": operations_of | {"projection": work.projection, "attention": work.attention},
        "tokens": work.tokens,
        "common": work.common,
        "projected": work.projected,
    }


_Way = tuple[float, Callable[[], object]]


def _linear(
    linear: Callable[..., torch.Tensor], rows: int, inputs: int, outputs: int, columns: int, dtype: torch.dtype
) -> _Way:
    entering, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    parts = weight.split(columns)

    def product() -> None:
        for part in parts:
            linear(entering, part)

    return 2.0 * rows * inputs * outputs, product


def _dealt(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> _Way:
    """Parts of the vocabulary dealt to threads, as ours does."""
    factor = cpu.Factor(torch.randn(rows, inputs).to(dtype))
    parts, offset = torch.randn(outputs, inputs).to(dtype).split(256), torch.zeros(rows, dtype=dtype)

    def product() -> None:
        waiting = deque(parts)

        def some() -> None:
            for part in take(waiting):
                factor.linear(part, offset)

        in_threads(some, torch.get_num_threads())

    return 2.0 * rows * inputs * outputs, product


def _attention(work: Work, dtype: torch.dtype) -> list[_Way]:
    keys = max(1, round(work.keys))
    ways: list[_Way] = []
    for queries in (64, 128, 512):
        query, key = (torch.randn(work.heads, size, work.width).to(dtype) for size in (queries, keys))
        products, states = (torch.empty(work.heads, queries, size, dtype=dtype) for size in (keys, work.width))
        weights = torch.rand(work.heads, queries, keys).to(dtype)

        def product(
            query: Any = query, key: Any = key, weights: Any = weights, products: Any = products, states: Any = states
        ) -> None:
            torch.bmm(query, key.transpose(1, 2), out=products)
            torch.bmm(weights, key, out=states)

        ways.append((4.0 * work.heads * queries * keys * work.width, product))
    return ways


def _time(operations: float, ways: Sequence[_Way], clock: Callable[[], float], tries: int = 15) -> float:
    """Seconds of so many operations, made in full in the way that is fastest in a few tries."""
    costs = []
    for of_one, product in ways:
        product()
        costs.append(statistics.median(_seconds(product, clock) for _ in range(tries)) / of_one)
    of_one, product = ways[costs.index(min(costs))]
    times = max(1, round(operations / of_one))
    return sum(_seconds(product, clock) for _ in range(times)) * operations / (times * of_one)


def _seconds(product: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    product()
    return clock() - began
