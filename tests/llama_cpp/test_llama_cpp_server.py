"""The server of llama-cpp-python is accepted if it adds a token before the text, and refused if it does not.

Without that token each echoed log-probability is that of the *next* token, and the response does not show it.
``make test-llama-cpp`` builds the server in its own virtual environment and sets RBRIDGE_LLAMA_CPP to its Python.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.models.openai_completions import LocalCompletionsAPI

from rbridge_tasks.backends import completions, hf
from rbridge_tasks.backends.prompts.client import CompletionsServerError
from rbridge_tasks.backends.prompts.probes import RefusedSourceError

from ..error_bounds import UNIT_ROUNDOFF, assert_within, model_bound
from ..support import harness_model, mixed_pairs, tiny_model

PYTHON = os.environ.get("RBRIDGE_LLAMA_CPP", "")
PAIRS = mixed_pairs()[:4]
LABELS = [f"gsm8k/{number}" for number in range(len(PAIRS))]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON, reason="RBRIDGE_LLAMA_CPP names no Python with llama-cpp-python; see docs/backends.md"
    ),
]


@pytest.fixture(scope="module")
def model(tokenizers: dict[str, Any]) -> Any:
    return tiny_model("llama", len(tokenizers["byte_level"]), initializer_range=0.2)


@pytest.fixture(scope="module")
def checkpoint_folder(model: Any, tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and a tokenizer that adds no token before a text."""
    folder = tmp_path_factory.mktemp("served")
    model.save_pretrained(folder)
    tokenizers["byte_level"].save_pretrained(folder)
    return folder


@contextmanager
def served(folder: Path, out: Path, *, first_token: bool) -> Iterator[str]:
    """Start a server of the checkpoint and give its address."""
    gguf = out / f"{first_token}.gguf"
    script = Path(__file__).with_name("write_gguf.py")
    subprocess.run([PYTHON, script, folder, gguf, "yes" if first_token else "no"], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(gguf), "--logits_all", "true", "--n_ctx", "2048"]
    with (out / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None, (out / "log").read_text()[-3000:]
                assert time.monotonic() < deadline
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).close()
                    break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1/completions"
        finally:
            process.terminate()
            process.wait(timeout=30)


def api(url: str, folder: Path, **options: Any) -> LocalCompletionsAPI:
    """lm-eval's model for the server, which takes text and no token ids."""
    return LocalCompletionsAPI(
        base_url=url, model="tiny", tokenizer=str(folder), tokenizer_backend="huggingface", **options
    )


def test_a_server_that_adds_a_first_token_is_accepted(
    checkpoint_folder: Path, model: Any, tokenizers: dict[str, Any], tmp_path: Path
) -> None:
    """Its scores equal those of the model with the same first token; its keys and values are in float16."""
    with served(checkpoint_folder, tmp_path, first_token=True) as url:
        scores = completions.score(api(url, checkpoint_folder, tokenized_requests=False), PAIRS, LABELS)
    with_token = [(f"<s>{context}", trace) for context, trace in PAIRS]
    expected = hf.score(harness_model(model, tokenizers["byte_level"]), with_token, LABELS)
    for score, reference in zip(scores, expected, strict=True):
        np.testing.assert_array_equal(score.token_id, reference.token_id)
        # Keys and values of both layers are rounded to float16: four roundings, each of at most u times the largest.
        bound = 4 * UNIT_ROUNDOFF["float16"] * np.abs(reference.logprob).max() + model_bound(reference.logprob)
        assert_within(score.logprob, reference.logprob, bound)
        assert score.rank is None


def test_a_server_that_adds_no_first_token_is_refused(checkpoint_folder: Path, tmp_path: Path) -> None:
    """The refusal comes before any trace is sent and states the reason."""
    with (
        served(checkpoint_folder, tmp_path, first_token=False) as url,
        pytest.raises(RefusedSourceError, match="shifted by one"),
    ):
        completions.score(api(url, checkpoint_folder, tokenized_requests=False), PAIRS, LABELS)


def test_a_server_that_takes_no_ids_is_an_error(checkpoint_folder: Path, tmp_path: Path) -> None:
    """The error names the option that sends text."""
    with (
        served(checkpoint_folder, tmp_path, first_token=True) as url,
        pytest.raises(CompletionsServerError, match="tokenized_requests=False"),
    ):
        completions.score(api(url, checkpoint_folder, max_retries=1), PAIRS, LABELS)
