"""Manifests are read back from their file; a damaged file and a newer format give different errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import CacheCorruptError, Manifest, TraceCache

from ..metrics.strategies import cases, texts
from .support import complaint, version, words, write

WHERE = "/cache/gsm8k/gpt-4o/manifest.json"
MANIFEST = Manifest(
    benchmark="gsm8k",
    source="gpt-4o",
    frontier_model="gpt-4o-2024-08-06",
    created="2025-11-21T10:00:00+00:00",
    rows=3,
    rows_with_confidence=2,
    files={"traces-0123456789ab.parquet": "0123456789ab" + 52 * "0"},
)


@cases(50)
@given(st.dictionaries(st.sampled_from(["prompt", "decoding", "licence", "note", "frontier_model"]), texts()))
def test_a_manifest_comes_back_from_its_file(values: dict[str, Any]) -> None:
    """Every key is unchanged by JSON, with any text as its value."""
    manifest = dataclasses.replace(MANIFEST, **values)
    assert Manifest.from_json(manifest.to_json().encode(), where=WHERE) == manifest


def test_a_byte_order_mark_is_no_content() -> None:
    """Editors on Windows add one."""
    assert Manifest.from_json(b"\xef\xbb\xbf" + MANIFEST.to_json().encode(), where=WHERE) == MANIFEST


def test_keys_of_a_later_version_are_ignored() -> None:
    """An unknown key is not an error."""
    values = {**json.loads(MANIFEST.to_json()), "reviewed_by": "somebody"}
    assert Manifest.from_json(json.dumps(values), where=WHERE) == MANIFEST


MAY_BE_ABSENT = {"rows_with_spans", "rows_correct", "tokens_unknown", "origin"}


@pytest.mark.parametrize("key", ["benchmark", "source", "created", "rows", "rows_with_confidence", "files"])
def test_a_missing_key_is_named(key: str) -> None:
    """The message has the missing key and the file."""
    values = json.loads(MANIFEST.to_json())
    del values[key]
    message = complaint(Manifest.from_json, json.dumps(values), where=WHERE, error=CacheCorruptError)
    assert message.startswith(WHERE)
    assert f"lacks the key {key};" in message


def test_a_manifest_from_before_a_key_was_added_is_read(tmp_path: Path) -> None:
    """A cache of the first version loads; keys that its manifest lacks are unknown."""
    cache = TraceCache(str(tmp_path))
    write(cache, version("old"))
    file = tmp_path / "gsm8k" / "gpt-4o" / "manifest.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in values.items() if key not in MAY_BE_ABSENT}))
    trace_set = cache.load("gsm8k", needs="spans")
    assert words(trace_set.traces) == {"old"}
    manifest = trace_set.manifest
    assert (manifest.rows_with_spans, manifest.schema_version) == (0, 1)
    assert (manifest.rows_correct, manifest.origin) == (None, None)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rows_correct", 1.5, "rows_correct is 1.5"),
        ("origin", 7, "origin is 7"),
        ("rows", "3", "rows is '3'"),
        ("rows", True, "rows is True"),
        ("sample", 0, "sample is 0"),
        ("source", None, "source is None"),
        ("prompt", ["a"], "prompt is ['a']"),
        ("files", ["a"], "files is ['a']"),
        ("files", {}, "names no files"),
        ("files", {"traces.parquet": "beef"}, "files has 'traces.parquet': 'beef'"),
        ("files", {"traces.parquet": 7}, "files.traces.parquet is 7"),
        ("files", {"../../etc/passwd": 64 * "0"}, "files has '../../etc/passwd'"),
        ("schema_version", 2, "has schema version 2; this rbridge-tasks reads version 1"),
        ("schema_version", "new", "has schema version 'new'"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: object, expected: str) -> None:
    """A value of another type, a path outside the folder and an unknown version give one-line errors."""
    document = json.dumps({**json.loads(MANIFEST.to_json()), key: value})
    message = complaint(Manifest.from_json, document, where=WHERE, error=CacheCorruptError)
    assert message.startswith(WHERE)
    assert expected in message


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"", "is not JSON"),
        (b'{"rows": 3', "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "the document is []"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(document: bytes, expected: str) -> None:
    """Invalid JSON gives a one-line error with the file."""
    message = complaint(Manifest.from_json, document, where=WHERE, error=CacheCorruptError)
    assert message.startswith(WHERE)
    assert expected in message


def test_a_long_value_is_shortened() -> None:
    """The message of a document that is no manifest does not repeat all of it."""
    document = f"[{MANIFEST.to_json()}]".encode()
    assert len(complaint(Manifest.from_json, document, where=WHERE, error=CacheCorruptError)) < 300
