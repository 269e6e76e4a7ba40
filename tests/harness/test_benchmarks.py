"""The benchmark scripts count the work correctly, and the GPU script runs on every machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rbridge_tasks.scoring.prompts import context_of
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_traces import few_shot_examples

from ..support import mixed_pairs, tiny_model


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the scripts of benchmarks/ and examples/ importable."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    yield
    for name in ("floor", "scoring", "gpu"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("benchmarks")
def test_floor_counts_the_necessary_work(tokenizers: dict[str, Any]) -> None:
    """Each distinct prefix of an input is one token of work; its operations are those of each matrix it passes."""
    from floor import count_work, measured_floor

    pairs = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(mixed_pairs())
    begun = {tuple(pair.ids[:end].tolist()) for pair in pairs for end in range(1, pair.ids.size)}
    work = count_work(tiny_model("llama", 700), pairs)
    assert work.tokens == len(begun)
    assert work.common == max(n for n in range(9) if len({tuple(pair.ids[:n].tolist()) for pair in pairs}) == 1)
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
    for seconds, maker in (("seconds", "torch"), ("seconds_onednn", "oneDNN")):
        assert floor[seconds] == pytest.approx(sum(floor["seconds_of"][maker].values()))
        assert all(floor["seconds_of"][maker][name] > 0 for name in floor["operations_of"])


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.parametrize("tokens", [120, 200])
def test_worked_examples_are_cut_to_a_number_of_tokens(tokens: int, tokenizers: dict[str, Any]) -> None:
    """All examples and separators have the wanted number of tokens, within two for each example; questions stay."""
    from scoring import cut_examples

    examples = few_shot_examples("gsm8k")[:5]
    tokenizer = tokenizers["bos"]
    whole, alone = (len(tokenizer(context_of(examples[0], some)).input_ids) for some in (examples, []))
    wanted = (whole - alone) * tokens // 200
    cut = cut_examples(tokenizer, examples, wanted)
    example_tokens = len(tokenizer(context_of(examples[0], cut)).input_ids) - alone
    assert example_tokens == pytest.approx(wanted, abs=2 * len(examples))
    assert [example.question for example in cut] == [example.question for example in examples]
    assert all(example.trace.startswith(shortened.trace) for example, shortened in zip(examples, cut, strict=True))


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.slow
def test_gpu_script_runs_whole_in_a_small_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU stock, ours and compiled agree within bfloat16; each has a row in the JSON and in the table."""
    import gpu

    file = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--quick", "--json", str(file), "--stock-batch-size", "2", "--stock-items", "6"])
    report = json.loads(file.read_text())
    rows = {row["side"]: row for row in report["rows"]}
    assert set(rows) >= {"stock", "ours", "compiled"}
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["difference"] < 0.05
        assert row["share_of_ceiling"] == pytest.approx(row["operations_per_second"] / report["ceiling"])
    assert rows["ours"]["ratio"] == pytest.approx(
        rows["stock"]["seconds_per_trace"] / rows["ours"]["seconds_per_trace"]
    )
    assert 0 < rows["ours"]["first_batch_seconds"] <= rows["ours"]["seconds"]
    table = capsys.readouterr().out
    assert all(side in table for side in rows)


@pytest.mark.usefixtures("benchmarks")
def test_gpu_script_makes_texts_of_the_authors_sizes(tokenizers: dict[str, Any]) -> None:
    """A share of 0.01 gives a hundredth of each benchmark's traces, with the release's mean number of tokens."""
    from gpu import AUTHORS, MEAN_TOKENS, authors_pairs

    assert sum(AUTHORS.values()) == 10_162
    tokenizer = tokenizers["byte_level"]
    pairs = authors_pairs(tokenizer, share=0.01)
    assert len(pairs) == sum(round(count / 100) for count in AUTHORS.values())
    lengths = [len(ids) for ids in tokenizer([trace for _, trace in pairs], add_special_tokens=False).input_ids]
    assert np.mean(lengths) == pytest.approx(MEAN_TOKENS, abs=2)
    assert len({context for context, _ in pairs}) == len(pairs)


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.skipif(torch.cuda.is_available(), reason="would measure for minutes")
def test_gpu_script_without_a_gpu_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends without an error and without a measurement."""
    import gpu

    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()
    assert capsys.readouterr().out == "no GPU here: nothing measured\n"
