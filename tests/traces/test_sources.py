"""Choice of the source that serves traces, selection of its correct traces, and removal of a source."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_traces import CacheCorruptError, CacheNotFoundError, SampleCache, TraceCache

from .published import make_cache
from .support import complaint, make_trace, version, words, write
from .test_crash_safety import DISK, Crash

CONFIDENT: dict[str, Any] = {"token_end": [4, 9], "token_logprob": np.log([0.5, 0.25])}


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache with two sources."""
    return make_cache(tmp_path / "cache")


def confident(rows: int = 2) -> list[Any]:
    """Return traces with confidences."""
    return [make_trace(str(row), **CONFIDENT) for row in range(rows)]


def spanned(rows: int = 2) -> list[Any]:
    """Return traces with marked spans."""
    return [make_trace(str(row), spans=((0, 3),)) for row in range(rows)]


@pytest.fixture
def empty(tmp_path: Path) -> TraceCache:
    """An empty cache."""
    return TraceCache(str(tmp_path / "empty"))


@pytest.mark.parametrize("needs", [None, "confidence", "spans"])
def test_the_sample_makes_room_for_real_traces(empty: TraceCache, needs: Any) -> None:
    """Real traces take precedence over a scored sample, even if the sample has more fields."""
    write(empty, [make_trace(spans=((0, 3),), **CONFIDENT)], source="sample", sample=True)
    assert empty.load("gsm8k", needs=needs).manifest.source == "sample"
    write(empty, version("real"), source="real")
    assert empty.load("gsm8k", needs=needs).manifest.source == "real"
    assert empty.load("gsm8k", "sample").manifest.sample


@pytest.mark.parametrize(("needs", "served"), [("confidence", "b"), ("spans", "c")])
def test_the_source_that_serves_is_taken(empty: TraceCache, needs: Any, served: str) -> None:
    """Of several sources, the only one with the needed field in every trace is used."""
    write(empty, [*confident(1), make_trace("x", spans=((0, 3),))], source="a")
    write(empty, confident(), source="b")
    write(empty, spanned(), source="c")
    assert empty.load("gsm8k", needs=needs).manifest.source == served


@pytest.mark.parametrize(("needs", "names"), [(None, "a, b, c"), ("confidence", "a, b"), ("spans", "a, b, c")])
def test_where_several_serve_or_none_does_the_user_chooses(empty: TraceCache, needs: Any, names: str) -> None:
    """If several sources have what is needed, or none has, the user must choose."""
    write(empty, confident(), source="a")
    write(empty, confident(3), source="b")
    write(empty, version("c"), source="c")
    message = complaint(empty.load, "gsm8k", needs=needs)
    assert f"sources: {names}; choose one with --source NAME" in message


def test_the_only_source_is_taken_whatever_it_lacks(empty: TraceCache) -> None:
    """A single source is loaded; its user reports what it lacks for the purpose."""
    write(empty, version("only"))
    assert words(empty.load("gsm8k", needs="confidence").traces) == {"only"}
    assert SampleCache().load("gsm8k", needs="confidence").manifest.sample


def test_only_the_correct_traces_can_be_kept(cache: TraceCache) -> None:
    """Wrong and ungraded traces are left out; manifest and location stay."""
    trace_set = cache.load("gsm8k")
    kept = trace_set.only_correct()
    assert [trace.item_id for trace in kept.traces] == ["1", "3"]
    assert (kept.manifest, kept.location) == (trace_set.manifest, trace_set.location)
    assert trace_set.manifest.rows_correct == 2


@pytest.mark.parametrize(
    ("correct", "expected"), [(None, "says whether its answer is correct"), (False, "has the right answer")]
)
def test_no_correct_trace_at_all_is_said(empty: TraceCache, correct: bool | None, expected: str) -> None:
    """The error distinguishes "all wrong" from "not graded" and has the location."""
    write(empty, [make_trace(correct=correct)])
    message = complaint(empty.load("gsm8k").only_correct)
    assert f"no trace in {empty.root}/gsm8k/gpt-4o {expected}" in message


def test_a_removed_source_is_gone_for_readers_at_once(cache: TraceCache, tmp_path: Path) -> None:
    """The manifest is removed first, and other files are kept; removing a missing source is an error."""
    folder = tmp_path / "cache" / "gsm8k" / "gpt-4o"
    (folder / "mine.txt").write_text("x")
    (folder / ".part-1-traces").write_text("x")
    cache.remove("gsm8k", "gpt-4o")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "mine.txt"]
    assert cache.sources("gsm8k") == []
    message = complaint(cache.remove, "gsm8k", "gpt-4o", error=CacheNotFoundError)
    assert "which holds csqa from mine" in message
    write(cache, version("new"))
    assert words(cache.load("gsm8k").traces) == {"new"}


def test_a_crash_at_any_step_of_a_removal_leaves_all_or_nothing(tmp_path: Path) -> None:
    """A crash during removal leaves a complete source or none; the next write removes what remains."""
    seen = []
    for step in itertools.count():
        cache = TraceCache(str(tmp_path / str(step)))
        write(cache, version("old"))
        try:
            with DISK.failing(tmp_path / str(step), after=step, with_error=Crash(), forever=True):
                cache.remove("gsm8k", "gpt-4o")
        except Crash:
            seen.append(len(cache.manifests()))
            assert [verdict.problem for verdict in cache.verify()] == [None] * seen[-1]
            write(cache, version("new"), replace=True)
            assert words(cache.load("gsm8k").traces) == {"new"}
            assert len(list(tmp_path.glob(f"{step}/gsm8k/gpt-4o/*.parquet"))) == 1
        else:
            break
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {0, 1}


def test_a_source_with_a_broken_manifest_can_be_removed(cache: TraceCache, tmp_path: Path) -> None:
    """Removal only requires that the source exists."""
    (tmp_path / "cache" / "gsm8k" / "gpt-4o" / "manifest.json").write_text("{")
    cache.remove("gsm8k", "gpt-4o")
    assert [manifest.benchmark for manifest in cache.manifests()] == ["csqa"]


def test_readers_of_a_source_that_comes_and_goes_see_all_or_nothing(tmp_path: Path) -> None:
    """While a thread writes and removes a source, a reader gets complete sets or the error that there is none."""
    cache, stop = TraceCache(str(tmp_path)), threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            write(cache, version("word", rows=3))
            cache.remove("gsm8k", "gpt-4o")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        seen: set[int] = set()
        reads, deadline = 0, time.monotonic() + 60
        while reads < 300 or (len(seen) < 2 and time.monotonic() < deadline):
            reads += 1
            try:
                seen.add(len(cache.load("gsm8k", "gpt-4o").traces))
            except CacheNotFoundError:
                seen.add(0)
    finally:
        stop.set()
        thread.join()
    assert seen == {0, 3}


def test_bytes_that_do_not_fit_their_manifest_are_not_stored(cache: TraceCache, empty: TraceCache) -> None:
    """``put`` refuses files that a reader would refuse."""
    stored = cache.stored("gsm8k")
    ((name, data),) = stored.files.items()
    complaint(empty.put, stored.manifest, {name: data[:-1]}, error=CacheCorruptError)
    wrong_count = dataclasses.replace(stored.manifest, rows=4)
    complaint(empty.put, wrong_count, stored.files, error=CacheCorruptError)
    assert empty.manifests() == []
    empty.put(stored.manifest, stored.files)
    assert empty.manifests() == [stored.manifest]
