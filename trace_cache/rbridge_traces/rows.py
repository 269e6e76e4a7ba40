"""Rows of a user's file, whatever it is: JSON, JSON Lines, either of them gzipped, or Parquet."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from rbridge_traces import files
from rbridge_traces.errors import TraceImportError

Row = dict[str, Any]

EXPECTED = "expected JSON, JSON Lines (plain or gzip) or Parquet"
_LINES = (".jsonl", ".ndjson")


def read_rows(path: str) -> Iterator[Row]:
    """Read the rows of a file, in order.

    What the file is, is told by its content: Parquet; a JSON array of objects; one JSON object with exactly one array
    of objects in it; or JSON Lines. Only where one object alone could be either of the last two does its name decide.

    Args:
        path: local path, or any URL fsspec knows.

    Raises:
        TraceImportError: one line that names the file, and the line or entry where there is one.
    """
    fs, place = files.open_root(path)
    try:
        data = files.read(fs, place)
    except FileNotFoundError:
        raise TraceImportError(f"there is no file {path}") from None
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise TraceImportError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    if data.startswith(b"PAR1"):
        yield from _parquet_rows(path, data)
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceImportError(f"{path} is not UTF-8 text (byte {error.start}); {EXPECTED}") from None
    if not text.strip():
        raise TraceImportError(f"{path} is empty; {EXPECTED}")
    named_lines = path.removesuffix(".gz").endswith(_LINES)
    if text.lstrip().startswith("[") or not (named_lines or _is_lines(path, text)):
        yield from _document_rows(path, text)
    else:
        yield from _line_rows(path, text)


def _is_lines(path: str, text: str) -> bool:
    """Whether a text that begins with no array is JSON Lines: its first line is an object, and more lines follow."""
    first, _, rest = text.strip().partition("\n")
    try:
        is_object = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        if not text.lstrip().startswith("{"):
            raise TraceImportError(f"{path} is not JSON (it begins {first[:40]!r}); {EXPECTED}") from None
        return False
    return is_object and bool(rest)


def _document_rows(path: str, text: str) -> list[Row]:
    try:
        document = json.loads(text)
    except RecursionError:
        raise TraceImportError(f"{path} is nested too deeply to be a list of rows; {EXPECTED}") from None
    except ValueError as error:
        raise TraceImportError(f"{path} is broken JSON: {error}; {EXPECTED}") from error
    if isinstance(document, dict):
        arrays = [name for name, value in document.items() if _holds_objects(value)]
        if len(arrays) != 1:
            found = f"{len(arrays)} ({', '.join(arrays)})" if arrays else f"none (only {', '.join(document)})"
            raise TraceImportError(f"{path} is one JSON object; expected one array of objects in it, found {found}")
        document = document[arrays[0]]
    if not isinstance(document, list):
        raise TraceImportError(f"{path} is a JSON {type(document).__name__}; expected an array of objects")
    if not document:
        raise TraceImportError(f"{path} holds an empty array; expected one object for each item")
    for number, entry in enumerate(document, start=1):
        if not isinstance(entry, dict):
            raise TraceImportError(
                f"{path}: entry {number} of the array is a {type(entry).__name__}; expected an object for each item"
            )
    return document


def _holds_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _line_rows(path: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TraceImportError(f"{path}, line {number} is not JSON: {error}; expected one object a line") from error
        if not isinstance(row, dict):
            raise TraceImportError(f"{path}, line {number} is a {type(row).__name__}; expected one object a line")
        yield row


def _parquet_rows(path: str, data: bytes) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if not file.metadata.num_rows:
            raise TraceImportError(f"{path} has no rows; expected one for each item")
        for batch in file.iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceImportError(f"{path} is not a readable Parquet file: {error}; write it again") from error
