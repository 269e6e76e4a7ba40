"""Tiny tokenizers and models to test with, and what lm-eval itself makes of the same pairs."""

from __future__ import annotations

import functools
import json
import pydoc_data.topics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizer, PreTrainedTokenizerFast

from rbridge_tasks.harness.lm_eval_versions import new_request

transformers.logging.set_verbosity_error()

Pair = tuple[str, str]

# ---------------------------------------------------------------- tokenizers

SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>"]
SPECIAL_NAMES = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=False))
#: GPT-4's way to cut text into words: up to three digits, and line ends stay with the punctuation before them.
GPT4_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@functools.cache
def corpus() -> list[str]:
    """Text to train tokenizers on: Python's own manual, sums, code, and a little of everything else."""
    sums = [f"{a} + {b} = {a + b}, so x = {a + b}/2." for a, b in _numbers(200)]
    others = ["Über die Größe: ½ · ∑ x² ≤ ∞", "한국어 문장", "👍🏽 😀 x", "\\frac{1}{2} \\times", "f(x):\n    return\n"]
    return [*list(pydoc_data.topics.topics.values())[:12], *sums, *others * 20]


def _numbers(count: int, start: int = 0) -> Iterator[tuple[int, int]]:
    return ((i * 37 % 97, i * 53 % 89) for i in range(start, start + count))


def byte_level(*, template: str = "$A", trim_offsets: bool = False, words: str = "gpt2") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, as GPT-2's ("gpt2"), as GPT-4's ("gpt4"), or with tokens across words ("none")."""
    tokenizer = Tokenizer(models.BPE())
    of_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words == "gpt2")
    cut = pre_tokenizers.Split(Regex(GPT4_WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, of_bytes]) if words == "gpt4" else of_bytes
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=trim_offsets), _template(tokenizer, template)]
    )
    return _wrap(tokenizer)


def byte_fallback() -> PreTrainedTokenizerFast:
    """A BPE tokenizer as Llama 2's: ``▁`` for spaces, one put before the text, bytes for letters it does not know."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=[*SPECIAL, *every_byte], limit_alphabet=100, show_progress=False
    )
    tokenizer.train_from_iterator((text.replace("\n", " ") for text in corpus()), trainer)
    state = json.loads(tokenizer.to_str())
    state["model"] |= {"byte_fallback": True, "unk_token": "<unk>"}
    state["pre_tokenizer"] = None
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = _template(tokenizer, "<s> $A")
    return _wrap(tokenizer)


