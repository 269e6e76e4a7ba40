"""A way of reading is taken only if no token of any text depends on how texts are read: by structure, then by trial."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.tokenization import TokenizedPair

from ..support import require_attention_in

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

#: Models in which convolutions or recurrences stand beside attention.
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


#: Beside these, models without attention, and attention beside recurrences in every layer.
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
    """A random model in float32 whose weight matrices pass on ``gain`` times the deviation of their inputs."""
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
    """Pairs of token ids that share a prompt; of neighbours of one length the first half of the trace, too."""
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
    """Log-probability of each scored token from the model's own forward pass over one text."""
    logits = model(input_ids=torch.from_numpy(pair.ids[None, :-1])).logits[0, pair.first - 1 :].double()
    return logits.log_softmax(-1).gather(-1, torch.from_numpy(pair.ids[pair.first :, None]))[:, 0].numpy()


def bound(dtype: torch.dtype, expected: np.ndarray, *, layers: int = 4, width: int = 32) -> float:
    """Bound on rounding errors of log-probabilities: each layer adds roundings of products of ``width`` terms.

    Independent errors grow with the square root of their number; largest of some hundred tokens, so four deviations,
    and twice, as both sides have them.
    """
    terms = layers * (width if dtype == torch.float32 else 1)
    return float(8 * torch.finfo(dtype).eps * terms**0.5 * np.abs(expected).max())


def rounding_in(model: Any, pairs: list[TokenizedPair]) -> float:
    """How far rounding moves a token's log-probability in a float32 model whose layers amplify small differences.

    Measured, since no bound on such amplification holds for all models: every embedding is shifted by the rounding
    errors of all layers, one for each term of a product, independent. Each side is rounded, and some hundred tokens
    are compared, so four times the largest shift.
    """
    terms = model.config.num_hidden_layers * model.config.hidden_size
    generator = torch.Generator().manual_seed(0)

    def shift(_module: object, _args: object, embeddings: torch.Tensor) -> torch.Tensor:
        errors = torch.empty(embeddings.shape).uniform_(-1, 1, generator=generator)
        return embeddings * (1 + errors * torch.finfo(torch.float32).eps * terms**0.5)

    moved = 0.0
    for pair in pairs:
        expected = alone(model, pair)
        handle = model.get_input_embeddings().register_forward_hook(shift)
        try:
            moved = max(moved, float(np.abs(alone(model, pair) - expected).max()))
        finally:
            handle.remove()
    return 4 * moved


def scored(model: Any, pairs: list[TokenizedPair], batch_size: int = 4) -> tuple[CausalScorer, float]:
    """The scorer after its work, and the largest difference of a token from the pass over its text alone."""
    expected = [alone(model, pair) for pair in pairs]
    scorer = CausalScorer(model, torch.device("cpu"), 2048, batch_size=batch_size, show_progress=False)
    scores = scorer.score(pairs, [""] * len(pairs))
    return scorer, max(float(np.abs(s.logprob - e).max()) for s, e in zip(scores, expected, strict=True))


# ---------------------------------------------------------------- hybrids


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", STATES)
def test_texts_of_models_with_states_do_not_leak_into_each_other(name: str, dtype: torch.dtype) -> None:
    """With strong convolutions and recurrences, every token has the log-probability that it has in its text alone.

    The prompt, and what questions share behind it, is read once; the texts behind it are of unequal lengths.
    """
    require_attention_in(dtype)
    config_class, settings = STATES[name]
    model = model_of(config_class, gain=2.0, **settings).to(dtype)
    pairs = pairs_of()
    scorer, difference = scored(model, pairs)
    # Rounding that grows in strong layers may keep the trial from sharing the prompt of Qwen3-Next.
    assert scorer.way_of_reading in ({"padded", "padded, prompt read again"} if name == "qwen3_next" else {"padded"})
    in_products = bound(dtype, np.concatenate([alone(model, pair) for pair in pairs]))
    assert difference <= (max(in_products, rounding_in(model, pairs)) if dtype == torch.float32 else in_products)


def with_previous_token(model: Any, share: float) -> Any:
    """The model with a step in one layer, unseen by its cache, that adds part of the token before to each token."""

    def mix(_layer: Any, _args: Any, result: Any) -> Any:
        hidden = result[0] if isinstance(result, tuple) else result
        mixed = hidden + share * torch.nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
        return (mixed, *result[1:]) if isinstance(result, tuple) else mixed

    model.model.layers[1].register_forward_hook(mix)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("share", [1.0, 0.02])
def test_a_leak_that_no_cache_shows_is_found_by_trial(share: float, dtype: torch.dtype) -> None:
    """Where tokens are mixed without a trace in the cache, a change of one text shows in the numbers of the next."""
    require_attention_in(dtype)
    model = with_previous_token(model_of("LlamaConfig"), share).to(dtype)
    pairs = pairs_of()
    scorer, difference = scored(model, pairs)
    assert scorer.way_of_reading != "one line"
    assert difference <= bound(dtype, np.concatenate([alone(model, pair) for pair in pairs]))


