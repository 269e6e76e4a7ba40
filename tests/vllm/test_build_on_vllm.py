"""``rbridge traces build`` against a real vLLM server, from its questions to the table of ``lm_eval``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rbridge_metrics import character_confidence
from rbridge_traces import TraceCache, load_questions
from rbridge_traces.generation.prompt import messages

from .answering_llama import answering_llama
from .confidence_by_hand import ask, by_hand, json_characters, relative_bound
from .vllm_server import needs_vllm, served

BIN = Path(sys.executable).parent
QUESTIONS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks" / "gsm8k" / "test.jsonl"
ITEMS = 20

pytestmark = [
    pytest.mark.slow,
    needs_vllm,
    pytest.mark.skipif(not QUESTIONS.exists(), reason=f"no {QUESTIONS}"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that answers in the format of the paper's prompt."""
    return answering_llama(tmp_path_factory.mktemp("answering"))


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of ``vllm serve`` on the CPU."""
    with served(trained, tmp_path_factory.mktemp("vllm") / "log", "--max-model-len", "2048") as url:
        yield url


@pytest.fixture(scope="module")
def built(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache built from the first questions, and the command's output."""
    cache = tmp_path_factory.mktemp("built")
    result = subprocess.run(
        [BIN / "rbridge", "traces", "build", "--benchmark", "gsm8k", "--model", "tiny", "--base-url", server,
         "--questions", QUESTIONS, "--limit", str(ITEMS), "--max-tokens", "300", "--cache", cache],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return cache, result.stdout


def test_nearly_every_question_gets_a_trace_with_confidences(built: tuple[Path, str]) -> None:
    """The checkpoint answers in JSON; the output counts an answer in a wrong format as failed."""
    manifest = TraceCache(str(built[0])).load("gsm8k").manifest
    assert manifest.rows_with_confidence == manifest.rows >= ITEMS - 5
    assert manifest.rows == ITEMS or "failed" in built[1]


def test_confidences_of_characters_are_those_of_the_servers_own_response(built: tuple[Path, str], server: str) -> None:
    """In a direct request, each character's confidence is the mean probability of the tokens that hold its bytes."""
    for trace in TraceCache(str(built[0])).load("gsm8k").traces:
        question = next(q for q in load_questions("gsm8k", path=str(QUESTIONS)) if q.item_id == trace.item_id)
        choice = ask(server, messages(question), max_tokens=300)
        expected = by_hand(choice["logprobs"]["content"], json_characters(trace.trace))
        assert trace.token_end is not None
        assert trace.token_logprob is not None
        confidence = character_confidence(trace.token_end, trace.token_logprob)
        np.testing.assert_allclose(confidence, expected, rtol=relative_bound(expected))


def test_lm_eval_scores_the_cache(built: tuple[Path, str], checkpoint: Path, tmp_path: Path) -> None:
    """lm_eval scores a checkpoint on traces that the server's model wrote."""
    result = subprocess.run(
        [BIN / "lm_eval", "--model", "hf", "--model_args", f"pretrained={checkpoint}", "--tasks", "rbridge_gsm8k",
         "--num_fewshot", "0", "--metadata", json.dumps({"rbridge_cache": str(built[0])}), "--output_path", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    (file,) = tmp_path.rglob("results_*.json")
    scores = json.loads(file.read_text())["results"]["rbridge_gsm8k"]
    assert np.isfinite(scores["rbridge_nll,none"])
    assert scores["rbridge_nll,none"] < scores["trace_nll,none"]
