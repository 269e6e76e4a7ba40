"""Readers get one complete state whatever interrupts a writer, and the next writer starts clean."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rbridge_traces import CacheNotFoundError, TraceCache, TraceError

from .support import complaint, make_trace, version, words, write


class Crash(BaseException):
    """Simulated death of the process; no handler catches it."""


class Disk:
    """Fail every change to the files in a folder from a given change on, using the interpreter's audit events."""

    def __init__(self) -> None:
        self.folder: str | None = None
        sys.addaudithook(self.hook)

    @contextmanager
    def failing(self, folder: Path, *, after: int, with_error: BaseException, forever: bool) -> Iterator[None]:
        """Allow ``after`` changes, then raise once or for every further change."""
        self.left, self.error, self.forever = after, with_error, forever
        self.folder = str(folder)
        try:
            yield
        finally:
            self.folder = None

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Receive an audit event, which the interpreter sends before it acts."""
        if self.folder is None:
            return
        changes = event in ("os.rename", "os.remove", "os.mkdir") or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if changes and str(arguments[0]).startswith(self.folder):
            self.left -= 1
            if self.left == -1 or (self.left < -1 and self.forever):
                raise self.error


DISK = Disk()  # an audit hook cannot be removed


def entries(folder: Path) -> list[str]:
    """Return the file suffixes in a source's folder."""
    return sorted(path.suffix or path.name for path in folder.iterdir())


def test_a_crash_at_any_step_of_a_replacement_leaves_the_old_or_the_new_traces(tmp_path: Path) -> None:
    """For a crash before each change to the disk, from the first to the last, one state is complete."""
    seen = []
    for step in itertools.count():
        root = tmp_path / str(step)
        cache = TraceCache(str(root))
        write(cache, version("old"))
        try:
            with DISK.failing(root, after=step, with_error=Crash(), forever=True):
                write(cache, version("new"), replace=True)
        except Crash:
            (word,) = words(cache.load("gsm8k").traces)
            seen.append(word)
            assert [verdict.problem for verdict in cache.verify()] == [None]
            write(cache, version("newer"), replace=True)
            assert words(cache.load("gsm8k").traces) == {"newer"}
            assert entries(root / "gsm8k" / "gpt-4o") == [".json", ".lock", ".parquet"]
        else:
            break
    assert seen == sorted(seen, reverse=True)  # old up to one step, new after it
    assert set(seen) == {"old", "new"}


def test_a_crash_at_any_step_of_a_first_write_leaves_nothing_or_all(tmp_path: Path) -> None:
    """An incomplete first write is not listed or loaded, and the next write succeeds."""
    seen = []
    for step in itertools.count():
        root = tmp_path / str(step)
        root.mkdir()
        cache = TraceCache(str(root))
        try:
            with DISK.failing(root, after=step, with_error=Crash(), forever=True):
                write(cache, version("new"))
        except Crash:
            seen.append(bool(cache.manifests()))
            if not cache.manifests():
                complaint(cache.load, "gsm8k", error=CacheNotFoundError)
                assert cache.verify() == []
                write(cache, version("new"))
                assert entries(root / "gsm8k" / "gpt-4o") == [".json", ".lock", ".parquet"]
            assert words(cache.load("gsm8k").traces) == {"new"}
        else:
            break
    assert len(seen) >= 6  # two folders, the lock, and the write and rename of two files


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_full_or_failing_disk_is_one_line_and_loses_nothing(tmp_path: Path, code: int) -> None:
    """A file system error at any step names the place and leaves a complete state without unfinished files."""
    for step in itertools.count():
        root = tmp_path / str(step)
        cache = TraceCache(str(root))
        write(cache, version("old"))
        message = None
        try:
            with DISK.failing(root, after=step, with_error=OSError(code, os.strerror(code)), forever=False):
                write(cache, version("new"), replace=True)
        except TraceError as error:
            message = str(error)
        if DISK.left >= 0:
            break  # the write completed before the failing step
        if message is not None:
            assert message.startswith(f"cannot write {root}/gsm8k/gpt-4o: {os.strerror(code)};")
        assert words(cache.load("gsm8k").traces) == ({"new"} if message is None else {"old"})
        assert not list(root.glob("gsm8k/gpt-4o/.part-*"))


def test_a_crash_at_any_step_on_a_remote_file_system_leaves_the_old_or_the_new_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The order of the steps protects the data where atomic renames are not available."""
    left = sys.maxsize

    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash
            return method(*arguments, **named)

        return call

    for name in ("makedirs", "pipe_file", "cp_file", "rm_file", "rm"):
        monkeypatch.setattr(MemoryFileSystem, name, dying(getattr(MemoryFileSystem, name)))
    seen = []
    for step in itertools.count():
        left = sys.maxsize
        cache = TraceCache(f"memory://{uuid.uuid4().hex}")
        write(cache, version("old"))
        left = step
        try:
            write(cache, version("new"), replace=True)
        except Crash:
            left = sys.maxsize
            seen.extend(words(cache.load("gsm8k").traces))
            write(cache, version("newer"), replace=True)
            assert len(cache._fs.ls(f"{cache._path}/gsm8k/gpt-4o", detail=False)) == 2
        else:
            break
    assert set(seen) == {"old", "new"}


WRITER = """
import sys
from rbridge_traces import Trace, TraceCache