class OwnPositions(torch.nn.Module):
    """Learned positions along the input, whatever positions are given."""

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return self.embedding(torch.arange(positions.shape[-1]).expand_as(positions))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["RobertaConfig", "GPT2Config"])
def test_models_with_positions_of_their_own_are_not_read_in_one_line(name: str, dtype: torch.dtype) -> None:
    """RoBERTa counts positions from behind the padding token's; the other one ignores those that it is given."""
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
    """With every token's log-probability as in its text alone."""
    config_class, settings = MASKED[name]
    model = model_of(config_class, gain=2.0, **settings)
    pairs = pairs_of()
    scorer, difference = scored(model, pairs)
    assert scorer.way_of_reading == "one line"
    assert difference <= bound(torch.float32, np.concatenate([alone(model, pair) for pair in pairs]))


# ---------------------------------------------------------------- numbers that depend on what is read beside


def with_input_length(model: Any) -> Any:
    """The model with a step that scales tokens from the 30th on by the length of the whole input."""

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
    """A number never depends on the texts beside it; where padding would change it, the log says what is done."""
    expected = [alone(make(), pair) for pair in pairs_of()]  # a fresh model each: some remember the longest input
    scorer = CausalScorer(make(), torch.device("cpu"), 2048, batch_size=4, show_progress=False)
    with caplog.at_level(logging.INFO):
        scores = scorer.score(pairs_of(), [""] * len(expected))
    difference = max(float(np.abs(s.logprob - e).max()) for s, e in zip(scores, expected, strict=True))
    assert difference <= bound(torch.float32, np.concatenate(expected))
    assert "read alone" in caplog.text


def test_positions_that_a_model_counts_along_the_input_keep_short_lines() -> None:
    """Llama 4 scales attention by a token's place in the input: texts in one line are no longer than its first step."""
    settings = {"floor_scale": 256, "attn_scale": 1.0, "attention_chunk_size": 2048, "intermediate_size_mlp": 64}
    experts = {"num_local_experts": 2, "interleave_moe_layer_step": 8, "no_rope_layers": [1, 0, 1, 0], "head_dim": 8}
    model = model_of("Llama4TextConfig", **settings, **experts)
    pairs = pairs_of(lengths=(20,) * 20)
    scorer, difference = scored(model, pairs, batch_size=40)
    assert scorer.way_of_reading == "one line"
    assert difference <= bound(torch.float32, np.concatenate([alone(model, pair) for pair in pairs]))


# ---------------------------------------------------------------- logits that are more than a projection


class Transformed(transformers.LlamaForCausalLM):
    """A Llama that changes its logits after the projection in a way that no setting names."""

    change: Callable[[torch.Tensor], torch.Tensor]

    def forward(self, *args: Any, **options: Any) -> Any:
        result = super().forward(*args, **options)
        result.logits = type(self).change(result.logits)
        return result


def one_token(logits: torch.Tensor) -> torch.Tensor:
    """A little more for one token."""
    return logits + 1e-3 * (torch.arange(logits.shape[-1]) == 17)


def by_position(logits: torch.Tensor) -> torch.Tensor:
    """A little more of everything at later positions, which no log-probability shows."""
    return logits + 1e-3 * torch.arange(logits.shape[1])[:, None]


def without_a_token(logits: torch.Tensor) -> torch.Tensor:
    """One token ruled out."""
    return logits.masked_fill(torch.arange(logits.shape[-1]) == 3, -torch.inf)


@pytest.mark.parametrize("change", [one_token, by_position, without_a_token, lambda logits: logits * 1.001])
def test_an_unknown_step_after_the_projection_is_noticed(
    change: Callable[[torch.Tensor], torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    """However small, it keeps the projection from being taken apart, and the log says so."""
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
def test_known_steps_after_the_projection_are_no_obstacle(
    config_class: str, settings: dict[str, Any], dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """A divisor, a factor, a cap, a bias: rounding is not mistaken for a difference, in wide vocabularies either."""
    require_attention_in(dtype)
    model = model_of(config_class, vocab_size=4_000, hidden_size=128, **settings).to(dtype)
    scorer, _ = scored(model, pairs_of(lengths=(9,)))
    assert "own logits" not in scorer.way_of_reading
    assert "output projection" not in caplog.text


# ---------------------------------------------------------------- unusual ways of being called


def test_attention_results_lie_as_transformers_own_do() -> None:
    """JetMoE reshapes attention's result without a copy, which also has to work for a text that is read alone."""
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
def test_masks_given_by_name(config_class: str, settings: dict[str, Any], reader: str) -> None:
    """A model that passes its mask by name is read in one line if there is none, and not if it is one of its own."""
    scorer, difference = scored(model_of(config_class, **settings), pairs_of())
    assert scorer.way_of_reading.startswith(reader)
    assert difference <= bound(torch.float32, np.array([10.0]))


class IdsAlone(torch.nn.Module):
    """A causal model that takes one row of ids and nothing else."""

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


def test_the_last_resort_is_the_models_own_way_of_being_called(caplog: pytest.LogCaptureFixture) -> None:
    """A model that fails with every option and every batch is given one text's ids at a time."""
    model = IdsAlone(model_of("LlamaConfig"))
    with caplog.at_level(logging.INFO):
        _, difference = scored(model, pairs_of())
    assert difference <= bound(torch.float32, np.array([10.0]))
    assert "token ids alone" in caplog.text
