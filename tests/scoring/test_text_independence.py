"""No log-probability depends on the texts that are read together: states, positions and masks do not leak."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rbridge_tasks.scoring.causal_lm import CausalScorer

from ..support import require_attention_in
from .small_models import STATES, alone, bound, model_of, pairs_of, rounding_in, scored


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", STATES)
def test_texts_of_models_with_states_do_not_leak_into_each_other(name: str, dtype: torch.dtype) -> None:
    """With strong convolutions and recurrences, every token has the log-probability of its text alone.

    The prompt and shared parts of the questions are read once; the texts after it have unequal lengths.
    """
    require_attention_in(dtype)
    config_class, settings = STATES[name]
    model = model_of(config_class, gain=2.0, **settings).to(dtype)
    pairs = pairs_of()
    scorer, difference = scored(model, pairs)
    # Rounding errors that layers amplify may make the trial reject a shared prompt for Qwen3-Next.
    assert scorer.way_of_reading in ({"padded", "padded, prompt read again"} if name == "qwen3_next" else {"padded"})
    in_products = bound(dtype, np.concatenate([alone(model, pair) for pair in pairs]))
    assert difference <= (max(in_products, rounding_in(model, pairs)) if dtype == torch.float32 else in_products)


def with_previous_token(model: Any, share: float) -> Any:
    """Add part of the previous token to each token in one layer; the model's cache does not show this step."""

    def mix(_layer: Any, _args: Any, result: Any) -> Any:
        hidden = result[0] if isinstance(result, tuple) else result
        mixed = hidden + share * torch.nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
        return (mixed, *result[1:]) if isinstance(result, tuple) else mixed

    model.model.layers[1].register_forward_hook(mix)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("share", [1.0, 0.02])
def test_a_leak_that_no_cache_shows_is_detected_by_the_trial(share: float, dtype: torch.dtype) -> None:
    """The trial changes one text and compares the log-probabilities of the next text in the line."""
    require_attention_in(dtype)
    model = with_previous_token(model_of("LlamaConfig"), share).to(dtype)
    pairs = pairs_of()
    scorer, difference = scored(model, pairs)
    assert scorer.way_of_reading != "one line"
    assert difference <= bound(dtype, np.concatenate([alone(model, pair) for pair in pairs]))


class OwnPositions(torch.nn.Module):
    """Learned positions counted along the input; the given positions are ignored."""

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return self.embedding(torch.arange(positions.shape[-1]).expand_as(positions))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["RobertaConfig", "GPT2Config"])
def test_models_with_positions_of_their_own_are_not_read_in_one_line(name: str, dtype: torch.dtype) -> None:
    """RoBERTa's positions start after the padding token's id; the changed GPT-2 ignores the given positions."""
    require_attention_in(dtype)
    model = model_of(name, gain=3.0, **({"is_decoder": True} if name == "RobertaConfig" else {"n_positions": 2048}))
    if name == "GPT2Config":
        model.transformer.wpe = OwnPositions(model.transformer.wpe)
    model = model.to(dtype)
    scorer, difference = scored(model, pairs_of())
    assert scorer.way_of_reading != "one line"
    assert difference <= bound(dtype, np.array([20.0]))


_EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}

#: Models with masks, caps and sinks, whose windows end inside the shared prompt or inside a text. PhiMoE does not name
#: its window to its attention function.
MASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("MistralConfig", {"sliding_window": 20}),
    "phimoe": ("PhimoeConfig", {"sliding_window": 64, **_EXPERTS}),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 64, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 64, "sliding_window_pattern": 2}),
    "gpt_oss": ("GptOssConfig", {"head_dim": 8, "sliding_window": 16, **_EXPERTS}),
    "llama4": (
        "Llama4TextConfig",
        {"attention_chunk_size": 48, "intermediate_size_mlp": 64, "interleave_moe_layer_step": 8, "head_dim": 8},
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_windows_chunks_caps_and_sinks_are_read_in_one_line(name: str) -> None:
    """Every token has the log-probability of its text alone."""
    config_class, settings = MASKED[name]
    model = model_of(config_class, gain=2.0, **settings)
    pairs = pairs_of()
    scorer, difference = scored(model, pairs)
    assert scorer.way_of_reading == "one line"
    assert difference <= bound(torch.float32, np.concatenate([alone(model, pair) for pair in pairs]))


def with_input_length(model: Any) -> Any:
    """Scale tokens from the 30th on by the length of the whole input, in one layer."""

    def scale(_layer: Any, _args: Any, result: Any) -> Any:
        hidden = result[0] if isinstance(result, tuple) else result
        factor = torch.ones(hidden.shape[1], 1)
        factor[30:] += hidden.shape[1] / 500
        return (hidden * factor, *result[1:]) if isinstance(result, tuple) else hidden * factor

    model.model.layers[1].register_forward_hook(scale)
    return model


SPARSE = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "head_dim": 8,
    "index_topk": 16,
    "index_n_heads": 2,
    "index_head_dim": 16,
}


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_input_length(model_of("LlamaConfig")),
        lambda: model_of("DeepseekV32Config", **SPARSE),
        lambda: model_of(
            "LlamaConfig",
            max_position_embeddings=64,
            rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
        ),
    ],
    ids=["input length", "sparse attention", "dynamic NTK"],
)
def test_models_that_padding_changes_are_read_one_text_at_a_time(
    make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """If padding would change log-probabilities, texts are read alone, and the log says so."""
    expected = [alone(make(), pair) for pair in pairs_of()]  # a new model for each: some store the longest input length
    scorer = CausalScorer(make(), torch.device("cpu"), 2048, batch_size=4, show_progress=False)
    with caplog.at_level(logging.INFO):
        scores = scorer.score(pairs_of(), [""] * len(expected))
    difference = max(float(np.abs(s.logprob - e).max()) for s, e in zip(scores, expected, strict=True))
    assert difference <= bound(torch.float32, np.concatenate(expected))
    assert "read alone" in caplog.text


def test_positions_that_a_model_counts_along_the_input_keep_short_lines() -> None:
    """Llama 4 scales attention by a token's place in the input: lines are no longer than its first step."""
    settings = {"floor_scale": 256, "attn_scale": 1.0, "attention_chunk_size": 2048, "intermediate_size_mlp": 64}
    experts = {"num_local_experts": 2, "interleave_moe_layer_step": 8, "no_rope_layers": [1, 0, 1, 0], "head_dim": 8}
    model = model_of("Llama4TextConfig", **settings, **experts)
    pairs = pairs_of(lengths=(20,) * 20)
    scorer, difference = scored(model, pairs, batch_size=40)
    assert scorer.way_of_reading == "one line"
    assert difference <= bound(torch.float32, np.concatenate([alone(model, pair) for pair in pairs]))
