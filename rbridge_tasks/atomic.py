"""Writing a whole file at once: the name gives the old content, the new, or nothing, also after a crash."""

from __future__ import annotations

from pathlib import Path

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
