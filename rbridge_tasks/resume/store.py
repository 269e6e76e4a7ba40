"""Per-token scores on disk: a folder in which every process appends its finished batches to its own file.

There are no locks, and no process writes to the file of another, so any number of processes on any number of machines
may use a folder at once, also on a network file system. A batch is framed by a mark, its length and a checksum;
incomplete and damaged batches are skipped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import socket
import struct
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rbridge_metrics import TokenScores

logger = logging.getLogger(__name__)

SUFFIX = ".scores"
_MARK = b"\nrbridge token scores 1\n"
_FRAME = struct.Struct("<Q16s")  # length and BLAKE2b-128 of what follows
_KEY_BYTES = 16
_SYNC_SECONDS = 10.0  # work that the failure of the machine, not of the process, may cost
_SET_BY_TASKS = "confidence"


def key_of(context: str, trace: str) -> bytes:
    """The key of a pair's scores among those of one model.

    >>> key_of("Question:", " 42") == key_of("Question: ", "42")
    False
    """
    before, after = (text.encode("utf-8", "surrogatepass") for text in (context, trace))
    return hashlib.blake2b(len(before).to_bytes(8, "little") + before + after, digest_size=_KEY_BYTES).digest()


class ScoreStore:
    """The scores in one folder. Neither reading nor writing raises: an error is logged as one warning, once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: BinaryIO | None = None
        self._writes = True
        self._synced = time.monotonic()

    def read(self, keys: Collection[bytes]) -> dict[bytes, TokenScores]:
        """The stored scores of the given keys."""
        wanted, stored = frozenset(keys), dict[bytes, TokenScores]()
        try:
            files = sorted(self.folder.glob(f"*{SUFFIX}"))
        except OSError as error:
            logger.warning("cannot read %s (%s); every trace is scored", self.folder, error.strerror or error)
            return {}
        for file in files:
            try:
                data = file.read_bytes()
            except OSError as error:
                logger.warning("cannot read %s (%s); its traces are scored afresh", file, error.strerror or error)
                continue
            for key, scores in _entries(data, wanted - stored.keys(), file):
                stored.setdefault(key, scores)
        return stored

    def append(self, entries: Mapping[bytes, TokenScores]) -> None:
        """Store the scores of one finished batch; after a failure nothing more is stored."""
        if not entries or not self._writes:
            return
        payload = _packed(entries)
        frame = _MARK + _FRAME.pack(len(payload), _digest(payload)) + payload
        try:
            if self._file is None:
                self._file = self._new_file()
            self._write(self._file, frame)
        except OSError as error:
            self._writes = False
            logger.warning(
                "cannot keep scores in %s (%s); the run goes on, but what it scores from here on is lost if it is "
                "killed", self.folder, error.strerror or error,
            )  # fmt: skip

    def close(self) -> None:
        """Flush the file to disk and close it."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
                self._file.close()
            except OSError as error:
                logger.warning("cannot keep scores in %s (%s)", self.folder, error.strerror or error)
            self._file = None

    def _new_file(self) -> BinaryIO:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        return (self.folder / name).open("xb", buffering=0)

    def _write(self, file: BinaryIO, frame: bytes) -> None:
        start, left = file.tell(), memoryview(frame)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(start)  # a full disk has room for part of it
            raise
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(file.fileno())
            self._synced = time.monotonic()


def _entries(data: bytes, wanted: Collection[bytes], file: Path) -> Iterator[tuple[bytes, TokenScores]]:
    """The wanted entries of a file. Damage is reported, except at the end, where it is an interrupted write."""
    at, intact_up_to, damaged = data.find(_MARK), 0, 0
    while at >= 0:
        start = at + len(_MARK) + _FRAME.size
        length, digest = _FRAME.unpack_from(data, at + len(_MARK)) if start <= len(data) else (len(data), b"")
        payload = data[start : start + length]
        if len(payload) == length and _digest(payload) == digest:
            damaged += at - intact_up_to
            intact_up_to = start + length
            yield from _unpacked(payload, wanted)
        else:
            start = at + 1
        at = data.find(_MARK, max(start, intact_up_to))
    if intact_up_to == 0 and data and not _MARK.startswith(data[: len(_MARK)]):
        damaged = len(data)
    if damaged:
        logger.warning("%d bytes of %s are damaged and were skipped; their traces are scored afresh", damaged, file)


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_FRAME.size - 8).digest()


def _packed(entries: Mapping[bytes, TokenScores]) -> bytes:
    """Scores of a batch, compressed: a line of JSON that describes the arrays, then their bytes."""
    described, parts = [], []
    for key, scores in entries.items():
        values = {field.name: getattr(scores, field.name) for field in fields(scores) if field.name != _SET_BY_TASKS}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in values.items() if name not in arrays}
        types = {name: [array.dtype.str, array.size] for name, array in arrays.items()}
        described.append({"key": key.hex(), "arrays": types, "values": plain})
        parts += [array.tobytes() for array in arrays.values()]
    return zlib.compress(b"".join([json.dumps(described, default=int).encode(), b"\n", *parts]), level=1)


def _unpacked(payload: bytes, wanted: Collection[bytes]) -> Iterator[tuple[bytes, TokenScores]]:
    content = zlib.decompress(payload)
    at = content.index(b"\n") + 1
    for entry in json.loads(content[:at]):
        values: dict[str, Any] = entry["values"]
        for name, (dtype, size) in entry["arrays"].items():
            values[name] = np.frombuffer(content, dtype=dtype, count=size, offset=at).copy()
            at += values[name].nbytes
        if (key := bytes.fromhex(entry["key"])) in wanted:
            yield key, TokenScores(**values)
