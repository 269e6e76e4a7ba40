"""Writing a whole file at once: the name gives the old content, the new, or nothing, also after a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import RBridgeError


class OutputError(RBridgeError):
    """A file cannot be written where, or as what, the user asked for."""


def check_suffix(path: str | Path, suffixes: tuple[str, ...], what: str) -> str:
    """The suffix of a file to write, one of those given; to be called before the work whose result goes there.

    Raises:
        OutputError: it is none of them.

    >>> check_suffix("out/Scores.CSV", (".csv", ".parquet"), "a score table")
    '.csv'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        found = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise OutputError(f"{str(path)!r} has {found}, but {what} is written as {' or '.join(suffixes)}; name it so")
    return suffix


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file atomically, local or at a URL that fsspec knows; its folder is made where it is missing.

    Raises:
        TraceError: the place is full, protected, read-only or out of reach.
    """
    from rbridge_traces import files

    fs, place = files.open_root(str(path))
    try:
        fs.makedirs(place.rpartition("/")[0], exist_ok=True)
        if fs.isdir(place):
            raise IsADirectoryError(21, "it is a folder")
        files.put(fs, place, data)
    except files.refusals() as error:
        raise files.refusal(f"write {path}", error) from error


def write_json(path: str | Path, payload: object) -> None:
    """Write a value as a JSON file, as ``plain`` takes it."""
    write_file(path, (json.dumps(plain(payload), indent=1, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """A value as JSON knows it: NumPy arrays as lists, NaN and infinities as None, other things as text.

    >>> plain({"mae": float("nan"), "folds": (1, 2)})
    {'mae': None, 'folds': [1, 2]}
    """
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, and pandas' columns
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
