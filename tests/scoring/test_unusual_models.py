"""Models that change their logits after the projection, or that have to be called in an unusual way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from ..support import require_attention_in
from .small_models import bound, model_of, pairs_of, scored


class Transformed(transformers.LlamaForCausalLM):
    """A Llama that changes its logits after the projection; no setting names the change."""

    change: Callable[[torch.Tensor], torch.Tensor]

    def forward(self, *args: Any, **options: Any) -> Any:
        result = super().forward(*args, **options)
        result.logits = type(self).change(result.logits)
        return result


def one_token(logits: torch.Tensor) -> torch.Tensor:
    """Add a little to the logit of one token."""
    return logits + 1e-3 * (torch.arange(logits.shape[-1]) == 17)


def by_position(logits: torch.Tensor) -> torch.Tensor:
    """Add a little to all logits at later positions; log-probabilities do not change."""
    return logits + 1e-3 * torch.arange(logits.shape[1])[:, None]


def without_a_token(logits: torch.Tensor) -> torch.Tensor:
    """Set the logit of one token to minus infinity."""
    return logits.masked_fill(torch.arange(logits.shape[-1]) == 3, -torch.inf)


@pytest.mark.parametrize("change", [one_token, by_position, without_a_token, lambda logits: logits * 1.001])
def test_an_unknown_step_after_the_projection_is_detected(
    change: Callable[[torch.Tensor], torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    """Even if it is small: then the model's own logits are used, and the log says so."""
    model = type("Model", (Transformed,), {"change": staticmethod(change)})(model_of("LlamaConfig").config).eval()
    model.load_state_dict(model_of("LlamaConfig").state_dict())
    scorer, difference = scored(model, pairs_of())
    assert scorer.way_of_reading.startswith("model's own logits")
    assert "changes its logits after the output projection" in caplog.text
    assert difference <= bound(torch.float32, np.array([10.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("config_class", "settings"),
    [
        ("LlamaConfig", {}),
        ("GraniteConfig", {"logits_scaling": 4.0}),
        ("CohereConfig", {"logit_scale": 0.25}),
        ("Gemma2Config", {"head_dim": 8, "final_logit_softcapping": 3.0}),
        ("PhiConfig", {}),
        ("MambaConfig", {"state_size": 4}),
    ],
)
def test_known_steps_after_the_projection_are_supported(
    config_class: str, settings: dict[str, Any], dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """A divisor, a factor, a cap, a bias: rounding does not count as a change, also for large vocabularies."""
    require_attention_in(dtype)
    model = model_of(config_class, vocab_size=4_000, hidden_size=128, **settings).to(dtype)
    scorer, _ = scored(model, pairs_of(lengths=(9,)))
    assert "own logits" not in scorer.way_of_reading
    assert "output projection" not in caplog.text


def test_attention_results_have_the_memory_layout_of_transformers() -> None:
    """JetMoE reshapes the result of attention without a copy, also for a text that is read alone."""
    model = model_of("JetMoeConfig", kv_channels=8, num_local_experts=2, num_experts_per_tok=1, num_key_value_heads=4)
    for batch_size in (1, 4):
        scorer, difference = scored(model, pairs_of(), batch_size)
        assert scorer.way_of_reading == "one line"
        assert difference <= bound(torch.float32, np.array([6.0]))


@pytest.mark.parametrize(
    ("config_class", "settings", "reader"),
    [
        (
            "AfmoeConfig",
            {"head_dim": 8, "num_dense_layers": 4, "sliding_window": 2048, "num_experts": 2},
            "one line",
        ),
        ("DogeConfig", {"keep_window_size": 16}, "alone"),
    ],
)
def test_masks_passed_as_keyword(config_class: str, settings: dict[str, Any], reader: str) -> None:
    """A model that passes its mask as a keyword is read in one line if the mask is None, and alone otherwise."""
    scorer, difference = scored(model_of(config_class, **settings), pairs_of())
    assert scorer.way_of_reading.startswith(reader)
    assert difference <= bound(torch.float32, np.array([10.0]))


class IdsAlone(torch.nn.Module):
    """A causal model that takes only one row of ids."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner, self.config = model, model.config

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.inner.get_output_embeddings()

    def forward(self, input_ids: torch.Tensor, **options: Any) -> Any:
        if options or input_ids.shape[0] != 1:
            raise RuntimeError("one row of ids, please")
        return self.inner(input_ids=input_ids)


def test_a_model_that_takes_only_ids_is_called_with_one_text(caplog: pytest.LogCaptureFixture) -> None:
    """A model that fails with every option and every batch gets the ids of one text at a time."""
    model = IdsAlone(model_of("LlamaConfig"))
    with caplog.at_level(logging.INFO):
        _, difference = scored(model, pairs_of())
    assert difference <= bound(torch.float32, np.array([10.0]))
    assert "token ids alone" in caplog.text
