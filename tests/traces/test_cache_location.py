"""Where a cache lies: local folders, web servers, the environment, the user's cache and the sample."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbridge_traces import (
    BENCHMARKS,
    CacheNotFoundError,
    SampleCache,
    TraceCache,
    TraceError,
    import_traces,
    resolve_cache,
    user_cache_dir,
)
from rbridge_traces.files import write_file

from .support import complaint, version, words, write


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in place of a folder gives a one-line error with the system's reason."""
    (tmp_path / "file").write_text("x")
    message = complaint(write, TraceCache(str(tmp_path / "file")), version("new"))
    assert message.startswith(f"cannot write {tmp_path}/file/gsm8k/gpt-4o: ")


def test_a_cache_that_is_a_file_holds_nothing(tmp_path: Path) -> None:
    """A path to a file is treated like an empty cache."""
    (tmp_path / "file").write_text("x")
    complaint(TraceCache(str(tmp_path / "file")).load, "gsm8k", error=CacheNotFoundError)


@pytest.mark.parametrize("root", ["", " ", "nosuchprotocol://bucket/cache"])
def test_a_location_that_is_none_is_refused(root: str) -> None:
    """An empty location or an unknown protocol is refused when the cache is created, before reading."""
    assert "fsspec knows" in complaint(TraceCache, root)


def test_a_nul_character_is_refused() -> None:
    """No path holds one: caches, files of traces and files that are written are refused in one line."""
    for use in (TraceCache, lambda path: import_traces(path, benchmark="x"), lambda path: write_file(path, b"")):
        assert "no path holds a NUL character" in complaint(use, "a\0b")


def test_a_relative_or_home_path_is_shown_in_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The root of a cache is an absolute path, so messages are unambiguous."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TraceCache("cache").root == TraceCache("~/cache").root == TraceCache("cache/").root == f"{tmp_path}/cache"


@pytest.fixture
def website(tmp_path: Path) -> Iterator[str]:
    """The address of a read-only web server that serves a cache with one source."""
    write(TraceCache(str(tmp_path)), version("old"))
    handler = functools.partial(SilentHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and folder listings without logging."""

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


def test_a_cache_can_be_published_as_plain_files(website: str) -> None:
    """Traces are listed and loaded over HTTP with their checksums; writing gives a one-line error."""
    cache = TraceCache(website)
    assert [manifest.source for manifest in cache.manifests()] == ["gpt-4o"]
    assert words(cache.load("gsm8k").traces) == {"old"}
    complaint(cache.load, "csqa", error=CacheNotFoundError)
    assert f"cannot write {website}/gsm8k/mine: " in complaint(write, cache, version("new"), source="mine")


@pytest.fixture
def no_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove all configured caches and return the path of the user's cache."""
    monkeypatch.delenv("RBRIDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Path(user_cache_dir())


def test_the_argument_wins_over_the_environment_and_that_over_the_users_cache(
    no_caches: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The argument takes precedence over RBRIDGE_CACHE, and that over the user's cache."""
    write(TraceCache(str(no_caches)), version("users"))
    assert resolve_cache().origin == "user cache"
    assert resolve_cache().cache.root == str(no_caches)
    monkeypatch.setenv("RBRIDGE_CACHE", str(tmp_path / "env"))
    assert (resolve_cache().origin, resolve_cache().cache.root) == ("RBRIDGE_CACHE", f"{tmp_path}/env")
    named = resolve_cache(str(tmp_path / "named"))
    assert (named.origin, named.cache.root) == ("explicit", f"{tmp_path}/named")


def test_without_any_cache_there_is_the_sample(no_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is used if the user's cache has no traces and RBRIDGE_CACHE is empty."""
    no_caches.mkdir(parents=True)
    monkeypatch.setenv("RBRIDGE_CACHE", "")
    resolved = resolve_cache()
    assert resolved.origin == "sample"
    assert isinstance(resolved.cache, SampleCache)


def test_the_sample_can_be_asked_for(no_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word sample selects the sample even if the user has a cache."""
    write(TraceCache(str(no_caches)), version("users"))
    assert (resolve_cache("sample").origin, resolve_cache("sample").cache.root) == ("explicit", "sample")
    monkeypatch.setenv("RBRIDGE_CACHE", "sample")
    assert (resolve_cache().origin, resolve_cache().cache.root) == ("RBRIDGE_CACHE", "sample")


def test_a_named_cache_is_never_mixed_with_the_sample(no_caches: Path, tmp_path: Path) -> None:
    """Loading from a named, empty cache fails; writing to it works."""
    cache = resolve_cache(str(tmp_path / "new")).cache
    for benchmark in BENCHMARKS:
        complaint(cache.load, benchmark, error=CacheNotFoundError)
    assert isinstance(cache, TraceCache)
    write(cache, version("new"))
    assert words(cache.load("gsm8k").traces) == {"new"}
    with pytest.raises(TraceError):
        resolve_cache("")
