"""The texts of a corpus, one after the other: text files, JSON Lines and Parquet, never a whole file in memory."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rbridge_metrics import RBridgeError
from rbridge_tasks.visible_text import shortened
from rbridge_traces import TraceError, files
from rbridge_traces.rows import numbered_rows, unpacked

_ROWS = (".jsonl", ".ndjson", ".json")
_LONGEST_ERROR = 400
_TEXT = (".txt", ".md", ".text")
_PARQUET = ".parquet"
_PIECE = 1 << 18  # characters of a text file in one piece
_ROWS_AT_ONCE = 256
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")  # JSON can spell it, and no tokenizer takes it


class CorpusError(RBridgeError, ValueError):
    """A corpus that cannot be read, or holds no text. The message is one line, whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(" ".join(message.split()), _LONGEST_ERROR))


def corpus_files(sources: Sequence[str]) -> list[str]:
    """The files of a corpus: those named, and those in the folders named and below, by their suffix, sorted. Each once.

    Raises:
        CorpusError: a path does not exist, or a folder contains no readable file.
    """
    paths: dict[str | Path, str] = {}
    for source in sources:
        place = Path(source)
        if files.is_folder(place):
            inside = sorted(str(path) for path in place.rglob("*") if path.is_file() and _plain(str(path)) in _KNOWN)
            if not inside:
                raise CorpusError(f"no corpus in {source}: no file in it ends in {', '.join(_KNOWN)} (or .gz, .zst)")
        elif "://" in source or files.exists(place):
            inside = [source]
        else:
            raise CorpusError(f"there is no file or folder {source!r}; give text, JSON Lines or Parquet files")
        for path in inside:
            paths.setdefault(path if "://" in path else Path(path).resolve(), path)
    return [*paths.values()]


def corpus_texts(path: str, field: str) -> Iterator[str]:
    """The texts of one file, in order.

    Its suffix says what it is: ``.jsonl`` and ``.ndjson`` hold objects, as does ``.json``, which is read as a whole;
    ``.parquet`` holds columns, and anything else is text in UTF-8. All but Parquet may be packed (``.gz``, ``.zst``). A
    text file comes in pieces of about 260,000 characters, cut at the end of a line.

    Args:
        path: local path, or any URL fsspec knows.
        field: of an object, or column, that holds the text. One that is null holds none. A lone surrogate in it
            becomes U+FFFD.

    Raises:
        CorpusError: the file cannot be read, or a row has no text under ``field``.
    """
    try:
        kind = _plain(path)
        if kind in _ROWS:
            yield from (_text(row, field, f"{path}, row {number}") for number, row in numbered_rows(path))
            return
        fs, place = files.open_root(path)
        with fs.open(place, "rb") as file:
            yield from _column(path, file, field) if kind == _PARQUET else _pieces(path, unpacked(file))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    except files.refusals() as error:
        raise CorpusError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}; check the file") from error
    except TraceError as error:
        raise CorpusError(str(error)) from error


_KNOWN = (*_TEXT, *_ROWS[:2], _PARQUET)  # a JSON document would be read as a whole


def _plain(path: str) -> str:
    """The suffix, without that of a compression."""
    return Path(path.lower().removesuffix(".gz").removesuffix(".zst")).suffix


def _text(row: dict[str, Any], field: str, where: str) -> str:
    text = row.get(field, ...)
    if text is None:
        return ""
    if not isinstance(text, str):
        content = f"no {field!r} (it has {', '.join(row) or 'nothing'})" if text is ... else f"{field} {text!r:.40}"
        raise CorpusError(f"{where} has {content}; name the field that holds the text with --field")
    return _LONE_SURROGATE.sub("\ufffd", text)


def _column(path: str, file: BinaryIO, field: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        if field not in table.schema_arrow.names:
            raise CorpusError(
                f"{path} has no column {field!r} (it has {', '.join(table.schema_arrow.names)}); name the column that "
                "holds the text with --field"
            )
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[field], use_threads=False):
            for row in batch.to_pylist():
                yield _text(row, field, path)
    except pa.ArrowException as error:
        raise CorpusError(f"{path} is not a readable Parquet file: {error}; write it again") from error


def _pieces(path: str, file: BinaryIO) -> Iterator[str]:
    """A text in pieces cut at ends of lines, or at a space where a line is longer than a piece."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    held = ""
    try:
        while data := file.read(_PIECE):
            held += decoder.decode(data)
            if len(held) >= _PIECE:
                cut = held.rfind("\n") + 1 or max(held.rfind(" "), 0) or len(held)
                yield held[:cut]
                held = held[cut:]
        held += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text ({error.reason}); name JSON Lines or Parquet by suffix") from None
    if held:
        yield held
