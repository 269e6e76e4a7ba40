"""A cache returns exactly the traces that were written, and reports damage in one line."""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from rbridge_traces import (
    CacheCorruptError,
    CacheNotFoundError,
    Trace,
    TraceCache,
)

from ..metrics.strategies import cases
from .support import complaint, make_trace, same, some_traces, version, words, write


@pytest.fixture(params=["local", "memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> TraceCache:
    """An empty cache on the local disk, or on a remote file system."""
    return TraceCache(str(tmp_path / "cache") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def written(tmp_path: Path) -> tuple[TraceCache, Path]:
    """A local cache with one source, and the folder of that source."""
    cache = TraceCache(str(tmp_path))
    write(cache, version("old"))
    return cache, tmp_path / "gsm8k" / "gpt-4o"


def trace_file(folder: Path) -> Path:
    """Return the only trace file of a source."""
    (path,) = folder.glob("traces-*.parquet")
    return path


def forge(folder: Path, data: bytes) -> None:
    """Replace the trace file of a source and adapt its manifest."""
    trace_file(folder).write_bytes(data)
    change_manifest(folder, files={trace_file(folder).name: hashlib.sha256(data).hexdigest()})


def change_manifest(folder: Path, **values: Any) -> None:
    """Set keys of a manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@cases(40)
@given(some_traces())
def test_a_cache_gives_back_what_was_written(traces: list[Trace]) -> None:
    """Write and load are inverse, in order and bit for bit, for any Unicode and any set of fields."""
    with tempfile.TemporaryDirectory() as root:
        cache = TraceCache(root)
        manifest = cache.write(traces, benchmark="csqa", source="s")
        loaded = cache.load("csqa")
    assert loaded.manifest == manifest
    assert len(loaded.traces) == len(traces)
    assert all(same(trace, copy) for trace, copy in zip(traces, loaded.traces, strict=True))


def test_the_manifest_says_who_wrote_the_traces_and_how(cache: TraceCache) -> None:
    """The manifest has the metadata, counts and checksums of what was written."""
    about = {
        "frontier_model": "gpt-4o",
        "confidence_model": "some-7b",
        "prompt": "Solve\nthis",
        "decoding": "greedy",
        "licence": "MIT",
        "note": "ü",
    }
    traces = [make_trace("1"), make_trace("2", token_end=[9], token_logprob=[-1.0])]
    write(cache, traces, **about)
    (manifest,) = cache.manifests()
    assert {name: getattr(manifest, name) for name in about} == about
    assert (manifest.benchmark, manifest.source, manifest.sample) == ("gsm8k", "gpt-4o", False)
    assert (manifest.rows, manifest.rows_with_confidence) == (2, 1)
    assert manifest.created.endswith("+00:00")
    ((name, digest),) = manifest.files.items()
    assert name == f"traces-{digest[:12]}.parquet"


def test_manifests_come_by_benchmark_and_then_by_source(cache: TraceCache) -> None:
    """Manifests are sorted by the order of the benchmarks, then by source name."""
    for benchmark, source in [("humaneval", "a"), ("gsm8k", "b"), ("math500", "z"), ("gsm8k", "a")]:
        cache.write([make_trace(benchmark=benchmark)], benchmark=benchmark, source=source)
    listed = [(manifest.benchmark, manifest.source) for manifest in cache.manifests()]
    assert listed == [("math500", "z"), ("gsm8k", "a"), ("gsm8k", "b"), ("humaneval", "a")]
    assert [manifest.source for manifest in cache.manifests("gsm8k")] == ["a", "b"]
    assert cache.manifests("csqa") == []


def test_a_source_is_chosen_by_name(cache: TraceCache) -> None:
    """Two sources of one benchmark are loaded separately."""
    write(cache, version("one"), source="a")
    write(cache, version("two"), source="b")
    assert words(cache.load("gsm8k", "a").traces) == {"one"}
    assert words(cache.load("gsm8k", source="b").traces) == {"two"}


def test_several_sources_have_to_be_chosen_from(cache: TraceCache) -> None:
    """Without a source name, the message lists the sources and both ways to choose one."""
    write(cache, version("one"), source="a")
    write(cache, version("two"), source="b")
    message = complaint(cache.load, "gsm8k")
    assert "holds gsm8k from 2 sources: a, b; choose one with --source NAME" in message
    assert """--metadata '{"rbridge_source": "NAME"}' under lm_eval""" in message


def test_a_missing_benchmark_is_answered_with_what_is_there(cache: TraceCache) -> None:
    """The message has the cache, its benchmarks and their sources."""
    write(cache, version("one"), source="a")
    message = complaint(cache.load, "csqa", error=CacheNotFoundError)
    assert f"no traces of csqa in {cache.root}, which holds gsm8k from a;" in message


def test_a_missing_source_is_answered_with_the_close_one(written: tuple[TraceCache, Path]) -> None:
    """The message suggests the close name for a misspelt source."""
    message = complaint(written[0].load, "gsm8k", "gpt4o", error=CacheNotFoundError)
    assert "no traces of gsm8k from gpt4o (did you mean gpt-4o?)" in message


def test_an_empty_place_is_said_to_be_empty(cache: TraceCache) -> None:
    """A missing cache has no manifests, and loading from it raises CacheNotFoundError."""
    assert cache.manifests() == []
    assert cache.verify() == []
    assert "which holds no traces at all" in complaint(cache.load, "gsm8k", error=CacheNotFoundError)


@pytest.mark.parametrize("benchmark", ["gsm 8k", "", "../gsm8k"])
def test_a_name_of_no_benchmark_is_refused_everywhere(cache: TraceCache, benchmark: str) -> None:
    """Every method of the cache checks the benchmark's name."""
    for call in (cache.load, cache.manifests, cache.verify, cache.definition):
        assert "cannot name a benchmark" in complaint(call, benchmark)
    assert "cannot name a benchmark" in complaint(cache.write, version("new"), benchmark=benchmark, source="a")


@pytest.mark.parametrize("source", ["", ".", "..", "../x", "a/b", "GPT", "a b", ".hidden", "ü", "a\n"])
def test_a_source_is_a_slug(cache: TraceCache, source: str) -> None:
    """A name that is not a plain folder name is refused in writing and reading."""
    assert "cannot name a source" in complaint(write, cache, version("new"), source=source)
    assert "cannot name a source" in complaint(cache.load, "gsm8k", source)


def test_an_existing_source_is_not_overwritten_by_accident(cache: TraceCache) -> None:
    """A second write needs ``replace``; without it, the first traces stay."""
    write(cache, version("old"))
    message = complaint(write, cache, version("new"))
    assert "already holds gsm8k from gpt-4o; write under another --source, or over it with --replace" in message
    assert words(cache.load("gsm8k").traces) == {"old"}


def test_replacing_leaves_one_trace_file(cache: TraceCache) -> None:
    """Replaced traces are deleted from the disk, and replacing by the same traces keeps them."""
    for word in ("old", "new", "new"):
        write(cache, version(word), replace=True)
        assert words(cache.load("gsm8k").traces) == {word}
        kept = cache._fs.ls(f"{cache._path}/gsm8k/gpt-4o", detail=False)
        assert sum(path.endswith(".parquet") for path in kept) == 1


def test_a_broken_source_can_be_replaced(written: tuple[TraceCache, Path]) -> None:
    """``replace``, the remedy in the messages, works with a broken manifest."""
    cache, folder = written
    (folder / "manifest.json").write_text("{")
    write(cache, version("new"), replace=True)
    assert words(cache.load("gsm8k").traces) == {"new"}


def test_files_of_others_are_left_alone(written: tuple[TraceCache, Path]) -> None:
    """Cleaning up removes only trace files and unfinished files."""
    cache, folder = written
    (folder / "README.md").write_text("mine")
    (folder / "traces-old.parquet").write_text("mine")
    write(cache, version("new"), replace=True)
    assert (folder / "README.md").read_text() == (folder / "traces-old.parquet").read_text() == "mine"


def test_what_cannot_be_a_source_is_not_written(tmp_path: Path) -> None:
    """No traces, repeated items and two benchmarks are refused before any file is written."""
    cache = TraceCache(str(tmp_path / "cache"))
    assert "at least one is needed" in complaint(write, cache, [])
    assert "2 traces of gsm8k have the item_id 17" in complaint(
        write, cache, [make_trace(), make_trace("x"), make_trace()]
    )
    mixed = [make_trace(), make_trace("9", benchmark="csqa")]
    assert "trace csqa/9 is not of gsm8k" in complaint(write, cache, mixed)
    assert not (tmp_path / "cache").exists()


def test_a_changed_file_is_refused(written: tuple[TraceCache, Path]) -> None:
    """One flipped bit is detected; the message has both checksums and the remedy."""
    cache, folder = written
    path = trace_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    message = complaint(cache.load, "gsm8k", error=CacheCorruptError)
    expected = path.name.removeprefix("traces-").removesuffix(".parquet")
    assert f"its sha256 begins {hashlib.sha256(data).hexdigest()[:12]}, its manifest says {expected}" in message
    assert "restore the file, or import or score these traces again" in message


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not a Parquet file at all", b"PAR1" + bytes(64) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_refused(written: tuple[TraceCache, Path], data: bytes) -> None:
    """A file with a matching checksum that is not Parquet gives a one-line error instead of a traceback."""
    cache, folder = written
    forge(folder, data)
    message = complaint(cache.load, "gsm8k", error=CacheCorruptError)
    assert f"{trace_file(folder)}: not a complete Parquet file" in message


def test_a_truncated_parquet_file_is_refused(written: tuple[TraceCache, Path]) -> None:
    """A file truncated to any eighth is detected, even with an adapted checksum."""
    cache, folder = written
    data = trace_file(folder).read_bytes()
    for eighth in range(8):
        forge(folder, data[: len(data) * eighth // 8])
        assert "not a complete Parquet file" in complaint(cache.load, "gsm8k", error=CacheCorruptError)


def test_a_lost_trace_file_is_named(written: tuple[TraceCache, Path]) -> None:
    """A manifest without its file gives a one-line error."""
    cache, folder = written
    name = trace_file(folder).name
    trace_file(folder).unlink()
    assert f"{folder} lacks {name}" in complaint(cache.load, "gsm8k", error=CacheCorruptError)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rows": 4}, "holds 3 traces, its manifest says 4"),
        ({"benchmark": "csqa"}, "describes csqa from gpt-4o"),
        ({"source": "mine"}, "describes gsm8k from mine"),
        ({"schema_version": 99}, "has schema version 99"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    written: tuple[TraceCache, Path], values: dict[str, Any], expected: str
) -> None:
    """A copied or edited manifest is detected."""
    cache, folder = written
    change_manifest(folder, **values)
    assert expected in complaint(cache.load, "gsm8k", error=CacheCorruptError)


def test_traces_of_another_benchmark_in_a_file_are_refused(written: tuple[TraceCache, Path]) -> None:
    """The rows must belong to the benchmark of their folder."""
    cache, folder = written
    cache.write([make_trace(benchmark="csqa")], benchmark="csqa", source="x")
    forge(folder, trace_file(folder.parent.parent / "csqa" / "x").read_bytes())
    assert "trace csqa/17 is not of gsm8k" in complaint(cache.load, "gsm8k", error=CacheCorruptError)


def test_verify_reports_every_source_and_stops_at_none(tmp_path: Path) -> None:
    """Sound, changed, lost and unreadable sources are all reported."""
    cache = TraceCache(str(tmp_path))
    for source in ("a-sound", "b-changed", "c-lost", "d-manifest"):
        write(cache, version("old"), source=source)
    gsm8k = tmp_path / "gsm8k"
    trace_file(gsm8k / "b-changed").write_bytes(b"x")
    trace_file(gsm8k / "c-lost").unlink()
    (gsm8k / "d-manifest" / "manifest.json").write_bytes(b"\x00")
    cache.write([make_trace(benchmark="humaneval")], benchmark="humaneval", source="e")
    verdicts = cache.verify()
    assert [(verdict.benchmark, verdict.source) for verdict in verdicts[:4]] == [
        ("gsm8k", "a-sound"), ("gsm8k", "b-changed"), ("gsm8k", "c-lost"), ("gsm8k", "d-manifest")
    ]  # fmt: skip
    problems = [verdict.problem for verdict in verdicts]
    assert problems[0] is problems[4] is None
    for verdict, expected in zip(verdicts[1:4], ("has changed", "lacks traces-", "is not JSON"), strict=True):
        assert verdict.problem is not None
        assert expected in verdict.problem
        assert "\n" not in verdict.problem
    assert verdicts[3].manifest is None
    assert [verdict.source for verdict in cache.verify("humaneval")] == ["e"]


def test_a_description_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """An argument of the command line that is not UTF-8 is named before anything is written."""
    cache = TraceCache(str(tmp_path))
    assert "its licence holds half a surrogate pair" in complaint(write, cache, version("new"), licence="MIT\udcff")
    assert cache.manifests() == []
