"""Traces as rows of an Arrow table, and as the bytes of a Parquet file. pyarrow is imported in use: it takes 0.2 s."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from rbridge_traces.errors import TraceError
from rbridge_traces.schema import Choice, Trace

if TYPE_CHECKING:
    import pyarrow as pa


@cache
def arrow_schema() -> pa.Schema:
    """The columns of a trace file, in the order of the fields of ``Trace``.

    >>> arrow_schema().field("spans").type
    ListType(list<item: list<item: int32>>)
    """
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        {
            "benchmark": text,
            "item_id": text,
            "question": text,
            "trace": text,
            "choices": pa.list_(pa.struct({"label": text, "text": text})),
            "final_answer": text,
            "gold": text,
            "correct": pa.bool_(),
            "token_end": pa.list_(pa.int32()),
            "token_logprob": pa.list_(pa.float32()),
            "spans": pa.list_(pa.list_(pa.int32())),
        }
    )


def to_table(traces: Sequence[Trace]) -> pa.Table:
    """Lay traces out as an Arrow table of ``arrow_schema()``, one row each, in order."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [getattr(trace, name) for trace in traces] for name in arrow_schema().names}
    columns["choices"] = [
        choices and [{"label": choice.label, "text": choice.text} for choice in choices]
        for choices in columns["choices"]
    ]
    columns["token_logprob"] = pa.array(  # NaN, an unknown log-probability, is stored as null
        columns["token_logprob"], arrow_schema().field("token_logprob").type, from_pandas=True
    )
    return pa.table(columns, schema=arrow_schema())


def from_table(table: pa.Table) -> list[Trace]:
    """Read the rows of an Arrow table back as traces, each checked as any other is. Columns beside ours are ignored.

    Raises:
        TraceError: a column is missing or of another type, or a row is not a valid trace.
    """
    import pyarrow as pa

    schema = arrow_schema()
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise TraceError(f"no column {', '.join(missing)} (found {', '.join(table.column_names)})")
    try:
        table = table.select(schema.names).cast(schema)
        arrays = {name: _list_arrays(table.column(name)) for name in ("token_end", "token_logprob")}
    except pa.ArrowException as error:
        raise TraceError(f"a column is not of the type of a trace file: {error}") from error
    columns = {name: table.column(name).to_pylist() for name in schema.names if name not in arrays}
    columns["choices"] = [
        choices and tuple(Choice(**(choice or {"label": None, "text": None})) for choice in choices)
        for choices in columns["choices"]
    ]
    columns.update(arrays)
    return [Trace(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _list_arrays(column: pa.ChunkedArray) -> list[npt.NDArray[Any] | None]:
    """Each row of a list column, a view of the column's buffer where it holds no null; a null row as None."""
    return [row.values.to_numpy(zero_copy_only=False) if row.is_valid else None for row in column]


def to_parquet(traces: Sequence[Trace]) -> bytes:
    """The traces as a Parquet file, compressed with zstd."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(to_table(traces), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> list[Trace]:
    """Read a Parquet file of traces.

    Raises:
        TraceError: not a complete Parquet file, or not one of traces.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pyarrow 26 now and then aborts a process that ends soon after a read in threads, which read_table starts
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise TraceError(f"not a complete Parquet file: {error}") from error
    return from_table(table)
