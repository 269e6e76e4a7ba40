"""Token rows of published completions: one row a token, or one row a completion with lists or a raw response."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Literal

from rbridge_traces.completions import completion_of_choice, token_bytes
from rbridge_traces.errors import TraceError, TraceImportError
from rbridge_traces.release.fields import Fields, first_choice, map_fields
from rbridge_traces.release.token_table import TokenTable
from rbridge_traces.rows import Row, numbered_rows, unit

_FIRST_ROWS = 1000

Layout = Literal["flat", "listed"]
"""One row a token, or one row a completion."""

Listed = tuple[list[bytes], Sequence[float | None]]
"""Bytes and value of each token of a completion, in order."""


def first_rows(path: str) -> Iterable[Row]:
    """Enough rows of a file to see its fields."""
    return (row for _, row in islice(numbered_rows(path), _FIRST_ROWS))


def read_token_rows(paths: Sequence[str], overrides: Mapping[str, str]) -> tuple[TokenTable, Fields]:
    """Read the token rows of all files of a benchmark, one file at a time.

    Args:
        paths: files in any form that ``read_rows`` knows; rows in any order where they have positions.
        overrides: as ``map_fields`` takes them.

    Raises:
        TraceImportError: a file that cannot be read, rows without the fields that are needed, or a row whose fields are
            not what they should be; names file and line.
    """
    some = list(chain.from_iterable(map(first_rows, paths)))
    fields = map_fields("tokens", some, overrides)
    layout = layout_of(some, fields)
    if layout is None and "token" in fields.of:
        raise fields.missing("the log-probability of a token", "logprob")
    if layout is None:
        raise fields.missing("the text of a token", "token")
    if layout == "flat" and "item_id" not in fields.of:
        raise fields.missing("the item that a token belongs to", "item_id")
    del some
    table = TokenTable(unit=unit(paths[0]), probabilities=has_probabilities(fields))
    for path in paths:
        table.begin(path)
        (_add_listed if layout == "listed" else _add_flat)(table, path, fields)
    return table, fields


def layout_of(rows: Iterable[Row], fields: Fields) -> Layout | None:
    """How rows hold tokens with their probabilities; None if they hold none."""
    if "response" in fields.of:
        return "listed"
    token, logprob, probability = (_first(rows, fields, target) for target in ("token", "logprob", "probability"))
    lists = [value for value in (token, logprob, probability) if isinstance(value, (list, dict))]
    if len(lists) > 1 or any(_entries(value) for value in lists):
        return "listed"
    valued = logprob is not None or probability is not None
    return "flat" if not lists and valued and {"token", "bytes"} & fields.of.keys() else None


def has_probabilities(fields: Fields) -> bool:
    """Whether the values are probabilities instead of their logarithms."""
    return "probability" in fields.of and not {"logprob", "response"} & fields.of.keys()


def listed_tokens(row: Row, fields: Fields) -> Listed:
    """The tokens of a row that holds those of a whole completion.

    A raw response, the ``logprobs`` of one, a list of objects, or parallel lists.

    Raises:
        TraceError: it is none of these, or not as it should be.
    """
    response = fields.getter("response")(row)
    if response is not None:
        completion = completion_of_choice(first_choice(response))
        text, ends = completion.text.encode(), completion.token_byte_end.tolist()
        pieces = [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return pieces, completion.token_logprob.tolist()
    tokens, raw = fields.getter("token")(row), fields.getter("bytes")(row)
    values = fields.getter("probability" if has_probabilities(fields) else "logprob")(row)
    for value in (tokens, values):
        if entries := _entries(value):
            return _of_entries(entries)
    if isinstance(values, dict):  # the `logprobs` of a legacy response
        tokens, values = values.get("tokens"), values.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        raise TraceImportError(f"{_size(tokens)} tokens but {_size(values)} values; expected a list of each")
    sent_bytes = raw if isinstance(raw, list) and len(raw) == len(tokens) else [None] * len(tokens)
    return [token_bytes(token, sent) for token, sent in zip(tokens, sent_bytes, strict=True)], values


def add_tokens(table: TokenTable, item: int, tokens: Listed, number: int) -> None:
    """Add the tokens of a whole completion.

    Raises:
        TraceImportError: a value that is not a number.
    """
    for position, (piece, value) in enumerate(zip(*tokens, strict=True)):
        table.add(item, position, piece, _value(value), number)


def _add_listed(table: TokenTable, path: str, fields: Fields) -> None:
    item_of = fields.getter("item_id")
    for count, (number, row) in enumerate(numbered_rows(path), start=len(table.items)):
        try:
            item = table.item(_name(item_of(row)) if "item_id" in fields.of else str(count))
            add_tokens(table, item, listed_tokens(row, fields), number)
        except TraceError as error:
            raise TraceImportError(f"{path}, {table.unit} {number}: {error}") from error


def _add_flat(table: TokenTable, path: str, fields: Fields) -> None:
    targets = ("item_id", "position", "token", "bytes", "probability" if table.probabilities else "logprob")
    item_of, position_of, token_of, bytes_of, value_of = map(fields.getter, targets)
    has_positions = "position" in fields.of
    for number, row in numbered_rows(path):
        name, value = item_of(row), value_of(row)
        try:
            item = table.item(name if type(name) is str else _name(name))
            position = position_of(row) if has_positions else table.counts[item]
            table.add(
                item,
                position if type(position) is int else _position(position),
                token_bytes(token_of(row), bytes_of(row)),
                value if type(value) is float else _value(value),
                number,
            )
        except TraceError as error:
            raise TraceImportError(f"{path}, {table.unit} {number}: {error}") from error
        except OverflowError:
            raise TraceImportError(f"{path}, {table.unit} {number}: its position is {position}, out of range") from None


def _first(rows: Iterable[Row], fields: Fields, target: str) -> Any:
    """The first value there is for a target."""
    values = map(fields.getter(target), rows)
    return next((value for value in values if value is not None), None)


def _entries(value: Any) -> list[Row] | None:
    """A list of objects, one for each token, as it is or in the ``logprobs`` of a response."""
    listed = value.get("content") if isinstance(value, dict) else value
    objects = isinstance(listed, list) and bool(listed) and all(isinstance(entry, dict) for entry in listed)
    return listed if objects else None


def _of_entries(entries: list[Row]) -> Listed:
    fields = map_fields("tokens", entries, {})
    token, raw, value = (fields.getter(target) for target in ("token", "bytes", "logprob"))
    if "logprob" not in fields.of or not {"token", "bytes"} & fields.of.keys():
        raise TraceImportError(f"its tokens have {', '.join(fields.present)}; expected token, logprob and bytes")
    return [token_bytes(token(entry), raw(entry)) for entry in entries], [value(entry) for entry in entries]


def _name(value: Any) -> str:
    """The name of an item, as text."""
    if type(value) is int:
        return str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise TraceImportError(f"what names its item is {value!r}, expected text or a whole number")
    return str(value)


def _position(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    raise TraceImportError(f"its position is {value!r}, expected a whole number")


def _value(value: Any) -> float:
    if value is None:
        return math.nan
    with suppress(OverflowError):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    raise TraceImportError(f"its log-probability is {value!r}, expected a number in nats")


def _size(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else "no"
