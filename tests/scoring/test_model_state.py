"""Scoring restores the model, torch's defaults and the process, in training and after errors."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..support import Pair, harness_model, mixed_pairs, tiny_model
from .reading import Tokenizers, encode, scorer_of, shots, totals

DYNAMIC = {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_dropout": 0.5},
    "llama dynamic": DYNAMIC,
    "gpt2": {"embd_pdrop": 0.5, "resid_pdrop": 0.5},
    "opt": {"dropout": 0.5, "layerdrop": 0.5},
    "gemma2": {},
    "bloom": {"hidden_dropout": 0.5},
    "mistral_sliding": {},
    "mamba": {},
    "lfm2": {},
}


def in_training(name: str) -> Any:
    """A model after one step forward and backward, in training mode, one parameter frozen."""
    model = tiny_model(name.split()[0], 700, **FAMILIES[name]).train()
    next(model.parameters()).requires_grad_(False)
    ids = torch.arange(4, 120).unsqueeze(0)
    model(input_ids=ids, labels=ids).loss.backward()
    next(model.modules()).register_forward_hook(lambda *_: None)
    return model


def state_of(model: Any) -> dict[str, Any]:
    """Everything that scoring might change, as values that can be compared."""
    modules = dict(model.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        "training": {name: module.training for name, module in modules.items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "hooks": {name: [list(getattr(module, kind)) for kind in hooks] for name, module in modules.items()},
        "methods": {name: vars(module).get("forward") for name, module in modules.items()},
        "lengths": {name: getattr(module, "max_seq_len_cached", None) for name, module in modules.items()},
        "tensors": {
            name: (
                id(tensor),
                tensor.dtype,
                tensor.device,
                tensor.requires_grad,
                tensor.is_inference(),
                tensor.tolist(),
            )
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        },
        "gradients": {name: None if p.grad is None else p.grad.tolist() for name, p in model.named_parameters()},
        "settings": copy.deepcopy(model.config.to_dict()),
        "attention": model.config._attn_implementation,
        "interfaces": dict(ALL_ATTENTION_FUNCTIONS),
        "environment": dict(os.environ),
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "torch": (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        ),
    }


@contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Assert that the block changes nothing."""
    before = state_of(model)
    try:
        yield
    finally:
        after = state_of(model)
        changed = [name for name in before if before[name] != after[name]]
        assert not changed


def scored(model: Any, tokenizers: Tokenizers, pairs: list[Pair], **options: Any) -> list[float]:
    """Sums of the pairs' log-probabilities."""
    return totals(scorer_of(model, batch_size=3, **options).score(encode(tokenizers["bos"], pairs), [""] * len(pairs)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_in_training_is_scored_as_in_evaluation_and_can_train_on(tokenizers: Tokenizers, name: str) -> None:
    """Dropout does not affect the scores; nothing changes; the next training step works."""
    model, pairs = in_training(name), mixed_pairs()
    with unchanged(model):
        sums = scored(model, tokenizers, pairs)
    assert sums == scored(copy.deepcopy(model).eval(), tokenizers, pairs)
    ids = torch.arange(4, 40).unsqueeze(0)
    model(input_ids=ids, labels=ids).loss.backward()


@pytest.mark.parametrize("name", ["llama", "llama dynamic", "gemma2", "mamba"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("calls", [1, 4, 8])
def test_an_interruption_changes_nothing(
    tokenizers: Tokenizers, name: str, error: type[BaseException], calls: int
) -> None:
    """In the trial, in a prefix, and in a batch."""
    model, passes = in_training(name), []
    decoder = model.get_decoder()

    def fail(*_: Any) -> None:
        passes.append(1)
        if len(passes) >= calls:
            raise error

    decoder.register_forward_pre_hook(fail)
    with unchanged(model), pytest.raises(error):
        scored(model, tokenizers, mixed_pairs())


def test_the_callers_defaults_do_not_change_the_numbers(tokenizers: Tokenizers) -> None:
    """Default dtype, default device and autocast of a training script are neither used nor changed."""
    model, pairs = tiny_model("llama", 700), [(shots("the sum") + context, trace) for context, trace in mixed_pairs()]
    expected = scored(model, tokenizers, pairs)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with unchanged(model), torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
            assert scored(model, tokenizers, pairs) == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_harness_model_stays_as_it_is(tokenizers: Tokenizers) -> None:
    """Scoring through the back end restores the model, too."""
    from rbridge_tasks.backends import hf

    model, pairs = in_training("llama"), mixed_pairs()
    lm = harness_model(model, tokenizers["bos"])
    with unchanged(lm.model):
        hf.score(lm, pairs, [""] * len(pairs))
