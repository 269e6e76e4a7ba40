"""Tiny random models of every causal architecture in transformers.

Sizes are set by the names of a configuration's fields: most families share them. A family that needs other values, or
settings that make its special layers appear among four layers, has an entry in ``FAMILIES``.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 512
#: Shorter than every text of the sweep, so that windows, chunks and sparse selections take effect.
WINDOW = 32

_LAYERS, _WIDTH, _HEADS, _HEAD = 4, 64, 4, 16


@dataclass(frozen=True)
class Size:
    """Sizes of a model of four layers.

    Attributes:
        width: of hidden states, a multiple of 64; all other widths grow with it, the numbers of heads do not.
        vocabulary: number of tokens.
        window: tokens in sliding windows, chunks and sparse selections.
    """

    width: int = _WIDTH
    vocabulary: int = VOCABULARY
    window: int = WINDOW


_SIZES: dict[str, Any] = {
    **dict.fromkeys(["vocab_size", "vocab_size_per_layer_input"], VOCABULARY),
    **dict.fromkeys(
        ["hidden_size", "n_embd", "d_model", "dim", "embedding_size", "word_embed_proj_dim", "lru_width"], _WIDTH
    ),
    **dict.fromkeys(
        ["intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "n_inner", "d_ff", "ffn_hidden_size"],
        2 * _WIDTH,
    ),
    **dict.fromkeys(["feed_forward_size", "dense_intermediate_size", "intermediate_size_mlp"], 2 * _WIDTH),
    **dict.fromkeys(
        [
            "moe_intermediate_size",
            "shared_expert_intermediate_size",
            "expert_ffn_hidden_size",
            "moe_shared_expert_intermediate_size",
            "shared_intermediate_size",
            "router_hidden_size",
        ],
        32,
    ),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"], _LAYERS),
    **dict.fromkeys(["num_decoder_layers"], _LAYERS),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"], _HEADS),
    **dict.fromkeys(["num_key_value_heads", "num_kv_heads"], 2),
    "head_dim": _HEAD,
    "rotary_dim": 8,
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"], 2),
    **dict.fromkeys(["n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts"], 1),
    **dict.fromkeys(["first_k_dense_replace"], 1),
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    **dict.fromkeys(["sliding_window", "attention_window", "window_size", "attention_chunk_size"], WINDOW),
    **dict.fromkeys(["index_topk"], WINDOW),
    **dict.fromkeys(["index_n_heads", "mamba_num_heads"], 8),
    **dict.fromkeys(["index_head_dim", "mamba_d_head", "mamba_head_dim", "mamba_headdim"], 16),
    "mamba_n_heads": 8,
    "mamba_d_ssm": 128,
    **dict.fromkeys(["mamba_d_state", "ssm_state_size", "state_size"], 8),
    **dict.fromkeys(["mamba_n_groups", "mamba_ngroups", "n_groups"], 1),
    **dict.fromkeys(["time_step_rank", "mamba_dt_rank"], 4),
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"], 4),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"], 16),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "max_seq_len"], 2048),
    "hidden_size_per_layer_input": 16,
    "block_multiple_of": 8,
    "initializer_range": 0.1,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

_LATENT = {"num_key_value_heads": 4, "head_dim": 8}
_MAMBA_AND_ATTENTION = ["linear_attention", "full_attention", "linear_attention", "full_attention"]
_AS_DECODER = {"is_decoder": True}

#: Settings in which a family differs from the others, by its ``model_type``.
FAMILIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ["axk1", "axk2", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "longcat_flash", "youtu", "minicpm3"], _LATENT
    ),
    **dict.fromkeys(["deepseek_v32", "glm_moe_dsa"], _LATENT),
    **dict.fromkeys(
        [
            "bert",
            "bert-generation",
            "big_bird",
            "camembert",
            "data2vec-text",
            "electra",
            "ernie",
            "megatron-bert",
            "rembert",
            "roberta",
            "roberta-prelayernorm",
            "roc_bert",
            "roformer",
            "xlm-roberta",
            "xlm-roberta-xl",
            "xmod",
        ],
        _AS_DECODER,
    ),
    "bailing_hybrid": {**_LATENT, "layer_types": _MAMBA_AND_ATTENTION, "layer_group_size": 2},
    "kimi_linear": {**_LATENT, "q_lora_rank": None, "layer_types": _MAMBA_AND_ATTENTION},
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": _MAMBA_AND_ATTENTION},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "linear_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention", "conv", "sliding_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "olmo_hybrid": {"layer_types": _MAMBA_AND_ATTENTION},
    "qwen3_next": {"layer_types": _MAMBA_AND_ATTENTION},
    "qwen3_5_text": {"layer_types": _MAMBA_AND_ATTENTION},
    "qwen3_5_moe_text": {"layer_types": _MAMBA_AND_ATTENTION},
    "zamba": {
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_key_value_heads": 4,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
    "zamba2": {
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "num_key_value_heads": 4,
        "mamba_headdim": 16,
        "n_mamba_heads": 8,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 2, "moe_top_k": 1},
    },
    "zaya": {"num_experts_per_tok": 1},
    "dots3_note_text": {"num_key_value_heads": 4, "n_routed_experts": 4},
    "cohere_compass_text": {
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
    },
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "indexed_attention", "linear_attention", "indexed_attention"],
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": WINDOW,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 1000,
        "hc_lowrank": 16,
        "split_ngram_parts": 4,
    },
    "reformer": {"is_decoder": True, "axial_pos_shape": [32, 64], "axial_pos_embds_dim": [32, 32]},
    "xmod": {**_AS_DECODER, "default_language": "en_XX"},
    "gpt_neo": {"num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    "xlstm": {"num_heads": 4, "embedding_dim": 64, "num_blocks": 4, "qk_dim_factor": 1.0},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "modernbert-decoder": {},
    "mistral": {"sliding_window": None},
    "phi3": {"pad_token_id": 0},
    "llama4_text": {"floor_scale": 64, "attn_scale": 1.0, "intermediate_size_mlp": 128},
}

#: Names of variants: a family and the settings that make it another.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral, window": ("mistral", {"sliding_window": WINDOW}),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}),
    "llama, dynamic NTK": (
        "llama",
        {"max_position_embeddings": 64, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}},
    ),
    "nemotron_h, dense": ("nemotron_h", {"layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"]}),
    "granitemoehybrid, dense": ("granitemoehybrid", {"num_local_experts": 0}),
    "jamba, dense": ("jamba", {"num_experts": 1}),
}


#: Fields that hold a number of tokens in the vocabulary.
_VOCABULARIES = {"vocab_size", "vocab_size_per_layer_input"}
#: Fields that hold the length of a window, chunk or selection.
_WINDOWS = {
    "sliding_window", "attention_window", "window_size", "attention_chunk_size", "index_topk", "indexer_budget"
}  # fmt: skip
#: Fields that hold a width, beside those with one of these words in their names.
_WIDTHS = {
    "n_embd", "d_model", "dim", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "n_inner", "d_ff", "rotary_dim",
    "mamba_d_ssm", "mamba_d_head", "mamba_headdim", "mamba_d_state", "state_size", "ssm_state_size", "hc_lowrank",
    "embedding_dim", "time_step_rank", "mamba_dt_rank", "axial_pos_embds_dim",
}  # fmt: skip
_WORDS_FOR_WIDTHS = ("hidden_size", "intermediate_size", "embedding_size", "_lora_rank", "head_dim", "embed_proj_dim",
                     "lru_width", "ffn_hidden", "feed_forward_size")  # fmt: skip


def families() -> list[str]:
    """Every ``model_type`` that transformers reads as a causal LM, one for each model class; then the variants."""
    by_class: dict[str, str] = {}
    for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, key=lambda name: ("text" not in name, name)):
        by_class.setdefault(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name], name)
    return [*sorted(by_class.values()), *VARIANTS]


def tiny_model(
    name: str, *, gain: float, seed: int = 0, size: Size | None = None, **settings: Any
) -> transformers.PreTrainedModel:
    """A random model of four layers in float32.

    Args:
        name: a ``model_type``, or a name in ``VARIANTS``.
        gain: standard deviation of the products of each weight matrix with unit-variance inputs. At 1 every layer, the
            convolutions and recurrences of hybrids included, changes the residual stream as much as in a trained model.
        seed: of the weights.
        size: of the model; the default is the smallest.
        settings: further fields of the configuration, which are not changed by ``size``.

    Raises:
        ValueError: the family has no small configuration here.
    """
    size = size or Size()
    family, variant = VARIANTS.get(name, (name, {}))
    config = _config(CONFIG_MAPPING[family], FAMILIES.get(family, {}) | variant, size, settings)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters())
    if parameters > 30e6 * size.width / _WIDTH:
        raise ValueError(f"it has {parameters / 1e6:.0f}M parameters with these settings")
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    _set_gain(model, gain)
    return model


def _config(
    config_class: type[transformers.PreTrainedConfig], of_family: dict[str, Any], size: Size, settings: dict[str, Any]
) -> Any:
    """A small configuration, those inside it small, too."""
    default = config_class()
    known = set(inspect.signature(config_class.__init__).parameters) | set(default.to_dict())
    known |= set(getattr(config_class, "attribute_map", {}))
    small = {field: value for field, value in _SIZES.items() if field in known}
    if (getattr(default, "pad_token_id", None) or 0) >= size.vocabulary:
        small["pad_token_id"] = 0
    sized = {field: _sized(field, value, size) for field, value in (small | of_family).items()} | settings
    for part in getattr(config_class, "sub_configs", {}):
        if part not in sized and (inside := getattr(default, part, None)) is not None:
            sized[part] = _config(type(inside), FAMILIES.get(inside.model_type, {}), size, {}).to_dict()
    return config_class(**sized)


def _sized(field: str, value: Any, size: Size) -> Any:
    """The value of a field, which is given for the smallest model, in a model of this size."""
    if isinstance(value, dict):
        return {inside: _sized(inside, some, size) for inside, some in value.items()}
    if value is None or isinstance(value, bool):
        return value
    if field in _VOCABULARIES:
        return size.vocabulary
    if field in _WINDOWS:
        return value * size.window // WINDOW
    if field in _WIDTHS or any(word in field for word in _WORDS_FOR_WIDTHS):
        times = size.width // _WIDTH
        return [some * times for some in value] if isinstance(value, list) else value * times
    return value


@torch.no_grad()
def _set_gain(model: torch.nn.Module, gain: float) -> None:
    embeddings = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    for parameter in model.parameters():
        if parameter.ndim >= 2 and parameter.is_floating_point() and id(parameter) not in embeddings:
            fan_in = parameter[0].numel() if parameter.ndim != 3 or parameter.shape[1] == 1 else parameter.shape[-1]
            deviation = float(parameter.std())
            if deviation > 0:
                parameter.mul_(gain / (math.sqrt(fan_in) * deviation))