root, source, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
versions = [
    [Trace("gsm8k", str(row), "q", f"{word} {row} " + "filler " * 200) for row in range(300)] for word in ("old", "new")
]
cache = TraceCache(root)
cache.write(versions[0], benchmark="gsm8k", source=source, replace=True)
print("ready", flush=True)
for turn in range(1, rounds):
    cache.write(versions[turn % 2], benchmark="gsm8k", source=source, replace=True)
"""


def start_writer(root: Path, source: str, rounds: int) -> subprocess.Popen[str]:
    """Start a process that writes one source repeatedly."""
    command = [sys.executable, "-c", WRITER, str(root), source, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX systems")
def test_a_killed_writer_leaves_a_whole_state(tmp_path: Path) -> None:
    """A process killed at 12 moments during repeated replacements always leaves one complete set of traces."""
    for round_number in range(12):
        root = tmp_path / str(round_number)
        with start_writer(root, "a", 10**9) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.003 + 0.007 * round_number)
            process.send_signal(signal.SIGKILL)
        cache = TraceCache(str(root))
        loaded = cache.load("gsm8k")
        assert len(loaded.traces) == 300
        assert words(loaded.traces) in ({"old"}, {"new"})
        write(cache, version("newer"), source="a", replace=True)
        assert entries(root / "gsm8k" / "a") == [".json", ".lock", ".parquet"]


@pytest.mark.slow
def test_processes_that_write_two_sources_do_not_meet(tmp_path: Path) -> None:
    """Two simultaneous writers of one benchmark leave both sources complete."""
    writers = [start_writer(tmp_path, source, 20) for source in ("a", "b")]
    for process in writers:
        with process:
            assert process.wait(timeout=120) == 0
    cache = TraceCache(str(tmp_path))
    assert [(verdict.source, verdict.problem) for verdict in cache.verify()] == [("a", None), ("b", None)]
    for source in ("a", "b"):
        assert words(cache.load("gsm8k", source).traces) == {"new"}


def at_once(*functions: Callable[[], object]) -> list[object]:
    """Run functions in threads that start together; return each result, or the ``TraceError`` raised."""
    start = threading.Barrier(len(functions))
    results: list[object] = [None] * len(functions)

    def run(index: int) -> None:
        start.wait()
        try:
            results[index] = functions[index]()
        except TraceError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.skipif(sys.platform == "win32", reason="writers of one source are kept apart on POSIX systems only")
def test_of_several_first_writers_of_one_source_one_succeeds(tmp_path: Path) -> None:
    """The other writers get the error that the source exists, even if all checked at the same moment."""

    def writer(word: str) -> Callable[[], str]:
        def run() -> str:
            write(TraceCache(str(tmp_path)), version(word))
            return word

        return run

    results = at_once(*(writer(f"word{number}") for number in range(6)))
    winners = [result for result in results if isinstance(result, str)]
    assert len(winners) == 1
    assert words(TraceCache(str(tmp_path)).load("gsm8k").traces) == set(winners)
    assert all("already holds" in str(result) for result in results if isinstance(result, TraceError))


@pytest.mark.skipif(sys.platform == "win32", reason="writers of one source are kept apart on POSIX systems only")
def test_readers_of_a_source_that_is_being_replaced_get_whole_states(tmp_path: Path) -> None:
    """With two writers and two readers of one source, no load fails and no load mixes two states."""
    write(TraceCache(str(tmp_path)), version("word", rows=50))
    done = threading.Event()

    def writer(word: str) -> None:
        for turn in range(25):
            write(TraceCache(str(tmp_path)), version(f"{word}{turn}", rows=50), replace=True)
        done.set()

    def reader() -> int:
        loads = 0
        while not done.is_set():
            traces = TraceCache(str(tmp_path)).load("gsm8k").traces
            assert (len(traces), len(words(traces))) == (50, 1)
            loads += 1
        return loads

    *_, loads, more_loads = at_once(lambda: writer("a"), lambda: writer("b"), reader, reader)
    assert isinstance(loads, int), loads
    assert isinstance(more_loads, int), more_loads
    assert min(loads, more_loads) > 0


def test_leftovers_of_a_killed_writer_are_ignored_and_then_removed(tmp_path: Path) -> None:
    """Unfinished files and trace files without a manifest are ignored, and the next write removes them."""
    folder = tmp_path / "gsm8k" / "gpt-4o"
    folder.mkdir(parents=True)
    (folder / ".part-0123-manifest.json").write_bytes(b"{")
    (folder / ".part-0123-traces-0123456789ab.parquet").write_bytes(b"PAR1")
    (folder / "traces-0123456789ab.parquet").write_bytes(b"PAR1")
    cache = TraceCache(str(tmp_path))
    assert cache.manifests() == []
    write(cache, [make_trace()])
    assert entries(folder) == [".json", ".lock", ".parquet"]
    assert [verdict.problem for verdict in cache.verify()] == [None]
