"""Two gloo ranks under DDP, FSDP and FSDP2 give the scores of one process; scoring does not change the training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rbridge_tasks as rb

from ..error_bounds import model_bound
from ..support import tiny_model
from .conftest import SAMPLE

pytestmark = pytest.mark.slow
KINDS = ["ddp", "fsdp", "fsdp2"]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """The results that both ranks saved."""
    folder = tmp_path_factory.mktemp("ranks")
    program = Path(__file__).with_name("one_rank.py")
    started = [
        subprocess.Popen(
            [sys.executable, program, str(rank), folder / "meeting", folder / f"{rank}.pt"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        for process in started:
            printed, _ = process.communicate(timeout=900)
            assert process.returncode == 0, printed[-3000:]
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_give_the_numbers_of_one_process(ranks: list[dict[Any, Any]], tokenizer: Any, kind: str) -> None:
    """Metrics and standard errors are equal on both ranks, and equal to one process up to rounding."""
    model = tiny_model("llama", len(tokenizer), attention_dropout=0.1).train()
    alone = rb.InLoop(("gsm8k", "csqa"), tokenizer, **SAMPLE)(model, 0)
    assert alone is not None
    first, second = (saved[kind, True]["scores"] for saved in ranks)
    assert first == second
    for benchmark in ("gsm8k", "csqa"):
        for numbers, expected in zip(
            first[benchmark], (alone[benchmark].metrics, alone[benchmark].stderr), strict=True
        ):
            assert numbers == pytest.approx(dict(expected), rel=0, abs=model_bound() / np.log(2))


@pytest.mark.parametrize("kind", KINDS)
def test_training_ends_in_the_same_weights_on_every_rank(ranks: list[dict[Any, Any]], kind: str) -> None:
    """Scoring between backward passes and optimiser steps changes no bit."""
    for saved in ranks:
        with_scores, without = saved[kind, True], saved[kind, False]
        torch.testing.assert_close(with_scores["weights"], without["weights"], rtol=0, atol=0)
        assert torch.equal(with_scores["random"], without["random"])


@pytest.mark.parametrize("kind", ["fsdp", "fsdp2"])
def test_sharded_ranks_run_the_same_number_of_passes(ranks: list[dict[Any, Any]], kind: str) -> None:
    """Also if one of them has nothing to score."""
    first, second = (saved[kind, True]["passes"] for saved in ranks)
    assert first == second > 3
