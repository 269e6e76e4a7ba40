"""The vLLM back end in vLLM's own virtual environment: its scores, and its treatment of a user's settings.

``make test-vllm`` runs this file there; it is skipped if vLLM is not installed.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed here; make test-vllm runs this file where it is")

os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}

from lm_eval.models.huggingface import HFLM
from lm_eval.models.vllm_causallms import VLLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from rbridge_metrics import TokenScores
from rbridge_tasks.backends import hf, vllm
from rbridge_tasks.backends.base import BackendError
from rbridge_tasks.backends.prompts.probes import RefusedSourceError
from rbridge_tasks.scoring.tokenization import PairEncoder

from ..error_bounds import assert_within, model_bound
from ..support import TOKENIZERS, mixed_pairs, tiny_model

pytestmark = pytest.mark.slow

PAIRS = mixed_pairs()
LABELS = [f"gsm8k/{number}" for number in range(len(PAIRS))]


def save(folder: Path, name: str = "bos", *, change: Callable[[Any], None] = lambda _: None) -> Path:
    """Save a random Llama whose head width vLLM's CPU attention supports."""
    tokenizer = TOKENIZERS[name]()
    model = tiny_model("llama", len(tokenizer), hidden_size=128, intermediate_size=256, initializer_range=0.15)
    change(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in which every second row of the output projection equals the one before it."""

    def tie(model: Any) -> None:
        weight = model.lm_head.weight.data
        weight[1::2] = weight[0::2]

    return save(tmp_path_factory.mktemp("tied"), change=tie)


@pytest.fixture
def engine() -> Iterator[Callable[..., VLLM]]:
    """A function that builds an engine as ``--model vllm`` does; the engine ends with the test."""
    built: list[VLLM] = []

    def build(folder: Path, **options: Any) -> VLLM:
        defaults = {"dtype": "float32", "enforce_eager": True, "batch_size": "auto", "max_model_len": 2048}
        defaults |= {"gpu_memory_utilization": 0.3}  # a share of main memory on a CPU; other tests need the rest
        built.append(VLLM(str(folder), **defaults | options))
        return built[-1]

    yield build
    for lm in built:
        lm.model.llm_engine.engine_core.shutdown()
        del lm.model
    built.clear()
    gc.collect()


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[TokenScores]:
    """The same pairs scored by transformers."""
    return hf.score(HFLM(str(folder), dtype="float32", device="cpu", batch_size=4), PAIRS, LABELS)


def assert_same(scores: list[TokenScores], expected: list[TokenScores]) -> None:
    """Assert that all fields except the rank agree, and that there is no entropy."""
    for score, reference in zip(scores, expected, strict=True):
        for name in ("token_id", "token_start", "token_end"):
            np.testing.assert_array_equal(getattr(score, name), getattr(reference, name))
        bound = model_bound(reference.logprob, width=128, inner=256)
        assert_within(score.logprob, reference.logprob, bound)
        assert_within(score.max_logprob, reference.max_logprob, bound)
        assert score.entropy is None
        assert score.vocab_size == reference.vocab_size


def test_scores_are_those_of_transformers(folder: Path, engine: Any, expected: list[TokenScores]) -> None:
    """Log-probabilities and maxima agree; a rank is that of the last of equally probable tokens, as documented."""
    finished: list[int] = []
    scores = vllm.score(engine(folder), PAIRS, LABELS, done=lambda pairs, _: finished.extend(pairs))
    assert_same(scores, expected)
    assert sorted(finished) == list(range(len(PAIRS)))
    model = AutoModelForCausalLM.from_pretrained(folder)
    encoder = PairEncoder(AutoTokenizer.from_pretrained(folder), prefix_token_id=1)
    differences = []
    for score, pair in zip(scores, encoder.encode(PAIRS), strict=True):
        with torch.inference_mode():
            logits = model(torch.as_tensor(pair.ids)[None]).logits[0, pair.first - 1 : -1]
        target_logits = logits.gather(-1, torch.as_tensor(score.token_id[:, None], dtype=torch.int64))
        at_least_as_probable = (logits >= target_logits).sum(-1).numpy()
        assert not (score.rank % 2).any()  # tokens are tied in pairs, and both get the larger rank
        differences += (score.rank - at_least_as_probable).tolist()
    assert np.count_nonzero(differences) <= len(differences) / 50  # differences by rounding


def test_small_chunks_and_small_steps_change_nothing(
    folder: Path, engine: Any, expected: list[TokenScores], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts longer than a step of the engine, in several calls."""
    monkeypatch.setattr(vllm, "_TOKENS_AT_ONCE", 300)
    lm = engine(folder, max_num_batched_tokens=64, enable_chunked_prefill=True, max_num_seqs=2)
    calls: list[int] = []
    scores = vllm.score(lm, PAIRS, LABELS, done=lambda pairs, _: calls.append(len(pairs)))
    assert_same(scores, expected)
    assert len(calls) > 2


def test_a_trace_longer_than_the_window_is_scored_in_parts(folder: Path, engine: Any) -> None:
    """Every token is scored once; scores equal those of transformers with the same window."""
    scores = vllm.score(engine(folder, max_model_len=64), PAIRS[3:5], LABELS[3:5])
    same_window = HFLM(str(folder), dtype="float32", device="cpu", max_length=62)
    assert_same(scores, hf.score(same_window, PAIRS[3:5], LABELS[3:5]))
    assert scores[0].windows > 1


def test_a_broken_checkpoint_is_one_line(tmp_path: Path, engine: Any) -> None:
    """NaN weights are an error."""

    def spoil(model: Any) -> None:
        model.model.norm.weight.data[0] = float("nan")

    with pytest.raises(RefusedSourceError, match="vLLM gives no finite log-probability") as caught:
        vllm.score(engine(save(tmp_path, change=spoil)), PAIRS, LABELS)
    assert "\n" not in str(caught.value)


def test_logits_instead_of_log_probabilities_are_refused(folder: Path, engine: Any) -> None:
    """An engine can be set to return logits; its responses do not show this."""
    with pytest.raises(BackendError, match="logprobs_mode=raw_logits"):
        vllm.score(engine(folder, logprobs_mode="raw_logits"), PAIRS, LABELS)


def test_a_users_prefix_cache_and_speculative_decoding_change_nothing(
    folder: Path, engine: Any, expected: list[TokenScores], caplog: pytest.LogCaptureFixture
) -> None:
    """Both are on and the cache holds the same prompts; the log has a line about each."""
    draft = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4, "prompt_lookup_min": 1}
    lm = engine(folder, enable_prefix_caching=True, speculative_config=draft)
    from vllm import SamplingParams, TokensPrompt

    prompts = [TokensPrompt(prompt_token_ids=lm.tok_encode(context + trace)) for context, trace in PAIRS]
    lm.model.generate(prompts, SamplingParams(temperature=0, max_tokens=8))
    with caplog.at_level("INFO"):
        assert_same(vllm.score(lm, PAIRS, LABELS), expected)
    assert "the prefix cache is not read" in caplog.text
    assert "speculative decoding is not used" in caplog.text
