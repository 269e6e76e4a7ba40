"""What the journal of a build holds: the settings under which its answers were given, and the answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbridge_traces import files
from rbridge_traces.errors import TraceError

VERSION = 1

_KEYS = ("item_id", "digest", "turn", "attempt")
_DAMAGED = "restore the file, or start over with --replace (what is there is set aside)"


class JournalError(TraceError):
    """A journal that cannot be read, written or continued."""


def journal_path(root: str, benchmark: str, source: str) -> Path:
    """Where the journal of a build lies: in a local cache itself, for any other in the user's cache directory.

    Args:
        root: of the trace cache, local path or URL.
        benchmark: one of ``rbridge_traces.BENCHMARKS``.
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
    """What a journal holds: the settings under which its answers were given, and the answers.

    Attributes:
        path: of the journal.
        id: of the build, 12 hexadecimal digits; empty where there is no journal yet.
        settings: by name; empty where there is no journal yet.
        data: its whole lines. A line that was only begun is not among them.
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
    """A journal whose content does not matter, because it is going to begin anew."""
    return Recorded(path, "", {}, whole_lines(path))


def whole_lines(path: Path) -> bytes:
    """The content of a file without a line that was only begun."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise refused(f"read {path}", error) from error
    end = data.rfind(b"\n") + 1
    if _is_object(data[end:]):  # only its line end is missing: it was paid for, and is whole
        return data + b"\n"
    return data[:end]


def _lines(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    start, number = 0, 0
    while (end := data.find(b"\n", start)) >= 0:
        number += 1
        try:
            line = json.loads(data[start:end])
        except ValueError as error:
            raise JournalError(f"{path}, line {number} is broken ({error}); {_DAMAGED}") from None
        if not isinstance(line, dict):
            raise JournalError(f"{path}, line {number} is a JSON {type(line).__name__}; {_DAMAGED}")
        yield number, line
        start = end + 1


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def refused(action: str, error: OSError) -> JournalError:
    return JournalError(str(files.refusal(action, error)))
