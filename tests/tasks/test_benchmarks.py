"""The benchmarks measure what they say: the work is counted right, and the GPU script works wherever it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rbridge_tasks.tokenization import PairEncoder

from .support import mixed_pairs, tiny_model


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its scripts can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    yield
    for name in ("floor", "scoring", "gpu"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("benchmarks")
def test_floor_counts_what_must_be_done(tokenizers: dict[str, Any]) -> None:
    """Each different beginning of an input is one token; its operations are those of each matrix it meets."""
    from floor import count_work, measured_floor

    pairs = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(mixed_pairs())
    begun = {tuple(pair.ids[:end].tolist()) for pair in pairs for end in range(1, pair.ids.size)}
    work = count_work(tiny_model("llama", 700), pairs)
    assert work.tokens == len(begun)
    assert work.projected == sum(pair.ids.size - pair.first for pair in pairs)
    assert work.linear == {
        (32, 32): 2 * 32 * 32 * 2 * 2 * len(begun),  # queries and outputs of two layers
        (32, 16): 2 * 32 * 16 * 2 * 2 * len(begun),  # keys and values: half as many heads
        (32, 64): 2 * 32 * 64 * 2 * 2 * len(begun),
        (64, 32): 2 * 64 * 32 * 2 * len(begun),
    }
    assert work.attention == 2 * 4 * 32 * sum(map(len, begun))
    assert work.projection == 2 * 32 * 700 * work.projected
    floor = measured_floor(work, time.perf_counter)
    assert floor["seconds"] == pytest.approx(sum(floor["seconds_of"].values()))
    assert all(rate > 0 for rate in floor["rate_of"].values())


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.slow
def test_gpu_script_compares_all_sides(tokenizers: dict[str, Any]) -> None:
    """On any device: the same sums up to bfloat16, the times of all sides, and the shares of the ceiling."""
    from gpu import Shape, compare

    shape = Shape(hidden_size=32, intermediate_size=64, layers=2, heads=4, key_heads=2)
    found = compare(mixed_pairs(), tokenizers["bos"], torch.device("cpu"), shape=shape, stock_batch_size=2)
    assert found["difference"] < 0.05
    assert found["stock"]["seconds"] > 0
    for side in ("ours", "compiled"):
        share = found["operations"] / found[side]["seconds"] / found["ceiling"]
        assert found[side]["utilisation"] == pytest.approx(share)


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.skipif(torch.cuda.is_available(), reason="would measure for minutes")
def test_gpu_script_says_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends without an error and without a figure."""
    import gpu

    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()
    assert capsys.readouterr().out == "no GPU here: nothing measured\n"
