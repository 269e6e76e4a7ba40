"""Token scores of the traces of one benchmark in a Parquet file: what a samples file holds, a tenth of its size.

A file has one row per trace: the item, its metrics, and one list per score of its tokens. Two lists leave out what
others hold: ``token_start`` is null where the token before it ends there, and ``token_max_logprob`` is null where it
equals ``token_logprob``. The file also keeps the results of the evaluation, so that it is complete without a results
file beside it. pandas, polars and DuckDB read it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_metrics import RBridgeError, ScoreError, TokenScores
from rbridge_traces.files import plain, write_file

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
_SCHEMA_VERSION = 1
_ABOUT, _RESULTS = b"rbridge_token_scores", b"lm_eval_results"
#: Parts of a sample that the file has in another form or leaves out.
_LEFT = frozenset(("resps", "filtered_resps", "arguments", "target"))
_HASHES = ("doc_hash", "prompt_hash", "target_hash")
#: Columns of the tokens and their NumPy types, by the field of ``TokenScores``.
_TOKENS = {
    "token_id": np.int32, "token_start": np.int32, "token_end": np.int32, "logprob": np.float32, "rank": np.int32,
    "entropy": np.float32, "max_logprob": np.float32, "confidence": np.float32,
}  # fmt: skip
_COUNTS = ("vocab_size", "context_tokens_cut", "windows")


def _ends_before(scores: TokenScores) -> Any:
    """Where each token starts if it follows the one before it directly, shape (tokens,)."""
    return np.concatenate((np.zeros(1, np.int32), scores.token_end[:-1]))[: len(scores.token_end)]


#: Scores that are null in a file where they equal these.
_LEFT_OUT: dict[str, Callable[[TokenScores], Any]] = {
    "token_start": _ends_before,
    "max_logprob": lambda scores: scores.logprob,
}


class TokenScoresFileError(RBridgeError, ValueError):
    """A Parquet file that holds no token scores, or token scores that cannot be written to one."""


def write_token_scores(
    path: str | Path, task: str, rows: Iterable[Mapping[str, Any]], results: Mapping[str, Any]
) -> None:
    """Write the samples of one of our tasks, atomically.

    Args:
        path: of the file, named ``samples_<task>_<date>.parquet``, so that every command finds it.
        task: that lm-eval ran.
        rows: samples as lm-eval makes them: ``doc`` with ``item_id`` and ``trace``, ``resps`` with the token scores of
            the trace, hashes, ``metrics`` and the value of each. Prompts are left out.
        results: of lm-eval: results, config, versions, ...

    Raises:
        TokenScoresFileError: a row has no token scores, or its metrics are not those of the others.
        TraceError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    listed, scores = [], []
    for row in rows:
        listed.append({name: value for name, value in row.items() if name not in _LEFT})
        scores.append(_scores_of(row, task))
    if not listed:
        raise TokenScoresFileError(f"no samples of {task} to write to {path}")
    metrics = [str(name) for name in listed[0].get("metrics", ())]
    docs = [dict(row["doc"]) for row in listed]
    columns: dict[str, Any] = {
        "item_id": [doc.pop("item_id") for doc in docs],
        "trace": [doc.pop("trace") for doc in docs],
        "doc": [json.dumps(doc, ensure_ascii=False) for doc in docs],
        **{name: [str(row.get(name, "")) for row in listed] for name in _HASHES},
    }
    try:
        columns |= {name: pa.array([_metric(row[name]) for row in listed]) for name in metrics}
    except (KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        raise TokenScoresFileError(f"the samples of {task} do not have the same metrics ({error})") from error
    columns |= {name: pa.array([getattr(item, name) for item in scores], pa.int32()) for name in _COUNTS}
    columns |= {
        _column(name): _lists([getattr(item, name) for item in scores], dtype) for name, dtype in _TOKENS.items()
    }
    for name, known in _LEFT_OUT.items():
        columns[_column(name)] = _without(columns[_column(name)], [known(item) for item in scores])
    about = {"schema": _SCHEMA_VERSION, "task": task, "metrics": metrics}
    kept = {name: value for name, value in results.items() if name != "samples"}
    table = pa.table(columns).replace_schema_metadata(
        {_ABOUT: json.dumps(about), _RESULTS: json.dumps(plain(kept), allow_nan=False)}
    )
    encodings = {f"{_column(name)}.list.element": "BYTE_STREAM_SPLIT" for name in _TOKENS}
    encodings |= dict.fromkeys(("token_start.list.element", "token_end.list.element"), "DELTA_BINARY_PACKED")
    buffer = io.BytesIO()
    pq.write_table(
        table, buffer, compression="zstd", use_dictionary=False, column_encoding=encodings, write_page_checksum=True
    )
    write_file(path, buffer.getvalue())


def token_score_rows(path: Path, *, tokens: bool = True) -> Iterator[dict[str, Any]]:
    """The rows of a file as lm-eval's samples, the token scores under ``resps``.

    Args:
        path: of a file that ``write_token_scores`` wrote.
        tokens: read the scores of tokens; without them ``resps`` is empty.

    Raises:
        TokenScoresFileError: the file cannot be read, or is another one.
    """
    import pyarrow as pa

    with _opened(path) as file:
        metrics = _about(file, path)["metrics"]
        of_items = ["item_id", "trace", "doc", *_HASHES, *metrics]
        of_tokens = [*_COUNTS, *map(_column, _TOKENS)] if tokens else []
        try:
            for batch in file.iter_batches(1024, columns=[*of_items, *of_tokens], use_threads=False):
                items = batch.select(of_items).to_pylist()
                scores = _token_scores(batch) if tokens else [None] * len(items)
                for item, score in zip(items, scores, strict=True):
                    doc = {"item_id": item.pop("item_id"), "trace": item.pop("trace")} | _json_object(item.pop("doc"))
                    responses = [] if score is None else [[score]]
                    yield {"doc": doc, **item, "filter": "none", "metrics": metrics, "resps": responses}
        except (pa.ArrowException, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error


def stored_results(path: Path) -> dict[str, Any]:
    """The results of the evaluation that a file keeps.

    Raises:
        TokenScoresFileError: as ``token_score_rows``.
    """
    with _opened(path) as file:
        _about(file, path)
        return _metadata(file, _RESULTS, path)


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)  # of pages that have a checksum
        file.schema_arrow  # noqa: B018  # fails where names of columns are damaged
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return file


def _about(file: Any, path: Path) -> dict[str, Any]:
    metadata = file.schema_arrow.metadata or {}
    if _ABOUT not in metadata or _RESULTS not in metadata:
        raise TokenScoresFileError(f"{path} holds no token scores; give a file that lm_eval, a sweep or rb.score wrote")
    about = _metadata(file, _ABOUT, path)
    if about.get("schema") != _SCHEMA_VERSION:
        raise TokenScoresFileError(
            f"{path} has version {about.get('schema')!r} of the layout, and {_SCHEMA_VERSION} is read here; update "
            "rbridge-tasks"
        )
    metrics = about.get("metrics")
    if not isinstance(metrics, list) or not all(isinstance(name, str) for name in metrics):
        raise _damaged(path, TypeError(f"its metrics are {metrics!r:.60}"))
    return about


def _metadata(file: Any, key: bytes, path: Path) -> dict[str, Any]:
    try:
        return _json_object(file.schema_arrow.metadata[key])
    except (TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _json_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a cell or in the metadata.

    Raises:
        TypeError, ValueError: there is none.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.60} where a JSON object is needed")
    return value


def _damaged(path: Path, error: BaseException) -> TokenScoresFileError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return TokenScoresFileError(f"cannot read token scores from {path} ({reason}); give a whole Parquet file of them")


def _column(field: str) -> str:
    return field if field.startswith("token_") else f"token_{field}"


def _scores_of(row: Mapping[str, Any], task: str) -> TokenScores:
    try:
        response = row["resps"][0][0]
        return response if isinstance(response, TokenScores) else TokenScores.from_json(response)
    except (KeyError, IndexError, TypeError, ScoreError) as error:
        raise TokenScoresFileError(f"a sample of {task} has no token scores under resps ({error})") from error


def _metric(value: Any) -> float | list[float] | str:
    """A metric of an item as a column holds it. Proxy metrics are computed at the end, and an item only says so."""
    if isinstance(value, (list, tuple)):
        return [float(number) for number in value]
    return float(value) if isinstance(value, (int, float)) else str(value)


def _lists(arrays: list[Any], dtype: type) -> pa.Array:
    """Arrays of the items as one list column; None becomes null."""
    import pyarrow as pa

    sizes = [0 if array is None else len(array) for array in arrays]
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    present: list[Any] = [np.asarray(array, dtype) for array in arrays if array is not None]
    values = np.concatenate(present) if present else np.zeros(0, dtype)
    missing = pa.array([array is None for array in arrays])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=missing)


