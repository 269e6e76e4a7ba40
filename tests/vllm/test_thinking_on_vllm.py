"""``rbridge traces build --trace reasoning|thinking`` against a real vLLM server whose model thinks first."""

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
ITEMS = 12
MAX_TOKENS = 500

pytestmark = [pytest.mark.slow, needs_vllm]


@pytest.fixture(scope="module")
def checkpoint_that_thinks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose chat template starts the thinking."""
    return answering_llama(tmp_path_factory.mktemp("thinking"), thinks=True)


@pytest.fixture(
    scope="module",
    params=[["--reasoning-parser", "deepseek_r1", "--return-tokens-as-token-ids"], []],
    ids=["a field of the message", "in the content"],
)
def server(
    request: pytest.FixtureRequest, checkpoint_that_thinks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server with a reasoning parser that lists token ids; or one without, with the thinking in the content."""
    log = tmp_path_factory.mktemp("vllm") / "log"
    with served(checkpoint_that_thinks, log, "--max-model-len", "2048", *request.param) as url:
        yield url


@pytest.mark.parametrize("trace", ["reasoning", "thinking"])
def test_confidences_of_characters_are_those_of_the_servers_own_response(
    server: str, tmp_path: Path, trace: str
) -> None:
    """In a direct request, each character's confidence is the mean probability of the tokens that hold its bytes."""
    rows = [{"question": f"What is {n} and {n + 1}?", "answer": f"#### {2 * n + 1}"} for n in range(ITEMS)]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = subprocess.run(
        [BIN / "rbridge", "traces", "build", "--benchmark", "gsm8k", "--model", "tiny", "--base-url", server,
         "--questions", questions, "--max-tokens", str(MAX_TOKENS), "--trace", trace, "--cache", tmp_path / "cache"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    traces = TraceCache(str(tmp_path / "cache")).load("gsm8k").traces
    assert len(traces) >= ITEMS - 4, result.stderr[-3000:]
    questions_by_id = {question.item_id: question for question in load_questions("gsm8k", path=str(questions))}
    for built in traces:
        choice = ask(
            server, messages(questions_by_id[built.item_id]), max_tokens=MAX_TOKENS, return_tokens_as_token_ids=False
        )
        characters = json_characters(built.trace) if trace == "reasoning" else list(built.trace)
        expected = by_hand(choice["logprobs"]["content"], characters)
        assert built.token_end is not None
        assert built.token_logprob is not None
        confidence = character_confidence(built.token_end, built.token_logprob)
        np.testing.assert_allclose(confidence, expected, rtol=relative_bound(expected))
