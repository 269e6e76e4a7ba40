"""Run a real ``vllm serve`` on the CPU, from the command that RBRIDGE_VLLM names."""

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

import pytest

#: The ``vllm`` command; ``make test-vllm`` installs it in its own virtual environment and sets the variable.
VLLM = os.environ.get("RBRIDGE_VLLM", "")
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}

needs_vllm = pytest.mark.skipif(not VLLM, reason="RBRIDGE_VLLM does not name a vllm command; make test-vllm does")


@contextmanager
def served(checkpoint: Path, log: Path, *options: str) -> Iterator[str]:
    """Serve a checkpoint as "tiny" in float32; give the API's base URL, which ends in /v1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [VLLM, "serve", str(checkpoint), "--served-model-name", "tiny", "--host", "127.0.0.1"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--dtype", "float32", "--enforce-eager",
             "--gpu-memory-utilization", "0.3", *options],
            env=os.environ | SETTINGS, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=5)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
        else:
            return
    pytest.fail(f"vllm did not answer within 5 minutes: {log.read_text()[-3000:]}")
