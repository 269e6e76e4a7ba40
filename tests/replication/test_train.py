"""Resumed training is bit-identical, and documents in a row do not attend to one another."""

from __future__ import annotations

import math
from pathlib import Path

import corpora
import numpy as np
import pytest
import torch
import train
import world
from transformers import LlamaForCausalLM

from ..error_bounds import assert_within, model_bound


@pytest.fixture
def run(tmp_path: Path) -> train.Run:
    """A run of four steps with checkpoints after the second and the last."""
    tokens = 4 * train.TOKENS_PER_STEP
    path = tmp_path / f"clean-{tokens}.npy"
    corpora.write_corpus(path)
    return train.Run(tmp_path / "run", path, "0.05M", 3, tokens, (tokens // 2, tokens))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return LlamaForCausalLM.from_pretrained(folder).state_dict()


def test_a_resumed_run_is_bit_identical(run: train.Run, tmp_path: Path) -> None:
    """A run that stops after every step ends with the weights and losses of a run that never stops."""
    whole = train.Run(tmp_path / "whole", run.corpus, run.size, run.seed, run.tokens, run.save_at)
    train.train(whole)
    for step in range(1, run.steps):
        train.train(run, stop_at=step)
        assert not run.is_finished
    train.train(run)
    assert run.is_finished
    for tokens in run.save_at:
        expected, resumed = weights(whole.checkpoint(tokens)), weights(run.checkpoint(tokens))
        assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert (run.folder / "loss.csv").read_bytes() == (whole.folder / "loss.csv").read_bytes()


def test_a_finished_run_is_not_trained_again(run: train.Run) -> None:
    """Training a finished run leaves its checkpoint as it is."""
    train.train(run)
    before = (run.checkpoint(run.tokens) / "model.safetensors").stat().st_mtime_ns
    train.train(run)
    assert (run.checkpoint(run.tokens) / "model.safetensors").stat().st_mtime_ns == before


def test_documents_of_a_row_do_not_attend_to_one_another() -> None:
    """A document has the same log-probabilities in a row of several as in a separate row, up to rounding."""
    model = train.SIZES["0.05M"].model(0).eval()
    end = world.tokenizer().eos_token_id
    first, second = np.random.default_rng(0).integers(2, 100, (2, 20))
    row = torch.tensor([[*first, end, *second, end]])
    with torch.no_grad():
        packed = model(input_ids=row, position_ids=train.positions(row), use_cache=False).logits[0, 21:]
        alone = model(input_ids=torch.tensor([[*second, end]])).logits[0]
    logprob, expected = (logits.log_softmax(-1).numpy() for logits in (packed, alone))
    config = model.config
    sizes = {"layers": config.num_hidden_layers, "width": config.hidden_size, "inner": config.intermediate_size}
    bound = model_bound(expected, **sizes, positions=row.shape[1], vocabulary=config.vocab_size)
    assert_within(logprob, expected, bound, "log-probability")


def test_positions_restart_after_an_end_token() -> None:
    """The token after an end token has position 0."""
    end = world.tokenizer().eos_token_id
    ids = torch.tensor([[5, end, 6, 7, end, 8], [5, 6, 7, 8, 9, 5]])
    assert train.positions(ids).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]]


def test_learning_rate_rises_then_falls_to_a_tenth() -> None:
    """100 steps: 5 of warm-up, then half a cosine from 1 to 0.1."""
    factors = [train.learning_rate_factor(step, 100) for step in range(101)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert factors[50] == pytest.approx(0.55 + 0.45 * math.cos(math.pi * 45 / 95))


@pytest.mark.parametrize("size", train.SIZES)
def test_sizes_match_their_names(size: str) -> None:
    """The number of parameters is within a fifth of the name's."""
    stated = float(size.removesuffix("M")) * 1e6
    assert train.SIZES[size].model(0).num_parameters() == pytest.approx(stated, rel=0.2)
