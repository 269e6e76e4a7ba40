"""Rows are read from a user's file in any supported form; otherwise a one-line error has the reason."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import TraceImportError, read_rows
from rbridge_traces.rows import numbered_rows

from ..metrics.strategies import cases, texts
from .support import complaint

ROWS: list[dict[str, Any]] = [
    {"question": "2 + 2?", "trace": "a\u2028b 𝔘", "choices": [{"label": "A", "text": "4"}], "gold": 3.0},
    {"question": "1 + 1?", "trace": "line\nline", "choices": [{"label": "A", "text": "2"}], "gold": 4.0},
]


def lines(rows: list[dict[str, Any]]) -> bytes:
    """Encode rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Encode rows as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "JSON Lines": lines,
    "JSON Lines with blank lines and CRLF": lambda rows: b"\r\n" + lines(rows).replace(b"\n", b"\r\n\r\n"),
    "JSON Lines without a last line end": lambda rows: lines(rows).rstrip(),
    "JSON Lines with a byte order mark": lambda rows: b"\xef\xbb\xbf" + lines(rows),
    "JSON array": lambda rows: json.dumps(rows).encode(),
    "indented JSON array": lambda rows: b"\n  " + json.dumps(rows, indent=2).encode(),
    "JSON object": lambda rows: json.dumps({"model": "m", "tags": ["a"], "data": rows, "empty": []}).encode(),
    "indented JSON object": lambda rows: json.dumps({"data": rows, "n": 2}, indent=1).encode(),
    "Parquet": parquet,
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("form", "name"),
    [
        (form, name)
        for form in FORMS
        for name in ("traces", "traces.json", "traces.parquet", "traces.json.gz", "traces.jsonl")
        if not (form.endswith("object") and name.endswith(".jsonl"))  # in .jsonl, one object is one row
    ],
)
def test_a_file_is_known_by_its_content(tmp_path: Path, form: str, zipped: bool, name: str) -> None:
    """A missing or misleading suffix does not change the rows."""
    data = FORMS[form](ROWS)
    (tmp_path / name).write_bytes(gzip.compress(data) if zipped else data)
    assert list(read_rows(str(tmp_path / name))) == ROWS


@pytest.mark.parametrize("name", ["one.jsonl", "one.jsonl.gz", "one.ndjson"])
def test_one_object_in_a_file_of_lines_is_a_row(tmp_path: Path, name: str) -> None:
    """A single row with an array of choices is not taken for a document that contains rows."""
    data = lines(ROWS[:1])
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert list(read_rows(str(tmp_path / name))) == ROWS[:1]


@cases(50)
@given(st.lists(st.dictionaries(texts(2), texts() | st.none() | st.integers()), min_size=1, max_size=4))
def test_no_character_of_a_row_is_lost(rows: list[dict[str, Any]]) -> None:
    """Any Unicode is read, escaped or not; only the line feed ends a line."""
    place = f"memory://rows/{abs(hash(str(rows)))}.jsonl"
    for ensure_ascii in (False, True):
        with fsspec.open(place, "wb") as file:
            file.write("".join(json.dumps(row, ensure_ascii=ensure_ascii) + "\n" for row in rows).encode())
        assert list(read_rows(place)) == rows


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("empty.json", b"", " is empty;"),
    ("blank.jsonl", b" \n\n", " is empty;"),
    ("bom.json", b"\xef\xbb\xbf", " is empty;"),
    ("empty.json.gz", gzip.compress(b""), " is empty;"),
    ("picture.json", b"\x89PNG\r\n\x1a\n\xff\x00", " is not UTF-8 text (byte 0); expected JSON, JSON Lines"),
    ("utf16.json", '[{"a": 1}]'.encode("utf-16"), " is not UTF-8 text (byte 0)"),
    ("table.txt", b"question,trace\n1,2\n", " is not JSON (it begins 'question,trace'); expected JSON, JSON Lines"),
    ("prose.txt", b"Dear all,\nplease find attached", " is not JSON (it begins 'Dear all,')"),
    ("table.jsonl", b"question,trace\n1,2\n", ", line 1 is not JSON: "),
    ("third.jsonl", b'{"a": 1}\n\n{"a": }\n{"a": 2}\n', ", line 3 is not JSON: "),
    ("third.txt", b'{"a": 1}\n\n{"a": }\n{"a": 2}\n', ", line 3 is not JSON: "),
    ("cut.jsonl", b'{"a": 1}\n{"a": 2', ", line 2 is not JSON: "),
    ("list.jsonl", b'{"a": 1}\n[1]\n', ", line 2 is a list; expected one object a line"),
    ("cut.json", b'[{"a": 1},\n {"a": ', " is broken JSON: Expecting value: line 2 column 8"),
    ("cut-object.json", b'{"data": [{"a": 1}', " is broken JSON: "),
    ("deep.json", b"[" * 100_000, " is nested too deeply"),
    ("deep.jsonl", b'{"a": 1}\n{"a":' + b"[" * 100_000, ", line 2 is not JSON: "),
    ("digits.json", b"[" + b"9" * 5000 + b"]", " is broken JSON: "),
    ("text.json", b'"hello"', " is a JSON str; expected an array of objects"),
    ("none.json", b"[]", " holds an empty array"),
    ("strings.json", b'[{"a": 1}, "b"]', ": entry 2 of the array is a str; expected an object"),
    (
        "bare.json",
        b'{"a": 1, "b": []}',
        " is one JSON object; expected one array of objects in it, found none (only a, b)",
    ),
    ("two.json", b'{"a": [{}], "b": [{}], "c": 1}', "expected one array of objects in it, found 2 (a, b)"),
    ("cut.gz", gzip.compress(b"x" * 999)[:20], " is a damaged gzip file"),
    ("bad.gz", b"\x1f\x8bnonsense, not gzip", " is a damaged gzip file"),
    ("torn.gz", gzip.compress(b'[{"a": 1}]')[:-9] + b"\xff" * 9, " is a damaged gzip file"),
    ("cut.parquet", parquet(ROWS)[:200], " is not a readable Parquet file: "),
    ("none.parquet", parquet([{"a": 1}])[:4], " is not a readable Parquet file: "),
]