def lower_case() -> PreTrainedTokenizerFast:
    """A tokenizer that forgets capitals, so that its decoding is not the text."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte_level": byte_level,
    "byte_level_gpt4": functools.partial(byte_level, words="gpt4"),
    "trimmed": functools.partial(byte_level, trim_offsets=True),
    "across_words": functools.partial(byte_level, words="none"),
    "across_words_trimmed": functools.partial(byte_level, words="none", trim_offsets=True),
    "bos": functools.partial(byte_level, template="<s> $A"),
    "bos_eos": functools.partial(byte_level, template="<s> $A </s>"),
    "byte_fallback": byte_fallback,
    "lower_case": lower_case,
}


def _template(tokenizer: Tokenizer, single: str) -> processors.TemplateProcessing:
    special = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>") if token in single]
    return processors.TemplateProcessing(single=single, special_tokens=special)


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_NAMES)


class PythonTwin(PreTrainedTokenizer):
    """The same tokens as a fast tokenizer, behind the interface of those written in Python: no offsets."""

    def __init__(self, fast: PreTrainedTokenizerFast) -> None:
        self.fast = fast
        super().__init__(**SPECIAL_NAMES)

    @property
    def vocab_size(self) -> int:
        return len(self.fast)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.fast.get_vocab())

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return list(self.fast.backend_tokenizer.encode(text, add_special_tokens=False).tokens)

    def _convert_token_to_id(self, token: str) -> int:
        return int(self.fast.convert_tokens_to_ids(token))

    def _convert_id_to_token(self, index: int) -> str:
        return str(self.fast.convert_ids_to_tokens(index))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return str(self.fast.backend_tokenizer.decoder.decode(tokens))

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: None = None) -> list[int]:  # noqa: ARG002
        ids = self.fast.backend_tokenizer.encode("").ids  # what the template adds: nothing, <s>, or <s> and </s>
        return [*ids[:1], *token_ids_0, *ids[1:]]


# ---------------------------------------------------------------- models

_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OLD_NAMES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048}

#: Configuration class and the settings in which each family differs from the others.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "gpt2": ("GPT2Config", _OLD_NAMES),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "opt": ("OPTConfig", {"ffn_dim": 64, "word_embed_proj_dim": 32, "pad_token_id": 0}),
    "gemma2": (
        "Gemma2Config",
        {"head_dim": 8, "sliding_window": 16, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    ),
    "mistral_sliding": ("MistralConfig", {"sliding_window": 16}),
    "mamba": ("MambaConfig", {"state_size": 4, "expand": 2, "conv_kernel": 4}),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "granite": ("GraniteConfig", {"logits_scaling": 4.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2}),
    "cohere": ("CohereConfig", {"logit_scale": 0.25}),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {}),
}


def tiny_model(family: str, vocab_size: int, **settings: Any) -> PreTrainedModel:
    """A random model of two layers whose predictions are far from uniform; the same one each time."""
    config_class, differences = FAMILIES[family]
    config = getattr(transformers, config_class)(**(_COMMON | differences | settings), vocab_size=vocab_size)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def require_attention_in(dtype: torch.dtype) -> None:
    """Skip a test where torch's own attention does not run in a dtype.

    With ``ATEN_CPU_CAPABILITY`` below avx512 on a processor with AMX it raises an error for bfloat16.
    """
    states = torch.zeros(1, 1, 512, 16, dtype=dtype)
    try:
        torch.nn.functional.scaled_dot_product_attention(states, states, states, is_causal=True)
    except RuntimeError as error:
        pytest.skip(f"torch's own attention does not run in {dtype} here: {error}")


def harness_model(model: PreTrainedModel, tokenizer: Any, **options: Any) -> HFLM:
    """The model as lm-eval's ``--model hf`` holds it."""
    return HFLM(pretrained=model, tokenizer=tokenizer, **{"batch_size": 1, "max_length": 2048} | options)


def stock_tokens(lm: HFLM, pair: Pair) -> tuple[list[int], list[int]]:
    """Context and continuation as lm-eval's ``loglikelihood`` hands them to the model."""
    seen: list[Any] = []
    stock, lm._loglikelihood_tokens = lm._loglikelihood_tokens, lambda requests, **_: seen.extend(requests)
    try:
        lm.loglikelihood([_request(pair)], disable_tqdm=True)
    finally:
        lm._loglikelihood_tokens = stock
    return seen[0][1], seen[0][2]


def stock_loglikelihoods(lm: HFLM, pairs: Sequence[Pair]) -> list[float]:
    """Summed log-probability of each trace, by lm-eval itself."""
    return [total for total, _ in lm.loglikelihood([_request(pair) for pair in pairs], disable_tqdm=True)]


def _request(pair: Pair) -> Instance:
    request: Instance = new_request("loglikelihood", {}, pair)
    return request


# ---------------------------------------------------------------- pairs


def shots(task: str, count: int = 5) -> str:
    """Worked examples that every item of a task begins with."""
    asked = _numbers(count, len(task))
    return "".join(f"Question: {task}, {a} and {b}?\nAnswer: {a} + {b} = {a + b}.\n\n" for a, b in asked)


def mixed_pairs() -> list[Pair]:
    """Items of two 5-shot tasks and of a 0-shot one, in no order, their traces of very different lengths."""
    first, second = shots("the sum"), shots("all together")
    traces = [
        "First, 12 + 30 = 42.",
        "\\frac{1}{2} of 84 is 42\nso x = 42.",
        "42",
        "We add them one by one: " + ", then ".join(f"{i} + 1 = {i + 1}" for i in range(12)),
        "Ü½ 😀 makes 한국어\n\n  return x",
        "It is 3.",
        "So the answer is " + "very " * 20 + "small.",
        "9 of them, and 1 more is 10.",
    ]
    contexts = [first, second, "", first, second, "", first, second]
    numbered = enumerate(zip(contexts, traces, strict=True))
    return [(f"{shot}Question: what is {i} + {i}?\nAnswer: ", trace) for i, (shot, trace) in numbered]
