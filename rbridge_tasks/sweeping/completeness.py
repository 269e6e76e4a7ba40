"""Whether a checkpoint has been written to its end. Nothing is loaded: files say so themselves."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

from rbridge_tasks.resume.model_files import weight_files

_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt",
    "tekken.json",
)  # fmt: skip
#: In the order in which transformers looks for weights.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_LARGEST_HEADER = 100_000_000  # bytes; the limit that safetensors itself sets
#: What no file proves to be whole is taken for whole after so long without a change.
SETTLING_SECONDS = 60.0


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return any((folder / name).exists() for name in _TOKENIZERS)


def lacking(folder: str | Path, *, tokenizer_elsewhere: bool = False) -> str | None:
    """What a checkpoint lacks to be loaded, in words; None where it is complete.

    Its ``config.json`` and tokenizer must be whole JSON files, and the weights that transformers would load whole too:
    every file that their index names, a safetensors file of the length that its header gives, a ``.bin`` with
    the directory that ends it. Older ``.bin`` files have none: those must be unchanged for a minute.

    Args:
        folder: of the checkpoint.
        tokenizer_elsewhere: no tokenizer is needed in it, nor in the folder above.
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
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or (length <= _LARGEST_HEADER and size < 8 + length):
            return f"{path.name} ends within its header"
        if length > _LARGEST_HEADER:
            return f"{path.name} is no safetensors file"
        try:
            header = json.loads(file.read(length))
            entries = [entry for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries), default=0)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
            return f"{path.name} is no safetensors file"
    return None if size == expected else f"{path.name} has {size} bytes of {expected}"


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
    """Size and time of change of every file in a folder: equal as long as nobody writes to it.

    A folder that is gone has none.
    """
    try:
        status = {path.name: path.stat() for path in Path(folder).iterdir() if path.is_file()}
    except OSError:
        return {}
    return {name: (one.st_size, one.st_mtime_ns) for name, one in status.items()}
