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
    try:
        _check(Path(folder), tokenizer_elsewhere=tokenizer_elsewhere)
    except _LackingError as lack:
        return str(lack)
    return None


class _LackingError(Exception):
    """What a checkpoint lacks; never seen by a caller."""


def _check(folder: Path, *, tokenizer_elsewhere: bool) -> None:
    _json_object(folder / "config.json")
    if not tokenizer_elsewhere:
        place = folder if has_tokenizer(folder) else folder.parent
        if not has_tokenizer(place):
            raise _LackingError("no tokenizer in it, nor in the folder above")
        if (place / "tokenizer.json").exists():
            _json_object(place / "tokenizer.json")
    weights = next((folder / name for name in _WEIGHTS if (folder / name).exists()), None)
    if weights is None:
        parts = [file.name for file in weight_files(folder)]
        raise _LackingError(f"{min(parts)} is there, but not the index that names all parts" if parts else "no weights")
    for file in [weights] if weights.suffix != ".json" else _indexed(weights):
        _check_end(file)


def _indexed(index: Path) -> list[Path]:
    """The files that an index names, all of which exist."""
    named = _json_object(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise _LackingError(f"{index.name} names no weights")
    parts = [index.parent / name for name in sorted(set(map(str, named.values())))]
    if missing := [part.name for part in parts if not part.exists()]:
        raise _LackingError(f"{missing[0]} is missing ({len(parts) - len(missing)} of {len(parts)} parts are there)")
    return parts


def _check_end(path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            tensor_shapes(path)
            return
        with path.open("rb") as file:
            begins = file.read(4)
        is_zip, age = begins == b"PK\x03\x04", time.time() - path.stat().st_mtime
        if is_zip and not zipfile.is_zipfile(path):
            raise _LackingError(f"{path.name} ends too early")
    except SafetensorError as error:
        raise _LackingError(f"{path.name} is not complete ({error})") from error
    except OSError as error:
        raise _LackingError(f"{path.name} cannot be read ({error.strerror or error})") from error
    if not is_zip and age <= SETTLING_SECONDS:
        raise _LackingError(f"{path.name} was written {max(age, 0):.0f} s ago, and may not be finished")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _LackingError(f"no {path.name}") from error
    except OSError as error:
        raise _LackingError(f"{path.name} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise _LackingError(f"{path.name} is not finished") from error
    if not isinstance(data, dict):
        raise _LackingError(f"{path.name} holds no JSON object")
    return data


def state_of(folder: str | Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file in a folder: equal while nobody writes to it; empty without a folder."""
    try:
        status = {path.name: path.stat() for path in Path(folder).iterdir() if path.is_file()}
    except OSError:
        return {}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in status.items()}
