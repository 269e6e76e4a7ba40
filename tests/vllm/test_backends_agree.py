"""Transformers, vLLM, and a vLLM server give the same scores of one checkpoint on 60 real traces."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from rbridge_metrics import TokenScores

from ..error_bounds import assert_within, model_bound
from ..support import tiny_model
from .vllm_server import SETTINGS, VLLM, needs_vllm, served

BIN = Path(sys.executable).parent
DATA = Path(__file__).parents[3] / "shared" / "data"
TRACES = DATA / "traces_text" / "gsm8k_gpt4o_mini_cot.jsonl.gz"
TOKENIZER = DATA / "tokenizers" / "gpt-neox-20b_tokenizer.json.gz"
ITEMS, WINDOW = 60, 3072
SIZES = {"width": 128, "inner": 256, "vocabulary": 50_277}

pytestmark = [
    pytest.mark.slow,
    needs_vllm,
    pytest.mark.skipif(not TRACES.exists(), reason=f"no {TRACES}"),
]

Run = tuple[dict[str, Any], dict[str, TokenScores], str]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with the tokenizer of GPT-NeoX, which here adds a token before every text."""
    folder = tmp_path_factory.mktemp("proxy")
    tokenizer = Tokenizer.from_str(gzip.decompress(TOKENIZER.read_bytes()).decode())
    end = "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    fast_tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)
    fast_tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "max_position_embeddings": WINDOW}
    tiny_model("llama", len(fast_tokenizer), **sizes, initializer_range=0.1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cache(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the first traces with the confidences of another model."""
    folder = tmp_path_factory.mktemp("cache")
    with gzip.open(TRACES, "rt") as lines:
        (folder / "traces.jsonl").write_text("".join(line for _, line in zip(range(ITEMS), lines, strict=False)))
    fields = [
        argument for pair in ("trace=response", "question=question", "gold=target") for argument in ("--map", pair)
    ]
    run(BIN / "rbridge", "traces", "import", folder / "traces.jsonl", "--benchmark", "gsm8k", *fields,
        "--cache", folder / "cache")  # fmt: skip
    run(BIN / "rbridge", "traces", "score", "--benchmark", "gsm8k", "--model", checkpoint, "--num-fewshot", "0",
        "--cache", folder / "cache")  # fmt: skip
    return folder / "cache"


def run(*command: str | Path) -> str:
    """Run a command and return its standard error."""
    result = subprocess.run(
        [str(part) for part in command], env=os.environ | SETTINGS, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stderr


def lm_eval(program: Path, model: str, arguments: dict[str, Any], cache: Path, out: Path) -> Run:
    """Run the lm_eval command; return metrics, scores by item, and the log."""
    written = ",".join(f"{key}={value}" for key, value in arguments.items())
    batch_size = "1" if model == "local-completions" else "auto"
    log = run(program, "--model", model, "--model_args", written, "--tasks", "rbridge_gsm8k", "--num_fewshot", "5",
              "--device", "cpu", "--batch_size", batch_size, "--log_samples", "--output_path", out,
              "--metadata", json.dumps({"rbridge_cache": str(cache)}))  # fmt: skip
    (results,) = out.rglob("results_*.json")
    (samples,) = out.rglob("samples_*.jsonl")
    by_item = {}
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        by_item[sample["doc"]["item_id"]] = TokenScores.from_json(sample["resps"][0][0])
    return json.loads(results.read_text())["results"]["rbridge_gsm8k"], by_item, log


@pytest.fixture(scope="module")
def of_transformers(proxy: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``--model hf``."""
    arguments = {"pretrained": proxy, "dtype": "float32", "max_length": WINDOW}
    return lm_eval(BIN / "lm_eval", "hf", arguments, cache, tmp_path_factory.mktemp("hf"))


@pytest.fixture(scope="module")
def of_vllm(proxy: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``--model vllm``, in vLLM's own virtual environment."""
    arguments = {"pretrained": proxy, "dtype": "float32", "enforce_eager": True, "max_model_len": WINDOW}
    arguments |= {"gpu_memory_utilization": 0.3}
    return lm_eval(Path(VLLM).parent / "lm_eval", "vllm", arguments, cache, tmp_path_factory.mktemp("vllm"))


@pytest.fixture(scope="module")
def server(proxy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a vLLM server of the checkpoint."""
    with served(proxy, tmp_path_factory.mktemp("server") / "log", "--max-model-len", str(WINDOW)) as url:
        yield url


@pytest.fixture(scope="module")
def of_server(proxy: Path, server: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``--model local-completions``."""
    arguments = {
        "model": "tiny", "base_url": f"{server}/completions", "tokenizer": proxy, "tokenizer_backend": "huggingface",
        "num_concurrent": 4, "add_bos_token": True, "max_length": WINDOW,
    }  # fmt: skip
    return lm_eval(BIN / "lm_eval", "local-completions", arguments, cache, tmp_path_factory.mktemp("api"))


@pytest.mark.parametrize("backend", ["of_vllm", "of_server"])
def test_metrics_agree(backend: str, of_transformers: Run, request: pytest.FixtureRequest) -> None:
    """Metrics over 60 traces, with 5 worked examples in each prompt."""
    expected, metrics = of_transformers[0], request.getfixturevalue(backend)[0]
    for metric in ("rbridge_nll", "rbridge_bits_per_byte", "trace_nll", "trace_bits_per_byte"):
        print(f"{metric}: {expected[f'{metric},none']:.9f} hf, {metrics[f'{metric},none']:.9f} {backend}")
        # The error of a mean is at most a token's largest error. Bits are nats / ln 2; a token has at least one byte.
        bound = model_bound(**SIZES, positions=WINDOW) / np.log(2)
        assert metrics[f"{metric},none"] == pytest.approx(expected[f"{metric},none"], rel=0, abs=bound)


@pytest.mark.parametrize("backend", ["of_vllm", "of_server"])
def test_every_token_agrees(backend: str, of_transformers: Run, request: pytest.FixtureRequest) -> None:
    """Token ids, characters, log-probabilities and ranks agree; only transformers gives entropies."""
    expected, scores = of_transformers[1], request.getfixturevalue(backend)[1]
    assert len(expected) == ITEMS
    tokens = different_ranks = 0
    for item, score in expected.items():
        for name in ("token_id", "token_start", "token_end"):
            np.testing.assert_array_equal(getattr(scores[item], name), getattr(score, name))
        bound = model_bound(score.logprob, **SIZES, positions=WINDOW)
        assert_within(scores[item].logprob, score.logprob, bound)
        assert_within(scores[item].max_logprob, score.max_logprob, bound)
        assert scores[item].rank is not None
        assert score.rank is not None
        different_ranks += int((np.abs(scores[item].rank - score.rank) > 1).sum())
        tokens += score.rank.size
        assert scores[item].entropy is None
        assert scores[item].vocab_size >= score.vocab_size - 1
    assert different_ranks <= tokens / 1000  # rounding may swap two nearly equal logits
    assert np.isfinite(request.getfixturevalue(backend)[0]["rbridge_nll,none"])


def test_the_log_says_what_is_disabled_and_missing(of_vllm: Run, of_server: Run) -> None:
    """The log has one line for each."""
    assert of_vllm[2].count("the prefix cache is not read for scoring") == 1
    assert of_vllm[2].count("no entropy") == 1
    assert of_server[2].count("no entropy") == 1
    assert of_server[2].count("hold what must hold") == 1
