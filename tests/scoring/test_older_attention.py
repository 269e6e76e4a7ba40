"""Models that compute attention in their own code are read in one line, with the numbers of their own forward pass."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from rbridge_tasks.scoring.attention_masks import UnsupportedAttentionError
from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.older_attention import older_layers
from rbridge_tasks.scoring.packed_attention import Reading, attend_packed, packed_attention

from ..support import require_attention_in
from .small_models import VOCABULARY, alone, pairs_of, rounding_in, scored

_SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_GPTJ: dict[str, Any] = {"n_embd": 32, "n_layer": 3, "n_head": 4, "rotary_dim": 4, "n_positions": 512}
_POSITIONS = {"max_position_embeddings": 512}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "bloom, 6 heads": ("BloomConfig", {"hidden_size": 48, "n_layer": 3, "n_head": 6}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 512}),
    "mpt, clipped": (
        "MptConfig",
        {
            "d_model": 48,
            "n_layers": 3,
            "n_heads": 6,
            "max_seq_len": 512,
            "attn_config": {"clip_qkv": 0.5, "softmax_scale": 0.3, "alibi_bias_max": 4},
        },
    ),
    "falcon, one head of keys": ("FalconConfig", _SIZES),
    "falcon, groups": ("FalconConfig", _SIZES | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, alibi": ("FalconConfig", _SIZES | {"alibi": True, "multi_query": False, "bias": True}),
    "gptj": ("GPTJConfig", _GPTJ),
    "codegen": ("CodeGenConfig", _GPTJ),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 16,
            **_POSITIONS,
        },
    ),
    "gpt_neox_japanese": ("GPTNeoXJapaneseConfig", _SIZES | _POSITIONS),
    "xglm": ("XGLMConfig", {"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 64, **_POSITIONS}),
}


def older_model(name: str) -> Any:
    """A random float32 model."""
    config_class, settings = MODELS[name]
    config = getattr(transformers, config_class)(vocab_size=VOCABULARY, **settings)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(3)  # attention must matter
    return model


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_the_models_own_pass(name: str) -> None:
    """Texts longer than the window, behind a shared prompt, beside each other: every token, in float32."""
    model, pairs = older_model(name), pairs_of()
    scorer, difference = scored(model, pairs)
    assert scorer.way_of_reading == "one line"
    assert difference <= rounding_in(model, pairs)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_rounds_no_more_than_the_models_own_pass(name: str) -> None:
    """Both sides are compared with float32 passes of the same weights; the largest of hundreds of errors varies."""
    require_attention_in(torch.bfloat16)
    model, pairs = older_model(name).bfloat16(), pairs_of()
    own = [alone(model, pair) for pair in pairs]
    scorer = CausalScorer(model, torch.device("cpu"), 2048, batch_size=4, show_progress=False)
    ours = [scores.logprob for scores in scorer.score(pairs, [""] * len(pairs))]
    assert scorer.way_of_reading == "one line"
    exact = np.concatenate([alone(model.float(), pair) for pair in pairs])
    our_error, own_error = (np.abs(np.concatenate(side) - exact) for side in (ours, own))
    assert our_error.max() <= 3 * own_error.max()
    assert our_error.mean() <= 2 * own_error.mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prefix_tokens", [0, 7])
def test_a_bias_of_keys_is_that_of_the_definition(dtype: torch.dtype, prefix_tokens: int) -> None:
    """Softmax of scaled products and biases, in float64, for one text behind a prefix; biases of hundreds of nats."""
    require_attention_in(dtype)
    generator = torch.Generator().manual_seed(0)
    heads, tokens, width, scale = 3, 40, 8, 0.25
    query, key, value = (torch.randn(1, heads, tokens, width, generator=generator).to(dtype) for _ in range(3))
    slopes = torch.tensor([[0.5], [3.0], [-20.0]])

    class Layer:
        layer_idx = 0

    def attended(start: int, stop: int, prefix: Any, kept: Any) -> torch.Tensor:
        reading = Reading((), None, stop, np.arange(start, stop), start, prefix, {}, kept)
        states = (state[:, :, start:stop] for state in (query, key, value))
        with packed_attention(torch.nn.Module(), reading):
            out, _ = attend_packed(Layer(), *states, scaling=scale, key_bias=lambda positions: slopes * positions)
        return out

    kept: Any = {}
    parts = [attended(0, prefix_tokens, {}, kept)] if prefix_tokens else []
    out = torch.cat([*parts, attended(prefix_tokens, tokens, kept, None)], 1)
    products = (query.double() @ key.double().transpose(-1, -2)) * scale + (slopes * torch.arange(tokens)).unsqueeze(1)
    products = products.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), -torch.inf)
    expected = products.softmax(-1) @ value.double()
    # float32 holds sums of the largest bias and of `width` products; each part of a result is rounded to the dtype.
    largest = float(slopes.abs().max() * tokens)
    error = 4 * (width + 4) * torch.finfo(torch.float32).eps * largest + 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(out.transpose(1, 2).double(), expected, rtol=0, atol=error * float(value.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_as_before(name: str) -> None:
    """Layers have their own methods again, also after an error, and give the same bits."""
    model, ids = older_model(name), torch.arange(20)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
    attributes = [sorted(vars(module)) for module in model.modules()]
    with contextlib.suppress(KeyError), older_layers(model, attend_packed) as older:
        assert older
        raise KeyError
    scored(model, pairs_of(prompt_tokens=20, lengths=(3, 4)))
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, before)


def test_a_layer_that_somebody_changed_is_left_alone() -> None:
    """A method of its own, as a model spread over devices has: texts are padded."""
    model = older_model("bloom")
    for block in model.transformer.h:
        block.self_attention.forward = block.self_attention.forward
    scorer, difference = scored(model, pairs_of())
    assert scorer.way_of_reading == "padded"
    assert difference <= rounding_in(model, pairs_of())


def test_heads_that_share_keys_have_one_bias() -> None:
    """Falcon with ALiBi and one head of keys: its biases differ between heads, so texts are padded."""
    model = older_model("falcon, one head of keys")
    config = type(model.config)(**{**model.config.to_dict(), "alibi": True})
    model = type(model)(config).float().eval()
    scorer, difference = scored(model, pairs_of())
    assert scorer.way_of_reading == "padded"
    assert difference <= rounding_in(model, pairs_of())


def test_attention_to_another_models_states_is_refused() -> None:
    """XGLM's layers can attend to an encoder."""
    model = older_model("xglm")
    states = torch.zeros(1, 3, 32)
    with older_layers(model, attend_packed), pytest.raises(UnsupportedAttentionError):
        model.model.layers[0].self_attn(states, key_value_states=states)