def _without(column: pa.ListArray, known: list[Any]) -> pa.ListArray:
    """A list column with nulls in the place of values that equal known ones, bit for bit."""
    import pyarrow as pa

    if column.null_count == len(column):
        return column
    kept = [array for array, valid in zip(known, column.is_valid().to_pylist(), strict=True) if valid]
    values = column.values.to_numpy()
    same = np.concatenate(kept).view(np.int32) == values.view(np.int32)
    return pa.ListArray.from_arrays(column.offsets, pa.array(values, mask=same), mask=column.is_null())


def _token_scores(batch: pa.RecordBatch) -> Iterator[TokenScores]:
    columns = {name: _split(batch.column(_column(name))) for name in _TOKENS}
    counts = {name: batch.column(name).to_pylist() for name in _COUNTS}
    left_out = {
        name: _split(batch.column(_column(name)), nulls=True)
        for name in _LEFT_OUT
        if batch.column(_column(name)).values.null_count
    }
    for at in range(batch.num_rows):
        scores = TokenScores(**{name: rows[at] for name, rows in (columns | counts).items()})
        for name, masks in left_out.items():
            if masks[at] is not None:
                np.copyto(getattr(scores, name), _LEFT_OUT[name](scores), where=masks[at])
        yield scores


def _split(column: pa.ListArray, *, nulls: bool = False) -> list[Any]:
    """The list of each row as an array: its values, or which of them are null. None where the row is null."""
    offsets, flat = column.offsets.to_numpy(), column.values
    values = flat.is_null().to_numpy(zero_copy_only=False) if nulls else flat.fill_null(0).to_numpy()
    rows = zip(offsets[:-1].tolist(), offsets[1:].tolist(), column.is_valid().to_pylist(), strict=True)
    return [values[start:end].copy() if valid else None for start, end, valid in rows]
