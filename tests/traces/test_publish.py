"""Published traces equal the cache byte for byte, and are read back completely or not at all."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbridge_traces import BENCHMARKS, CacheCorruptError, CacheNotFoundError, SampleCache, TraceCache
from rbridge_traces.publish import export, import_export, publication

from .published import assert_equal, card_of, front_matter, make_cache
from .support import complaint, same, version, words, write


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache with two sources."""
    return make_cache(tmp_path / "cache")


@pytest.fixture(params=["local", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> TraceCache:
    """An empty location on the local disk or on a remote file system."""
    return TraceCache(str(tmp_path / "to") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_an_export_is_a_cache_and_comes_back_as_it_was(cache: TraceCache, target: TraceCache, tmp_path: Path) -> None:
    """Manifests, checksums and traces are equal in the target and after import into an empty cache."""
    assert export(publication(cache).sources, target)
    assert_equal(cache, target)
    back = TraceCache(str(tmp_path / "back"))
    assert import_export(target.root, back) == cache.manifests()
    assert_equal(cache, back)


def test_exporting_again_changes_nothing(cache: TraceCache, target: TraceCache) -> None:
    """Existing equal files are not written again and are not an error."""
    sources = publication(cache).sources
    assert [export(sources, target), export(sources, target)] == [True, False]


def test_other_sources_in_the_target_stay_and_are_described(cache: TraceCache, target: TraceCache) -> None:
    """Two exports to one location give a cache and a card with both."""
    export(publication(cache, ["gsm8k"]).sources, target)
    export(publication(cache, ["csqa"]).sources, target)
    assert_equal(cache, target)
    assert [c["config_name"] for c in front_matter(card_of(target))["configs"]] == ["gsm8k-gpt-4o", "csqa-mine"]


def test_other_traces_under_the_same_name_are_not_overwritten(cache: TraceCache, target: TraceCache) -> None:
    """Replacing other traces needs ``replace``; without it, no part of the export is written."""
    write(target, version("theirs"))
    message = complaint(export, publication(cache).sources, target)
    assert "already holds other traces of gsm8k from gpt-4o" in message
    assert "--replace" in message
    assert target.sources("csqa") == []
    assert words(target.load("gsm8k").traces) == {"theirs"}
    export(publication(cache).sources, target, replace=True)
    assert_equal(cache, target)


def test_two_sources_of_one_configuration_name_are_refused(target: TraceCache, tmp_path: Path) -> None:
    """``load_dataset`` could read only one of them; nothing is written."""
    cache = TraceCache(str(tmp_path / "alike"))
    traces = [dataclasses.replace(trace, benchmark=name) for name in ("a-b", "a") for trace in version("x", 1)]
    for trace, source in zip(traces, ("c", "b-c"), strict=True):
        cache.write([trace], benchmark=trace.benchmark, source=source)
    assert "a-b-c" in complaint(export, publication(cache).sources, target)
    assert target.manifests() == []
    export(publication(cache, ["a"]).sources, target)
    assert "publish them in two places" in complaint(export, publication(cache, ["a-b"]).sources, target)


def test_somebody_elses_readme_is_not_overwritten(cache: TraceCache, target: TraceCache) -> None:
    """A README.md of another author stops the export, unless ``replace`` is set."""
    target._fs.makedirs(target._path, exist_ok=True)
    target._fs.pipe_file(f"{target._path}/README.md", b"# My data")
    assert "README.md of its own" in complaint(export, publication(cache).sources, target)
    assert target.manifests() == []
    assert card_of(target) == "# My data"
    export(publication(cache).sources, target, replace=True)
    assert "gsm8k-gpt-4o" in card_of(target)


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_a_damaged_source_is_not_published(cache: TraceCache, tmp_path: Path, damage: str) -> None:
    """Every checksum is verified before any file is copied."""
    (file,) = (tmp_path / "cache" / "gsm8k").rglob("*.parquet")
    data = file.read_bytes()
    file.write_bytes(data[:100] if damage == "truncated" else data[:-9] + b"?" + data[-8:])
    if damage == "missing":
        file.unlink()
    assert str(file.parent) in complaint(publication, cache, error=CacheCorruptError)


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "manifest changed", "manifest missing"])
def test_a_damaged_export_changes_nothing(cache: TraceCache, tmp_path: Path, damage: str) -> None:
    """One damaged file in an export gives a one-line error with its name, and no source is imported."""
    export(publication(cache).sources, TraceCache(str(tmp_path / "to")))
    folder = tmp_path / "to" / "csqa" / "mine"
    file = folder / "manifest.json" if damage.startswith("manifest") else next(folder.glob("*.parquet"))
    data = file.read_bytes()
    file.unlink()
    if not damage.endswith("missing"):
        file.write_bytes(data[:100] if damage == "truncated" else data.replace(data[40:44], b"????"))
    back = TraceCache(str(tmp_path / "back"))
    message = complaint(import_export, str(tmp_path / "to"), back, error=CacheCorruptError)
    assert str(folder) in message
    assert not (tmp_path / "back").exists()
    assert import_export(str(tmp_path / "to"), back, benchmarks=["gsm8k"])[0].source == "gpt-4o"


def test_a_damaged_target_is_noticed_and_can_be_replaced(cache: TraceCache, tmp_path: Path) -> None:
    """A damaged copy in the target is not accepted as complete."""
    target, sources = TraceCache(str(tmp_path / "to")), publication(cache).sources
    export(sources, target)
    (file,) = (tmp_path / "to" / "gsm8k").rglob("*.parquet")
    file.write_bytes(b"PAR1")
    assert "--replace" in complaint(export, sources, target)
    export(sources, target, replace=True)
    assert_equal(cache, target)


def test_reading_back_records_where_from_and_keeps_what_is_the_same(cache: TraceCache, tmp_path: Path) -> None:
    """An import adds the origin to the manifest; a repeated import changes nothing and keeps other traces."""
    export(publication(cache).sources, TraceCache(str(tmp_path / "to")))
    back = TraceCache(str(tmp_path / "back"))
    read = import_export(str(tmp_path / "to"), back, origin="hf://datasets/me/traces@1")
    assert read == [dataclasses.replace(m, origin="hf://datasets/me/traces@1") for m in cache.manifests()]
    assert import_export(str(tmp_path / "to"), back, origin="hf://datasets/me/traces@2") == read
    write(back, version("mine"), replace=True)
    message = complaint(import_export, str(tmp_path / "to"), back)
    assert "already holds other traces of gsm8k from gpt-4o" in message
    assert words(back.load("gsm8k").traces) == {"mine"}
    import_export(str(tmp_path / "to"), back, replace=True)
    assert {trace.item_id for trace in back.load("gsm8k").traces} == {"1", "2", "3"}


def test_what_is_not_there_is_answered_with_what_is(cache: TraceCache, tmp_path: Path) -> None:
    """A missing benchmark or source is an error in exports and imports."""
    message = complaint(publication, cache, ["gsm8k", "humaneval"], error=CacheNotFoundError)
    assert "no traces of humaneval" in message
    assert "which holds gsm8k from gpt-4o, csqa from mine" in message
    assert "gpt4o (did you mean gpt-4o?)" in complaint(publication, cache, (), "gpt4o", error=CacheNotFoundError)
    assert "no traces of gsm9k" in complaint(publication, cache, ["gsm9k"], error=CacheNotFoundError)
    empty = str(tmp_path / "empty")
    back = TraceCache(str(tmp_path / "back"))
    assert "no traces at all" in complaint(import_export, empty, back, error=CacheNotFoundError)


def test_only_correct_traces_can_be_published(cache: TraceCache, target: TraceCache) -> None:
    """An export of the correct traces has its own counts and checksums; none at all is an error."""
    export(publication(cache, ["gsm8k"], only_correct=True).sources, target)
    trace_set = target.load("gsm8k")
    assert [trace.item_id for trace in trace_set.traces] == ["1", "3"]
    manifest = trace_set.manifest
    assert (manifest.rows, manifest.rows_correct, manifest.rows_with_confidence, manifest.rows_with_spans) == (
        2,
        2,
        1,
        1,
    )
    assert manifest.note is not None
    assert manifest.note.endswith("only the traces whose final answer is right")
    assert manifest.created == cache.manifests("gsm8k")[0].created
    assert "no trace" in complaint(publication, cache, ["csqa"], only_correct=True)


def test_the_sample_is_published_only_when_asked_for(cache: TraceCache, target: TraceCache) -> None:
    """Sample traces, shipped or scored, are left out unless requested; requested ones are labelled as a sample."""
    assert "--include-sample" in complaint(publication, SampleCache())
    write(cache, version("try"), source="scored", sample=True)
    publishable = publication(cache)
    assert [stored.manifest.source for stored in publishable.sources] == ["gpt-4o", "mine"]
    assert [manifest.source for manifest in publishable.left_out] == ["scored"]
    export(publication(SampleCache(), include_sample=True).sources, target)
    assert [manifest.sample for manifest in target.manifests()] == [True] * len(BENCHMARKS)
    assert "never report a score" in card_of(target)
    for benchmark in BENCHMARKS:
        pairs = zip(SampleCache().load(benchmark).traces, target.load(benchmark).traces, strict=True)
        assert all(same(trace, expected) for trace, expected in pairs)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a local S3 server."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "dummy",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
def test_a_cache_can_live_on_s3(cache: TraceCache, bucket: str, tmp_path: Path) -> None:
    """An export to S3 is a cache with a card, which can be read, extended, replaced and removed."""
    target = TraceCache(f"{bucket}/some/traces")
    export(publication(cache).sources, target)
    assert_equal(cache, TraceCache(f"{bucket}/some/traces"))
    assert f"RBRIDGE_CACHE={bucket}/some/traces" in card_of(target)
    assert sorted(path.rpartition("/")[2] for path in target._fs.find(target._path)) == sorted(
        ["README.md", *["manifest.json"] * 2, *(name for manifest in cache.manifests() for name in manifest.files)]
    )
    assert not export(publication(cache).sources, target)
    back = TraceCache(str(tmp_path / "back"))
    import_export(target.root, back)
    assert_equal(cache, back)
    write(back, version("new"), replace=True)
    export(publication(back).sources, target, replace=True)
    assert_equal(back, target)
    target.remove("csqa", "mine")
    complaint(target.load, "csqa", error=CacheNotFoundError)


def test_a_place_that_cannot_be_written_is_one_line(cache: TraceCache, tmp_path: Path) -> None:
    """A file in place of the folder gives a one-line error with the system's reason."""
    (tmp_path / "file").write_text("x")
    message = complaint(export, publication(cache).sources, TraceCache(str(tmp_path / "file")))
    assert str(tmp_path / "file") in message
    assert "Not a directory" in message
