"""Read the rows of a user's file: JSON, JSON Lines or CSV, each of them also compressed, or Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, cast

from rbridge_traces import files
from rbridge_traces.api_choices import choices_of, is_choice, responses_in
from rbridge_traces.errors import TraceImportError

Row = dict[str, Any]

EXPECTED = "expected JSON, JSON Lines or CSV (plain, gzip or zstd) or Parquet"
_LINES = (".jsonl", ".ndjson")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_CELL = 2**31 - 1  # characters
_PARQUET, _GZIP, _ZSTD = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def read_rows(path: str) -> Iterator[Row]:
    """Read the rows of a file, in order.

    A file named ``.csv`` or ``.tsv`` is a table with a header; its cells are text, and null where they are empty.
    Otherwise the content decides on the format: Parquet; a JSON array of objects; one JSON object that is a response
    of a Completions API or holds exactly one array of objects; or JSON Lines. The file name decides only between the
    last two, for a file of one object. JSON Lines, CSV and Parquet are streamed.

    Args:
        path: local path, or any URL fsspec knows.

    Raises:
        TraceImportError: one line that names the file, and the line or entry where there is one.
    """
    for _, row in numbered_rows(path):
        yield row


def numbered_rows(path: str) -> Iterator[tuple[int, Row]]:
    """Read a file as ``read_rows`` does, each row with the number, from 1, of its line, of its entry or row elsewhere.

    Raises:
        TraceImportError: as ``read_rows``.
    """
    fs, place = files.open_root(path)
    with files.one_line_refusals(f"read {path}"):
        try:
            with fs.open(place, "rb") as stored:
                file = unpacked(stored)
                if _start(file) != _PARQUET:
                    yield from _text_rows(path, file)
                else:  # Parquet is read from its end, which packed files do not allow
                    whole = file if file is stored else io.BytesIO(file.read())
                    yield from enumerate(_parquet_rows(path, whole), start=1)
        except FileNotFoundError:
            raise TraceImportError(f"there is no file {path}") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise TraceImportError(f"{path} is a damaged gzip file ({error}); fetch it again") from error


def unpacked(file: BinaryIO) -> BinaryIO:
    """The content of a gzip or zstd file, recognised by its first bytes; any other file unchanged.

    Reading a damaged one raises ``gzip.BadGzipFile``, ``EOFError``, ``zlib.error`` or another ``OSError``.
    """
    start = _start(file)
    if start.startswith(_GZIP):
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=file)))
    if start == _ZSTD:
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
    return file


def _start(file: BinaryIO) -> bytes:
    """The first four bytes of a file, which stays at its beginning."""
    if isinstance(file, io.BufferedReader):
        return file.peek(4)[:4]
    start = file.read(4)
    file.seek(0)
    return start


def unpacked_name(path: str) -> str:
    """The name of a file in lower case, without the suffix of gzip or zstd."""
    return path.lower().removesuffix(".gz").removesuffix(".zst")


def unit(path: str) -> str:
    """The unit of row numbers in messages: lines for JSON Lines, else rows.

    >>> unit("part-1.jsonl.gz"), unit("part-1.parquet")
    ('line', 'row')
    """
    return "line" if unpacked_name(path).endswith(_LINES) else "row"


def _text_rows(path: str, file: BinaryIO) -> Iterator[tuple[int, Row]]:
    """The rows of a text file. Only the lines that decide on the format are read ahead."""
    lines = _decoded(path, file)
    name = unpacked_name(path)
    if name.endswith(tuple(_DELIMITERS)):
        yield from _csv_rows(path, lines, _DELIMITERS[name[-4:]])
        return
    seen: list[str] = []
    first = next((line for line in _kept(lines, seen) if line.strip()), None)
    if first is None:
        raise TraceImportError(f"{path} is empty; {EXPECTED}")
    if not first.lstrip().startswith("[") and (name.endswith(_LINES) or _is_lines(path, first, _kept(lines, seen))):
        yield from _line_rows(path, chain(seen, lines))
    else:
        yield from enumerate(_document_rows(path, "".join(chain(seen, lines))), start=1)


def _csv_rows(path: str, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, Row]]:
    """The rows of a table with a header, numbered from 1 after it."""
    try:
        table = (cells for cells in _cells(csv.reader(lines, delimiter=delimiter, strict=True)) if cells)
        names = [name.strip() for name in next(table, [])]
        if not names or len({*names}) < len(names):
            raise TraceImportError(f"{path} has the columns {', '.join(names) or 'none'}; expected a header, each once")
        number = 0
        for number, cells in enumerate(table, start=1):
            if len(cells) != len(names):
                raise TraceImportError(
                    f"{path}, row {number} has {len(cells)} cells under {len(names)} columns; quote cells that hold "
                    "the delimiter or a line break"
                )
            yield number, dict(zip(names, (cell if cell.strip() else None for cell in cells), strict=True))
    except csv.Error as error:
        raise TraceImportError(f"{path} is not a readable CSV file: {error}; write it again") from error
    if not number:
        raise TraceImportError(f"{path} has no rows; expected one for each item")


def _cells(table: Iterator[list[str]]) -> Iterator[list[str]]:
    """The cells of each row of a CSV file, of any length. The limit of 131,072 characters is one for the process."""
    while True:
        limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            cells = next(table, None)
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        yield cells


def _decoded(path: str, file: BinaryIO) -> Iterator[str]:
    """The lines of a file as text, with line ends, without a byte order mark."""
    at = 0
    for line in file:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TraceImportError(f"{path} is not UTF-8 text (byte {at + error.start}); {EXPECTED}") from None
        yield text if at else text.removeprefix("\ufeff")
        at += len(line)


def _kept(lines: Iterator[str], seen: list[str]) -> Iterator[str]:
    """Pass lines on, and keep them in ``seen``."""
    for line in lines:
        seen.append(line)
        yield line


def _is_lines(path: str, first: str, rest: Iterator[str]) -> bool:
    """Whether a text is JSON Lines: its first line is an object, and more lines follow."""
    try:
        is_object = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        if not first.lstrip().startswith("{"):
            raise TraceImportError(f"{path} is not JSON (it begins {first.strip()[:40]!r}); {EXPECTED}") from None
        return False
    return is_object and any(line.strip() for line in rest)


def _document_rows(path: str, text: str) -> list[Row]:
    try:
        document = json.loads(text)
    except RecursionError:
        raise TraceImportError(f"{path} is nested too deeply to be a list of rows; {EXPECTED}") from None
    except ValueError as error:
        raise TraceImportError(f"{path} is broken JSON: {error}; {EXPECTED}") from error
    if isinstance(document, dict):
        arrays = [name for name, value in document.items() if _holds_objects(value)]
        is_one_row = all(len(document[name]) == 1 for name in arrays) and any(responses_in(document))
        if choices_of(document) or is_choice(document) or is_one_row:
            return [document]
        if len(arrays) != 1:
            listed = f"{len(arrays)} ({', '.join(arrays)})" if arrays else f"none (only {', '.join(document)})"
            raise TraceImportError(f"{path} is one JSON object; expected one array of objects in it, found {listed}")
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


def _line_rows(path: str, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TraceImportError(f"{path}, line {number} is not JSON: {error}; expected one object a line") from error
        if not isinstance(row, dict):
            raise TraceImportError(f"{path}, line {number} is a {type(row).__name__}; expected one object a line")
        yield number, row


def _parquet_rows(path: str, file: BinaryIO) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        if not table.metadata.num_rows:
            raise TraceImportError(f"{path} has no rows; expected one for each item")
        for batch in table.iter_batches(use_threads=False):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceImportError(f"{path} is not a readable Parquet file: {error}; write it again") from error
