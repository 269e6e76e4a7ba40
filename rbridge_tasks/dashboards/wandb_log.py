"""Read the file in which W&B keeps a run on this machine, online or offline: ``wandb/*run-*-ID/run-ID.wandb``.

It is a log in the format of LevelDB: blocks of 32 KiB that hold chunks of a checksum, a length, a kind and data.
A record is one chunk or several (first, middle, last), and holds a protocol buffer of W&B.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from rbridge_tasks.dashboards.histories import DashboardError

_BLOCK = 32 * 1024
_MAGIC = b":W&B"
_FILE_HEADER = 7
_CHUNK_HEADER = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def log_files(folder: Path, run_id: str) -> list[Path]:
    """W&B's files of one run below a folder, in the order of their start."""
    files = (folder / "wandb").glob(f"*run-*-{run_id}*/run-{run_id}.wandb")
    return sorted(files, key=lambda path: path.parent.name.removeprefix("offline-"))


def records(path: Path) -> Iterator[bytes]:
    """Complete records of a file, up to one that a killed program left unfinished.

    Raises:
        DashboardError: the file cannot be read, or is no such log.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DashboardError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    if data and not data.startswith(_MAGIC):
        raise DashboardError(f"{path} is not a log of W&B as we know it; move it away, or log to another folder")
    place, record = _FILE_HEADER, b""
    while place + _CHUNK_HEADER.size <= len(data):
        room = _BLOCK - place % _BLOCK
        if room < _CHUNK_HEADER.size:
            place += room
            continue
        _, length, kind = _CHUNK_HEADER.unpack_from(data, place)
        place += _CHUNK_HEADER.size
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or place + length > len(data):
            return
        chunk = data[place : place + length]
        record = chunk if kind in (_WHOLE, _FIRST) else record + chunk
        place += length
        if kind in (_WHOLE, _LAST):
            yield record
