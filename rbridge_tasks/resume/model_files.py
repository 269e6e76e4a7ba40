"""Identify the model of an engine by its files, because its weights are in other processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from rbridge_tasks.resume.weights import UnidentifiedModelError
from rbridge_traces.files import exists

_READ_BYTES = 8 << 20
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".tensors")
_OTHERS = (".json", ".py", ".txt", ".model", ".jinja", ".tiktoken")
#: Beginnings of the names of files that a trainer saves for itself; no engine loads them.
_OF_TRAINERS = ("optimizer", "scheduler", "rng_state", "training_args", "trainer_state", "scaler")


def served_by_vllm(lm: Any) -> dict[str, Any]:
    """What distinguishes an ``lm_eval.models.vllm_causallms.VLLM`` from others.

    Raises:
        UnidentifiedModelError: its files changed while it was loaded, or it is neither a folder nor a model of the Hub.
    """
    arguments = {name: str(value) for name, value in sorted(lm.model_args.items()) if name != "model"}
    adapter = getattr(getattr(lm, "lora_request", None), "lora_path", None)
    return {
        "files": files_of(str(lm.model_args["model"]), lm.model_args.get("revision")),
        "adapter": files_of(str(adapter), None) if adapter else None,
        "arguments": arguments,
        "code": {package: metadata.version(package) for package in ("torch", "transformers", "vllm")},
    }


def files_of(name: str, revision: str | None) -> dict[str, str]:
    """The commit of a model on the Hub, or SHA-256 of each file of a local one.

    All bytes are read (about 1 GB/s per core), because size and time of a file do not determine its content.

    Args:
        name: a folder, a single file, or the name of a model on the Hub.
        revision: as it was loaded; None for the default.

    Raises:
        UnidentifiedModelError: see ``served_by_vllm``.
    """
    path = Path(name)
    if not exists(path):
        return {"hub": name, "commit": _commit_of(name, revision or "main")}
    files = [path] if path.is_file() else model_files(path)
    started = _process_start()
    for file in files:
        status = file.stat()
        if max(status.st_mtime, status.st_ctime) > started:
            raise UnidentifiedModelError(
                f"{file} changed after this process began, so it is unknown which content was loaded"
            )
    return sha256_of_files(files)


def sha256_of_files(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of the content of each file, by its name."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        return dict(zip((file.name for file in files), pool.map(_sha256, files), strict=True))


def model_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that an engine may read, sorted: without those that a trainer saves for itself."""
    return sorted(file for file in folder.iterdir() if _is_read(file))


def weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that hold weights, sorted."""
    return [file for file in model_files(folder) if file.suffix in _WEIGHTS]


def _is_read(file: Path) -> bool:
    return file.is_file() and file.suffix in (*_WEIGHTS, *_OTHERS) and not file.name.startswith(_OF_TRAINERS)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _commit_of(name: str, revision: str) -> str:
    """The commit whose files were downloaded: the name of their folder in the Hub's cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        config = None
    if not isinstance(config, str):
        raise UnidentifiedModelError(f"{name!r} is no folder, and the cache of the Hub has no config.json of it")
    return Path(config).parent.name


def _process_start() -> float:
    import psutil

    return float(psutil.Process().create_time())
