"""Import of small inputs with known answers and of real responses, from the folder beside the project."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_metrics import character_confidence, minmax_weights, token_confidence
from rbridge_traces import completion_of_choice, extract_reasoning, import_traces

from ..traces.support import jsonl


@pytest.fixture
def cases(data: Path) -> Path:
    """Folder of the small inputs."""
    folder = data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"the small inputs are not at {folder}")
    return folder


def test_thinking_tokens_are_not_part_of_the_trace(cases: Path, tmp_path: Path) -> None:
    """Only the five tokens of ``2 + 2 = 4`` are read, from the response itself and from a file with its question."""
    response = json.loads((cases / "thinking_tokens_response.json").read_text())
    extracted = extract_reasoning(completion_of_choice(response["choices"][0]))
    expected = [-0.05, -0.1, -0.2, -0.01, -0.02]
    assert extracted.text == "2 + 2 = 4"
    np.testing.assert_allclose(extracted.token_logprob, expected, rtol=1e-6)
    path = jsonl(tmp_path / "r.jsonl", [response | {"question": "2 + 2?"}])
    (trace,) = import_traces(path, benchmark="gsm8k").traces
    assert (trace.trace, trace.final_answer) == ("2 + 2 = 4", "4")
    np.testing.assert_allclose(trace.token_logprob, expected, rtol=1e-6)


def test_legacy_completions_are_imported(cases: Path) -> None:
    """The trace is the text without its leading space; it has six tokens."""
    (trace,) = import_traces(str(cases / "legacy_completions.jsonl"), benchmark="gsm8k").traces
    assert (trace.question, trace.trace) == ("What is 2 + 2?", "Two and two make four.")
    np.testing.assert_allclose(trace.token_logprob, [-0.3, -0.2, -0.1, -0.4, -0.05, -0.2], rtol=1e-6)


def test_minus_9999_does_not_change_the_other_weights(cases: Path, tmp_path: Path) -> None:
    """The weights of the four known tokens are those of a trace of these four tokens."""
    case: dict[str, Any] = json.loads((cases / "minus_9999.json").read_text())
    path = jsonl(tmp_path / "m.jsonl", [case | {"question": "?"}])
    (trace,) = import_traces(path, benchmark="gsm8k").traces
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    assert trace.unknown_tokens == 1
    characters = character_confidence(trace.token_end, trace.token_logprob)
    weights = minmax_weights(token_confidence(characters, [0, *trace.token_end[:-1]], trace.token_end))
    known = [0, 2, 3, 4]
    known_confidences = np.exp([case["tokens"][token]["logprob"] for token in known])
    np.testing.assert_allclose(weights[known], minmax_weights(known_confidences), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["model_gpt4o", "domain_reasoning", "domain_code"])
def test_a_real_response_is_a_trace(data: Path, tmp_path: Path, name: str) -> None:
    """In answers saved as GPT-4o's server sent them, the text is the trace and each token has its log-probability."""
    file = data / "traces_logprobs" / "openai_chat_format" / f"{name}.json.gz"
    response = json.loads(gzip.decompress(file.read_bytes()))
    path = jsonl(tmp_path / "r.jsonl", [{"question": "?", "response": response}])
    report = import_traces(path, benchmark="gsm8k")
    (trace,) = report.traces
    choice = response["choices"][0]
    assert trace.trace == choice["message"]["content"].strip()
    assert report.model == response.get("model")
    logprobs = [entry["logprob"] for entry in choice["logprobs"]["content"]]
    if trace.trace == choice["message"]["content"]:
        np.testing.assert_allclose(trace.token_logprob, logprobs, rtol=1e-6, atol=1e-12)
