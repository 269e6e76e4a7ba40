"""The journal of a build: every answer that was paid for, on the disk before it counts, and never asked for again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from rbridge_traces import files
from rbridge_traces.generation.recorded import VERSION, JournalError, Recorded, refused, whole_lines


class Journal:
    """A journal that is open for writing. No other process can open it meanwhile.

    Whatever kills this process, the answers that ``append`` returned from are there. A line that an earlier process had
    only begun is cut off.

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
        self._lock = ExitStack()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(files.locked(self.path.with_suffix(".lock"), wait=False))
            if whole_lines(self.path) != recorded.data:
                raise JournalError(f"{self.path} was written to by another build just now; run the same command again")
            if start_over and self._size:
                if b'"item_id"' in recorded.data:
                    self.path.rename(_free_name(self.path))
                self.id, self._size = "", 0
            self._file = self.path.open("r+b" if self.path.exists() else "x+b", buffering=0)
            self._cut_off(recorded.data[-1:])
        except files.LockedError:
            raise JournalError(
                f"another build is writing to {self.path}; wait for it, or build under another name with --source NAME"
            ) from None
        except OSError as error:
            self._lock.close()
            raise refused(f"write {self.path}", error) from error
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes open it."""
        self._file.close()
        self._lock.close()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the head of a new journal."""
        self.id = uuid4().hex[:12]
        self._write({"journal": VERSION, "id": self.id, "created": _now(), "settings": dict(settings)})

    def amend(self, settings: Mapping[str, Any]) -> None:
        """Go on with these settings from here on."""
        self._write({"amended": dict(settings), "at": _now()})

    def append(self, entry: Mapping[str, Any]) -> None:
        """Bring an answer to the disk. When this returns it is there.

        Args:
            entry: with ``item_id``, ``digest``, ``turn``, ``attempt``, and ``choice`` or ``error``; the time is added.

        Raises:
            JournalError: it cannot be written; the journal is then what it was before.
        """
        self._write({**entry, "at": _now()})

    def _write(self, line: Mapping[str, Any]) -> None:
        left = memoryview(json.dumps(line).encode() + b"\n")
        length = len(left)
        try:
            while left:  # a disk that fills up may take a part
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # what is left of the line is cut off when the journal is opened again
                self._file.truncate(self._size)
            self._file.seek(self._size)
            raise refused(f"write {self.path}", error) from error
        self._size += length

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
