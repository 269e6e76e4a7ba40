"""Tokenizer, models and settings of the tests of training."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ..support import tiny_model

#: The shipped sample, without worked examples: short texts, so that tests are quick.
SAMPLE: dict[str, Any] = {"cache": "sample", "weights": "spans", "num_fewshot": 0, "batch_size": 2}


@pytest.fixture(scope="session")
def tokenizer(tokenizers: dict[str, Any]) -> Any:
    """A tokenizer that adds a token before each text."""
    return tokenizers["bos"]


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """A tiny Llama with dropout, in training mode."""
    return tiny_model("llama", len(tokenizer), attention_dropout=0.1).train()


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all tensors in a model's state."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
