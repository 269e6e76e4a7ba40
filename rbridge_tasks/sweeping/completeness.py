"""Whether a checkpoint has been written completely. No weights are loaded: the files show it."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rbridge_tasks.resume.model_files import weight_files
from rbridge_tasks.tables.checkpoint_files import tensor_shapes

#: Globs. A tokenizer with code of its own may have files of any name.
_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt",
    "tekken.json", "*.tiktoken", "tiktoken.model", "tokenization_*.py",
)  # fmt: skip
#: In the order in which transformers looks for weights.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
#: A file without a mark of its end counts as complete after so many seconds without a change.
SETTLING_SECONDS = 60.0


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return any(any(folder.glob(name)) for name in _TOKENIZERS)


def lacking(folder: str | Path, *, tokenizer_elsewhere: bool = False) -> str | None:
    """What a checkpoint lacks to be loaded, in words; None where it is complete.

    ``config.json`` and the tokenizer must be complete JSON files. So must the weights that transformers would load:
    every file that their index names, a safetensors file of the length that its header gives, a ``.bin`` that ends with
    the directory of a zip file. Older ``.bin`` files have no directory: they must be unchanged for a minute.

    Args:
        folder: of the checkpoint.
        tokenizer_elsewhere: the tokenizer is neither in this folder nor in the one above.
    """
    folder = Path(folder)
    if (reason := _not_json(folder / "config.json")) is not None:
        return reason
    if not tokenizer_elsewhere:
        place = folder if has_tokenizer(folder) else folder.parent
        if not has_tokenizer(place):
            return "no tokenizer in it, nor in the folder above"
        if (place / "tokenizer.json").exists() and (reason := _not_json(place / "tokenizer.json")) is not None:
            return reason
    name = next((name for name in _WEIGHTS if (folder / name).exists()), None)
    if name is None:
        parts = [file.name for file in weight_files(folder)]
        return f"{min(parts)} is there, but not the index that names all parts" if parts else "no weights"
    return _weights_lack(folder / name)


def _weights_lack(path: Path) -> str | None:
    if path.suffix != ".json":
        return _file_lacks(path)
    if (reason := _not_json(path)) is not None:
        return reason
    named = json.loads(path.read_bytes()).get("weight_map")
    if not isinstance(named, dict) or not named:
        return f"{path.name} names no weights"
    parts = [path.parent / name for name in sorted(set(map(str, named.values())))]
    if missing := [part.name for part in parts if not part.exists()]:
        return f"{missing[0]} is missing ({len(parts) - len(missing)} of {len(parts)} parts are there)"
    return next((reason for reason in map(_file_lacks, parts) if reason), None)


def _file_lacks(path: Path) -> str | None:
    try:
        return _safetensors_lacks(path) if path.suffix == ".safetensors" else _bin_lacks(path)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or error})"


def _safetensors_lacks(path: Path) -> str | None:
    try:
        tensor_shapes(path)
    except SafetensorError as error:
        return f"{path.name} is not complete ({error})"
    return None


def _bin_lacks(path: Path) -> str | None:
    with path.open("rb") as file:
        begins = file.read(4)
    if begins == b"PK\x03\x04":
        return None if zipfile.is_zipfile(path) else f"{path.name} ends too early"
    age = time.time() - path.stat().st_mtime
    return (
        None if age > SETTLING_SECONDS else f"{path.name} was written {max(age, 0):.0f} s ago, and may not be finished"
    )


def _not_json(path: Path) -> str | None:
    try:
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return f"no {path.name}"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError):
        return f"{path.name} is not finished"
    return None if isinstance(data, dict) else f"{path.name} holds no JSON object"


def state_of(folder: str | Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file in a folder: equal while nobody writes to it; empty without a folder."""
    try:
        status = {path.name: path.stat() for path in Path(folder).iterdir() if path.is_file()}
    except OSError:
        return {}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in status.items()}
