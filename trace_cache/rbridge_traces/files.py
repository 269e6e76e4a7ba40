"""Reading, locking and atomically writing whole files, on the local disk or on any file system that fsspec knows."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rbridge_metrics.errors import RBridgeError
from rbridge_traces.errors import TraceError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PART = ".part-"
"""Prefix of the name of a file that is still being written. Readers ignore such files."""

_CLIENT_ERRORS = {
    "aiohttp": "ClientError",
    "botocore.exceptions": "BotoCoreError",
    "google.auth.exceptions": "GoogleAuthError",
    "httpx": "HTTPError",
    "httpx2": "HTTPError",
    "requests": "RequestException",
}
"""Base errors of the clients behind ``https://``, ``s3://``, ``gs://`` and ``hf://``; most are no ``OSError``."""

_NO_LOCKS = (None, errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""What a disk without locks answers."""


class OutputError(RBridgeError):
    """A file cannot be written at the place, or in the format, that the user asked for."""


class LockedError(TraceError):
    """Another process holds the lock."""


def check_suffix(path: str | Path, suffixes: tuple[str, ...], what: str) -> str:
    """Return the suffix of an output file, one of those given. Call it before the work whose result is written.

    Raises:
        OutputError: the suffix is none of them.

    >>> check_suffix("out/Scores.CSV", (".csv", ".parquet"), "a score table")
    '.csv'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        found = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise OutputError(f"{str(path)!r} has {found}, but {what} is written as {' or '.join(suffixes)}; name it so")
    return suffix


def exists(path: str | Path) -> bool:
    """Whether a file or folder exists; False, not an error, for names that are too long and in closed folders."""
    return os.path.exists(path)  # noqa: PTH110


def is_folder(path: str | Path) -> bool:
    """Whether a folder exists; False, not an error, where ``exists`` returns False."""
    return os.path.isdir(path)  # noqa: PTH112


def client_errors() -> tuple[Any, ...]:
    """Errors of the loaded HTTP clients, raised when a server cannot be reached."""
    return tuple(getattr(sys.modules[module], name) for module, name in _CLIENT_ERRORS.items() if module in sys.modules)


def refusals() -> tuple[type[BaseException], ...]:
    """Errors that a file system raises for a place that is full, protected, read-only or unreachable."""
    return (OSError, NotImplementedError, *client_errors())


@contextmanager
def one_line_refusals(action: str, error_type: type[TraceError] = TraceError) -> Iterator[None]:
    """Turn a file system's error into one line: ``cannot <action>: <reason>``.

    Raises:
        TraceError: of the type given.
    """
    try:
        yield
    except refusals() as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise error_type(
            f"cannot {action}: {reason.rstrip('.')}; check that the place exists, has room and is open to you"
        ) from error


def open_root(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a local path or fsspec URL, and the path on it.

    Raises:
        TraceError: the protocol is unknown, its package is not installed, or no path has such characters.
    """
    from fsspec.core import url_to_fs

    if "\0" in url:
        raise TraceError(f"cannot open {url!r}: no path holds a NUL character; give another one")
    try:
        fs, path = url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise TraceError(f"cannot open {url!r}: {error}; give a local path or a URL that fsspec knows") from error
    return fs, path


def shown(fs: AbstractFileSystem, path: str) -> str:
    """A path as messages show it: plain for a local file, a URL elsewhere."""
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether a file system is this machine's."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def names(fs: AbstractFileSystem, folder: str) -> list[str]:
    """Names of the entries of a folder, sorted; an empty list if the folder does not exist.

    Raises:
        TraceError: it cannot be listed.
    """
    fs.invalidate_cache()
    with one_line_refusals(f"list {shown(fs, folder)}"):
        try:
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(folder, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []


def read(fs: AbstractFileSystem, path: str) -> bytes | None:
    """The bytes of a file; None if it does not exist.

    Raises:
        TraceError: it cannot be read.
    """
    with one_line_refusals(f"read {shown(fs, path)}"):
        try:
            data: bytes = fs.cat_file(path)
        except FileNotFoundError:
            return None
        return data


def put(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write a file atomically: at every moment, also after a crash, it has its old content, its new one, or none.

    The bytes go to a temporary file, which is then renamed. On a local disk both steps are synced.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{PART}{uuid4().hex}-{name}"
    try:
        if is_local(fs):
            with Path(temporary).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            sync(folder)
        else:
            fs.pipe_file(temporary, data)
            fs.mv(temporary, path)
    except BaseException:
        with suppress(*refusals()):  # most often it does not exist; if it does, the next write removes it
            fs.rm_file(temporary)
        raise


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file atomically, local or at a URL that fsspec knows. A missing folder is created.

    Raises:
        TraceError: the place is full, protected, read-only or unreachable.
    """
    fs, place = open_root(str(path))
    with one_line_refusals(f"write {path}"):
        fs.makedirs(place.rpartition("/")[0], exist_ok=True)
        if fs.isdir(place):
            raise IsADirectoryError(21, "it is a folder")
        put(fs, place, data)


def write_json(path: str | Path, payload: object) -> None:
    """Write a value as a JSON file, converted by ``plain``."""
    write_file(path, (json.dumps(plain(payload), indent=1, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """A value in JSON's types: arrays as lists, NaN, infinities and pandas' missing values as None, others as text.

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
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which need not be loaded
        return None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


@contextmanager
def locked(path: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a local file, which is created. The system releases it when the process ends.

    The file stays on disk and means nothing by itself. On a disk that has no locks the block runs unguarded.

    Args:
        path: of the lock file.
        wait: for the process that holds the lock.

    Raises:
        LockedError: another process holds the lock, and ``wait`` is False.
        OSError: the lock file cannot be created.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(path), timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(f"another process holds {path}") from None
    except (NotImplementedError, OSError) as error:
        if getattr(error, "errno", None) not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def only_writer(fs: AbstractFileSystem, folder: str) -> Iterator[None]:
    """Let one process at a time write to a folder on the local disk; others wait. A missing folder is created.

    Remote stores and network disks without locks are not guarded: use one writer for each source there.
    """
    fs.makedirs(folder, exist_ok=True)
    with locked(f"{folder}/.lock") if is_local(fs) else nullcontext():
        yield


def sync(path: str | Path) -> None:
    """Flush a file or a folder to disk. On POSIX systems a rename and a new file are entries of their folder."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
