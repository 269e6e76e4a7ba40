"""Small random models of many architectures, pairs of token ids, and log-probabilities of a text read alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.tokenization import TokenizedPair

VOCABULARY = 300
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
_LINEAR = {
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads"], 2),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim"], 16),
}
_ALTERNATING = {"layer_types": ["linear_attention", "full_attention"] * 2}

#: Models that have convolutions or recurrences as well as attention.
HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"] * 2, "block_multiple_of": 8}),
    "bamba": ("BambaConfig", {**_MAMBA, "attn_layer_indices": [1, 3]}),
    "granite": ("GraniteMoeHybridConfig", {**_MAMBA, **_ALTERNATING, "num_local_experts": 0}),
    "falcon_h1": ("FalconH1Config", {**_MAMBA, "mamba_d_ssm": 64}),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**_LINEAR, **_ALTERNATING, "head_dim": 8, "num_experts": 0, "decoder_sparse_step": 5},
    ),
    "jamba": (
        "JambaConfig",
        {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1, "mamba_d_state": 8, "mamba_dt_rank": 4},
    ),
}


#: Also models without attention, and models with attention and a recurrence in every layer.
STATES: dict[str, tuple[str, dict[str, Any]]] = HYBRIDS | {
    "mamba": ("MambaConfig", {"state_size": 4}),
    "mamba2": ("Mamba2Config", {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 16}),
    "rwkv": ("RwkvConfig", {"attention_hidden_size": 32}),
    "nemotron_h": (
        "NemotronHConfig",
        {
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 8,
            "n_groups": 1,
            "head_dim": 8,
            "layers_block_type": ["linear_attention", "mlp", "full_attention", "linear_attention"],
        },
    ),
    "zamba": (
        "ZambaConfig",
        {
            "attention_hidden_size": 64,
            "attention_head_dim": 16,
            "num_key_value_heads": 4,
            "mamba_d_state": 8,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_dt_rank": 4,
            "layers_block_type": ["linear_attention", "hybrid"] * 2,
        },
    ),
}


def model_of(config_class: str, *, gain: float = 1.0, **settings: Any) -> Any:
    """A random float32 model whose weight matrices multiply the standard deviation of their inputs by ``gain``."""
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**(_SIZES | settings))
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2 and id(parameter) not in embeddings and parameter.std() > 0:
                fan_in = parameter[0].numel()
                parameter.mul_(gain / (float(parameter.std()) * fan_in**0.5))
        model.get_output_embeddings().weight.normal_(0, 0.5)
    return model


def pairs_of(prompt_tokens: int = 60, lengths: tuple[int, ...] = (3, 40, 9, 21, 5, 90)) -> list[TokenizedPair]:
    """Pairs of token ids that share a prompt; two pairs of one length also share the first half of the trace."""
    random = np.random.default_rng(0)
    prompt = random.integers(5, VOCABULARY, prompt_tokens)
    pairs = []
    for length in lengths:
        ids = np.concatenate([prompt, random.integers(5, VOCABULARY, 7 + length)])
        sibling = ids.copy()
        sibling[ids.size - length // 2 - 1 :] = random.integers(5, VOCABULARY, length // 2 + 1)
        offsets = np.arange(length), np.arange(1, length + 1)
        pairs += [TokenizedPair(ids, ids.size - length, *offsets), TokenizedPair(sibling, ids.size - length, *offsets)]
    return pairs


@torch.no_grad()
def alone(model: Any, pair: TokenizedPair) -> np.ndarray:
    """Log-probability of each scored token from the model's forward pass over this text alone."""
    logits = model(input_ids=torch.from_numpy(pair.ids[None, :-1])).logits[0, pair.first - 1 :].double()
    return logits.log_softmax(-1).gather(-1, torch.from_numpy(pair.ids[pair.first :, None]))[:, 0].numpy()


def bound(dtype: torch.dtype, expected: np.ndarray, *, layers: int = 4, width: int = 32) -> float:
    """Bound on rounding errors of log-probabilities: each layer adds roundings of products of ``width`` terms.

    Independent errors grow with the square root of their number. The bound is four standard deviations, since it holds
    for the largest error of some hundred tokens, times two, since both sides have errors.
    """
    terms = layers * (width if dtype == torch.float32 else 1)
    return float(8 * torch.finfo(dtype).eps * terms**0.5 * np.abs(expected).max())


def rounding_in(model: Any, pairs: list[TokenizedPair]) -> float:
    """Measured effect of rounding on log-probabilities in a float32 model whose layers amplify small differences.

    No bound on this amplification holds for all models. So every embedding is shifted by the independent rounding
    errors of all layers, one for each term of a product. The result is four times the largest change, since both sides
    are rounded and some hundred tokens are compared.
    """
    terms = model.config.num_hidden_layers * model.config.hidden_size
    generator = torch.Generator().manual_seed(0)

    def shift(_module: object, _args: object, embeddings: torch.Tensor) -> torch.Tensor:
        errors = torch.empty(embeddings.shape).uniform_(-1, 1, generator=generator)
        return embeddings * (1 + errors * torch.finfo(torch.float32).eps * terms**0.5)

    largest_change = 0.0
    for pair in pairs:
        expected = alone(model, pair)
        handle = model.get_input_embeddings().register_forward_hook(shift)
        try:
            largest_change = max(largest_change, float(np.abs(alone(model, pair) - expected).max()))
        finally:
            handle.remove()
    return 4 * largest_change


def scored(model: Any, pairs: list[TokenizedPair], batch_size: int = 4) -> tuple[CausalScorer, float]:
    """Score pairs; return the scorer and the largest difference of a token's log-probability from ``alone``."""
    expected = [alone(model, pair) for pair in pairs]
    scorer = CausalScorer(model, torch.device("cpu"), 2048, batch_size=batch_size, show_progress=False)
    scores = scorer.score(pairs, [""] * len(pairs))
    return scorer, max(float(np.abs(s.logprob - e).max()) for s, e in zip(scores, expected, strict=True))
