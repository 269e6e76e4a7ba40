"""The journal of a build: every paid answer is on disk before it counts, and is never asked for again."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from rbridge_traces import files
from rbridge_traces.errors import TraceError

VERSION = 1

_KEYS = ("item_id", "digest", "turn", "attempt")
_DAMAGED = "restore the file, or start over with --replace (what is there is set aside)"


class JournalError(TraceError):
    """A journal that cannot be read, written or continued."""


def journal_path(root: str, benchmark: str, source: str) -> Path:
    """Path of the journal of a build: in a local cache itself, else in the user's cache directory.

    Args:
        root: of the trace cache, local path or URL.
        benchmark: its name.
        source: the name that the traces have in the cache.
    """
    from rbridge_traces.resolve import user_cache_dir

    fs, path = files.open_root(root)
    if "file" in fs.protocol:
        folder = Path(path) / ".builds"
    else:
        folder = Path(user_cache_dir()) / "builds" / hashlib.sha256(files.shown(fs, path).encode()).hexdigest()[:12]
    return folder / benchmark / f"{source}.jsonl"


@dataclass(frozen=True, eq=False)
class Recorded:
    """The content of a journal: settings, and answers given under them.

    Attributes:
        path: of the journal.
        id: of the build, 12 hexadecimal digits; empty where there is no journal yet.
        settings: by name; empty where there is no journal yet.
        data: its complete lines.
    """

    path: Path
    id: str
    settings: dict[str, Any]
    data: bytes

    def entries(self) -> Iterator[dict[str, Any]]:
        """The answers, in the order in which they came.

        Raises:
            JournalError: a line is not one of a journal; says which.
        """
        for number, line in _lines(self.path, self.data):
            if number > 1 and "amended" not in line:
                if missing := [key for key in _KEYS if key not in line]:
                    raise JournalError(f"{self.path}, line {number} lacks {', '.join(missing)}; {_DAMAGED}")
                yield line


def read_journal(path: Path) -> Recorded:
    """Read a journal, also one that another process is writing to.

    Raises:
        JournalError: it cannot be read, or is none.
    """
    data = whole_lines(path)
    if not data:
        return Recorded(path, "", {}, b"")
    _, header = next(_lines(path, data))
    if header.get("journal") != VERSION or not isinstance(header.get("settings"), dict) or "id" not in header:
        raise JournalError(f"{path}, line 1 is not the head of a journal of version {VERSION}; {_DAMAGED}")
    settings = dict(header["settings"])
    for line in data.split(b"\n"):
        if line.startswith(b'{"amended"') and _is_object(line):
            settings |= json.loads(line)["amended"]
    return Recorded(path, str(header["id"]), settings, data)


def unread_journal(path: Path) -> Recorded:
    """A journal that is about to be started over."""
    return Recorded(path, "", {}, whole_lines(path))


def whole_lines(path: Path) -> bytes:
    """The content of a file without an incomplete last line."""
    with files.one_line_refusals(f"read {path}", JournalError):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return b""
    end = data.rfind(b"\n") + 1
    if _is_object(data[end:]):  # complete but for the line end
        return data + b"\n"
    return data[:end]


def _lines(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, written in enumerate(io.BytesIO(data), start=1):
        try:
            line = json.loads(written)
        except ValueError as error:
            raise JournalError(f"{path}, line {number} is broken ({error}); {_DAMAGED}") from None
        if not isinstance(line, dict):
            raise JournalError(f"{path}, line {number} is a JSON {type(line).__name__}; {_DAMAGED}")
        yield number, line


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


class Journal:
    """A journal that is open for writing. No other process can open it meanwhile.

    An answer is on disk when ``append`` returns, whatever kills the process later. An incomplete last line from
    an earlier process is removed.

    Args:
        recorded: what the caller knows to be in it.
        start_over: begin anew; answers that are there are set aside, under a name of their own.

    Raises:
        JournalError: another process writes to it, has written to it meanwhile, or it cannot be written.

    Attributes:
        id: of this build; empty before ``begin``.
    """

    def __init__(self, recorded: Recorded, *, start_over: bool = False) -> None:
        self.path, self.id, self._size = recorded.path, recorded.id, len(recorded.data)
        with ExitStack() as stack, files.one_line_refusals(f"write {self.path}", JournalError):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(files.locked(self.path.with_suffix(".lock"), wait=False))
                self._check_unchanged(recorded)
                if start_over and self._size:
                    if b'"item_id"' in recorded.data:
                        self.path.rename(_free_name(self.path))
                    self.id, self._size = "", 0
                self._file = stack.enter_context(self.path.open("r+b" if self.path.exists() else "x+b", buffering=0))
                self._cut_off(recorded.data[-1:])
            except files.LockedError:
                raise JournalError(
                    f"another build is writing to {self.path}; wait for it, or build under another name with "
                    "--source NAME"
                ) from None
            self._open = stack.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        self._open.close()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the head of a new journal."""
        self.id = uuid4().hex[:12]
        self._write({"journal": VERSION, "id": self.id, "created": _now(), "settings": dict(settings)})

    def amend(self, settings: Mapping[str, Any]) -> None:
        """Go on with these settings from here on."""
        self._write({"amended": dict(settings), "at": _now()})

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write an answer through to disk.

        Args:
            entry: with ``item_id``, ``digest``, ``turn``, ``attempt``, and ``choice`` or ``error``; the time is added.

        Raises:
            JournalError: it cannot be written; the journal is then what it was before.
        """
        self._write({**entry, "at": _now()})

    def _write(self, line: Mapping[str, Any]) -> None:
        left = memoryview(json.dumps(line).encode() + b"\n")
        length = len(left)
        with files.one_line_refusals(f"write {self.path}", JournalError):
            try:
                while left:  # a disk that fills up may take a part
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except OSError:
                with suppress(OSError):  # what is left of the line is cut off when the journal is opened again
                    self._file.truncate(self._size)
                self._file.seek(self._size)
                raise
        self._size += length

    def _check_unchanged(self, recorded: Recorded) -> None:
        if whole_lines(self.path) != recorded.data:
            raise JournalError(f"{self.path} was written to by another build just now; run the same command again")

    def _cut_off(self, last: bytes) -> None:
        """Leave whole lines only, and be ready to write behind them."""
        self._file.truncate(self._size)
        if self._size:  # the last line may have lacked its end
            self._file.seek(self._size - 1)
            self._file.write(last)
        self._file.seek(self._size)
        os.fsync(self._file.fileno())
        files.sync(self.path.parent)  # a new file is an entry of its folder


def _free_name(path: Path) -> Path:
    number = 1
    while (free := path.with_suffix(f".replaced-{number}.jsonl")).exists():
        number += 1
    return free


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
