"""Reading and atomically writing whole files, on the local disk or on any file system that fsspec knows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from rbridge_traces.errors import TraceError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PART = ".part-"
"""Start of the name of a file that is still being written. Readers ignore such files."""

_CLIENT_ERRORS = {
    "aiohttp": "ClientError",
    "botocore.exceptions": "BotoCoreError",
    "google.auth.exceptions": "GoogleAuthError",
}
"""What the clients behind ``https://``, ``s3://`` and ``gs://`` raise that is no ``OSError``."""


def refusals() -> tuple[type[BaseException], ...]:
    """What a file system raises for a place that is full, protected, read-only or out of reach."""
    loaded = {module: sys.modules[module] for module in _CLIENT_ERRORS if module in sys.modules}
    return (OSError, NotImplementedError, *(getattr(loaded[module], _CLIENT_ERRORS[module]) for module in loaded))


def open_root(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a local path or fsspec URL, and the path on it.

    Raises:
        TraceError: the protocol is unknown, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise TraceError(f"cannot open {url!r}: {error}; give a local path or a URL that fsspec knows") from error
    return fs, path


def shown(fs: AbstractFileSystem, path: str) -> str:
    """A path as messages name it: plain where it is local, a URL elsewhere."""
    return path if _is_local(fs) else str(fs.unstrip_protocol(path))


def refusal(action: str, error: BaseException) -> TraceError:
    """One line for what a file system refused: ``cannot <action>: <reason>``."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return TraceError(
        f"cannot {action}: {reason.rstrip('.')}; check that the place exists, has room and is open to you"
    )


def names(fs: AbstractFileSystem, folder: str) -> list[str]:
    """Names of the entries of a folder, sorted; none where there is no such folder.

    Raises:
        TraceError: it cannot be listed.
    """
    fs.invalidate_cache()
    try:
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(folder, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except refusals() as error:
        raise refusal(f"list {shown(fs, folder)}", error) from error


def read(fs: AbstractFileSystem, path: str) -> bytes:
    """The bytes of a file.

    Raises:
        FileNotFoundError: there is none.
        TraceError: it cannot be read.
    """
    try:
        data: bytes = fs.cat_file(path)
    except FileNotFoundError:
        raise
    except refusals() as error:
        raise refusal(f"read {shown(fs, path)}", error) from error
    return data


def put(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write a file so that at every moment, also after a crash, its name gives the old bytes, the new, or nothing.

    The bytes go to a temporary name first, on a local disk through to the disk itself, and are then renamed.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{PART}{uuid4().hex}-{name}"
    try:
        if _is_local(fs):
            with Path(temporary).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            _sync_folder(folder)
        else:
            fs.pipe_file(temporary, data)
            fs.mv(temporary, path)
    except BaseException:
        with suppress(*refusals()):  # most often there is none; if there is, the next write removes it
            fs.rm_file(temporary)
        raise


@contextmanager
def only_writer(fs: AbstractFileSystem, folder: str) -> Iterator[None]:
    """Let one process at a time write to a local folder; the others wait. A process that dies lets go of it.

    Windows, remote stores and network disks without locks are not guarded: one writer for each source there.
    """
    if sys.platform == "win32" or not _is_local(fs):
        yield
        return
    with (Path(folder) / ".lock").open("wb") as file:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_local(fs: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def _sync_folder(folder: str) -> None:
    """Bring a rename to the disk: on POSIX systems it lives in the folder, which is synced as a file is."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
