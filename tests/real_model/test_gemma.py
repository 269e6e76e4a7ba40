"""Gemma 3 270M: sums equal to those of lm-eval, processor times of both, ``rb.score`` and a sweep.

The model has sliding windows, a vocabulary of 262k and trained weights, which the tiny random models do not have.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

import rbridge_tasks as rb
from rbridge_tasks.backends import hf
from rbridge_tasks.scoring.prompts import context_of
from rbridge_traces import SampleCache, Trace, few_shot_examples, import_traces

from ..error_bounds import model_sum_bound
from ..support import stock_loglikelihoods
from ..sweeping.sweeps import sweep

#: Real traces beside the project, if they exist; otherwise the packaged sample is used.
TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces_text" / "gsm8k_gpt4o_mini_cot.jsonl.gz"
ITEMS = 12


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    """The first traces of GSM8K."""
    if not TRACES.is_file():
        return list(SampleCache().load("gsm8k").traces)[:ITEMS]
    mapping = {"trace": "response", "question": "question", "gold": "target"}
    return list(import_traces(str(TRACES), benchmark="gsm8k", mapping=mapping).traces)[:ITEMS]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Set torch to one thread, so that processor time does not include waiting threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("num_fewshot", [0, 5])
def test_sums_equal_those_of_stock(
    num_fewshot: int, gemma: Path, traces: list[Trace], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each trace's summed log-probability is that of lm-eval's ``loglikelihood``; the processor times are printed."""
    lm = HFLM(pretrained=str(gemma), device="cpu", dtype="float32", batch_size=1)
    pairs = [(context_of(trace, few_shot_examples("gsm8k")[:num_fewshot]), trace.trace) for trace in traces]
    stock, stock_seconds = timed(lambda: stock_loglikelihoods(lm, pairs))
    lm.batch_size_per_gpu = 8
    scores, seconds = timed(lambda: hf.score(lm, pairs, [trace.name for trace in traces]))
    sums = np.array([score.logprob.astype(np.float64).sum() for score in scores])
    relative = float(np.max(np.abs(sums - stock) / np.abs(stock)))
    with capsys.disabled():
        print(
            f"\nGemma 3 270M, {num_fewshot}-shot GSM8K, {len(pairs)} traces, {processor()}, one thread: processor time "
            f"stock {stock_seconds:.1f} s, ours {seconds:.1f} s, ratio {stock_seconds / seconds:.2f}; "
            f"largest relative difference of a sum {relative:.1e}"
        )
    assert relative < 1e-4
    config = lm.model.config.get_text_config()
    longest = max(len(lm.tok_encode(context + trace)) for context, trace in pairs)
    for score, total, expected in zip(scores, sums, stock, strict=True):
        bound = model_sum_bound(
            score.logprob,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            inner=config.intermediate_size,
            positions=longest,
            vocabulary=config.vocab_size,
        )
        assert abs(total - expected) <= bound


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of ``work`` and its processor time in seconds."""
    began = time.process_time()
    return work(), time.process_time() - began


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def test_score_gives_a_trained_models_numbers(gemma: Path) -> None:
    """``rb.score`` on the sample gives finite metrics, and an NLL below 3 nats per token.

    A model trained on English gives about 1 nat; a random one about ln 262144 = 12.5.
    """
    scores = rb.score(str(gemma), benchmark="gsm8k", cache="sample", weights="spans", limit=3)
    assert 0 < scores.metrics["trace_nll"] < 3
    assert all(math.isfinite(value) for value in scores.metrics.values())


def test_sweep_scores_it_as_a_checkpoint(gemma: Path, tmp_path: Path) -> None:
    """A folder of one checkpoint, ``step1000``, gives a score table with finite metrics of that step."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "step1000").symlink_to(gemma, target_is_directory=True)
    process = sweep(run, "--output", tmp_path / "out", "--json", environment=os.environ | {"OMP_NUM_THREADS": "1"})
    assert process.returncode == 0, process.stderr
    summary = json.loads(process.stdout)
    assert summary["scored"] == 1
    assert not summary["failed"]
    table = rb.collect([str(tmp_path / "out")], include_sample=True).table
    values = table.loc[table["metric"].isin(["rbridge_nll", "trace_nll"]), "value"]
    assert len(values) == 2
    assert ((values > 0) & (values < 5)).all()