@pytest.mark.parametrize(("name", "data", "expected"), BAD_FILES, ids=[name for name, _, _ in BAD_FILES])
def test_a_file_that_gives_no_rows_is_named(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    """The one-line message has the file, the line number if any, and the fault."""
    path = tmp_path / name
    path.write_bytes(data)
    message = complaint(lambda: list(read_rows(str(path))), error=TraceImportError)
    assert message.startswith(str(path))
    assert expected in message


def test_a_parquet_file_without_rows_is_named(tmp_path: Path) -> None:
    """A Parquet file without rows is an error, as in JSON."""
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "none.parquet")
    message = complaint(lambda: list(read_rows(str(tmp_path / "none.parquet"))), error=TraceImportError)
    assert message == f"{tmp_path}/none.parquet has no rows; expected one for each item"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong path gives a one-line error."""
    message = complaint(lambda: list(read_rows(str(tmp_path / "no.json"))), error=TraceImportError)
    assert message == f"there is no file {tmp_path}/no.json"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder gives a one-line error with the system's reason."""
    assert complaint(lambda: list(read_rows(str(tmp_path)))).startswith(f"cannot read {tmp_path}: ")


def test_zstd_is_read_and_a_torn_file_is_named(tmp_path: Path) -> None:
    """A zstd file gives all rows; a truncated file gives a one-line error and no rows."""
    rows = [{"text": f"line {number}"} for number in range(20_000)]
    packed = pa.compress(lines(rows), codec="zstd", asbytes=True)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(packed)
    assert [*read_rows(str(path))] == rows
    path.write_bytes(packed[:-1])
    assert complaint(lambda: [*read_rows(str(path))]).startswith(f"cannot read {path}")


@pytest.mark.parametrize("zipped", [False, True])
def test_lines_are_read_as_they_are_asked_for(tmp_path: Path, zipped: bool) -> None:
    """The first rows are available before the end of the file is read; damage at the end is then reported."""
    data = b"".join(b'{"a": %d}\n' % number for number in range(200_000))
    path = tmp_path / "long.jsonl"
    path.write_bytes(gzip.compress(data)[:-50_000] if zipped else data + b"\xff\n")
    rows = read_rows(str(path))
    assert [next(rows) for _ in range(3)] == [{"a": 0}, {"a": 1}, {"a": 2}]
    message = complaint(lambda: list(rows), error=TraceImportError)
    assert message.startswith(f"{path} is a damaged gzip file" if zipped else f"{path} is not UTF-8 text (byte ")


def test_reading_a_long_file_takes_little_memory(tmp_path: Path) -> None:
    """A file of 40 MB is read line by line with less than 4 MB of memory."""
    path = tmp_path / "long.jsonl"
    path.write_bytes((b'{"a": "' + b"x" * 4000 + b'"}\n') * 10_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(str(path))) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_rows_are_numbered_by_line_or_entry(tmp_path: Path) -> None:
    """Blank lines count as lines; array entries and Parquet rows are numbered from 1."""
    for form, numbers in (
        ("JSON Lines with blank lines and CRLF", [2, 4]),
        ("JSON array", [1, 2]),
        ("Parquet", [1, 2]),
    ):
        (tmp_path / "rows").write_bytes(FORMS[form](ROWS))
        assert [number for number, _ in numbered_rows(str(tmp_path / "rows"))] == numbers


@pytest.mark.parametrize("name", ["ONE.JSONL", "ONE.CSV", "ONE.CSV.GZ"])
def test_suffixes_in_capitals_count(tmp_path: Path, name: str) -> None:
    """The suffix, in any case, decides how a file of one row is read."""
    data = b"question,trace\nq,t\n" if "CSV" in name else b'{"question": "q", "trace": "t"}\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
    assert list(read_rows(str(tmp_path / name))) == [{"question": "q", "trace": "t"}]


def test_a_cell_of_any_length_is_read(tmp_path: Path) -> None:
    """A long trace fits in a CSV cell; the limit that other code in the process sees stays as it was."""
    limit, trace = csv.field_size_limit(), "a long thought " * 20_000
    (tmp_path / "a.csv").write_text(f'question,trace\nq,"{trace}"\nq,t\n')
    rows = read_rows(str(tmp_path / "a.csv"))
    assert (next(rows)["trace"], csv.field_size_limit()) == (trace, limit)
    assert [row["trace"] for row in rows] == ["t"]
