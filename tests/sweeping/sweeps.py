"""Tiny checkpoints, and the real ``rbridge sweep`` command."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from ..support import TOKENIZERS, tiny_model

BIN = Path(sys.executable).parent
METADATA = json.dumps({"rbridge_weights": "spans", "rbridge_cache": "sample"})
#: One task, two items and one worked example: about half a second for a checkpoint.
OPTIONS = [
    "--tasks", "rbridge_gsm8k", "--limit", "2", "--num-fewshot", "1", "--batch-size", "2", "--metadata", METADATA,
    "--include-sample",
]  # fmt: skip


def write_checkpoints(run: Path, steps: range) -> Path:
    """Write checkpoints ``stepN-tokensNK`` with different weights; return their folder."""
    tokenizer = TOKENIZERS["bos"]()
    model = tiny_model("llama", len(tokenizer))
    for step in steps:
        torch.manual_seed(step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        model.save_pretrained(run / f"step{step}-tokens{step}K")
        tokenizer.save_pretrained(run / f"step{step}-tokens{step}K")
    return run


def words(*arguments: object) -> list[str]:
    """Return the command line with small settings."""
    return [str(BIN / "rbridge"), "sweep", *map(str, arguments), *OPTIONS]


def sweep(*arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    env = environment or os.environ
    return subprocess.run(words(*arguments), env=env, capture_output=True, text=True, check=False, timeout=300)


@contextlib.contextmanager
def started(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start the command; it is killed on exit if it still runs."""
    env = environment or os.environ
    process = subprocess.Popen(words(*arguments), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def table(output: Path) -> tuple[bytes, bytes]:
    """Return the bytes of the score table in both formats."""
    return (output / "scores.csv").read_bytes(), (output / "scores.parquet").read_bytes()


def finished(output: Path) -> set[str]:
    """Return the names of the finished shards."""
    return {path.parent.name for path in (output / "shards").glob("*/shard.json")}
