"""Traces out of a user's own file: its fields mapped to those of a trace, each row checked."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rbridge_traces.errors import TraceError, TraceImportError, did_you_mean
from rbridge_traces.extraction import is_json_answer, locate_reasoning
from rbridge_traces.rows import Row, read_rows
from rbridge_traces.schema import Choice, Trace, check_benchmark
from rbridge_traces.spans import parse_spans

__all__ = ["INLINE", "TARGETS", "ImportReport", "import_traces", "read_rows"]

TARGETS = tuple(field.name for field in fields(Trace) if field.name != "benchmark")
"""The fields of a trace that a field of a file can be mapped to."""

INLINE = "inline"
"""What ``spans`` is mapped to where the trace itself holds ``<span>..</span>`` marks."""

_ID_FIELDS = ("item_id", "id", "task_id", "question_id", "unique_id")
ABSENT = object()
"""What ``lookup`` gives where there is no such field."""


@dataclass(frozen=True)
class ImportReport:
    """The traces of a file.

    Attributes:
        traces: in order.
        skipped_empty: rows that had none.
        repairs: for each trace that was read out of a JSON answer, how many escapes were read as LaTeX.
    """

    traces: list[Trace]
    skipped_empty: int
    repairs: tuple[int, ...] = ()


def import_traces(
    path: str, *, benchmark: str, mapping: Mapping[str, str] | None = None, skip_empty: bool = False
) -> ImportReport:
    """Read a file of any form ``read_rows`` knows as traces of one benchmark.

    A field of a trace that is not mapped is taken from the field of the same name if a row has it. ``item_id`` is then
    taken from item_id, id, task_id, question_id or unique_id, whichever comes first, or is the number of the row.
    A trace that is the whole JSON answer of a model is cut down to its ``reasoning``; its ``final_answer`` counts
    where the row has none. Numbers become text where text is due (3 becomes ``3``, 3.0 ``3.0``). Choices are a list of
    texts (labelled A, B, ...), a list of ``{label, text}``, ``{"label": [...], "text": [...]}`` or an object of texts
    by label.

    Args:
        path: local path, or any URL fsspec knows.
        benchmark: one of ``BENCHMARKS``.
        mapping: field of a trace -> field of the file. Dots lead into objects and lists: ``question.stem``,
            ``choices.0.text``. ``{"spans": "inline"}`` cuts ``<span>..</span>`` marks out of the trace.
        skip_empty: leave out rows whose trace is empty, and count them.

    Raises:
        TraceImportError: the file cannot be read, or a row is not a valid trace; names the file and the row (from 1).
        TraceError: unknown benchmark.
    """
    check_benchmark(benchmark)
    mapping = mapping or {}
    for target in mapping:
        if target not in TARGETS:
            raise TraceImportError(
                f"cannot map to {target!r}{did_you_mean(target, TARGETS)}; a trace has the fields {', '.join(TARGETS)}"
            )
    traces: list[Trace] = []
    repairs: list[int] = []
    first_row: dict[str, int] = {}
    skipped = 0
    for number, row in enumerate(read_rows(path), start=1):
        try:
            trace = _trace(row, number, benchmark, mapping, repairs)
        except TraceError as error:
            raise TraceImportError(f"{path}, row {number}: {error}") from error
        if trace is None and not skip_empty:
            raise TraceImportError(
                f"{path}, row {number}: the trace is empty; leave such rows out with --skip-empty, "
                "or map the field that holds the reasoning with trace=FIELD"
            )
        if trace is None:
            skipped += 1
            continue
        if trace.item_id in first_row:
            raise TraceImportError(
                f"{path}, row {number}: the item_id {trace.item_id} is that of row {first_row[trace.item_id]} too; "
                "keep one trace for each item, or map a field that tells the rows apart with item_id=FIELD"
            )
        first_row[trace.item_id] = number
        traces.append(trace)
    return ImportReport(traces, skipped, tuple(repairs))


def _trace(row: Row, number: int, benchmark: str, mapping: Mapping[str, str], repairs: list[int]) -> Trace | None:
    """The trace of a row, or None where its reasoning is empty."""
    values = {target: _value(row, target, mapping) for target in TARGETS}
    text = as_text("trace", values["trace"]) or ""
    if is_json_answer(text) and values["token_end"] is None:
        answer = locate_reasoning(text)
        text, values["final_answer"] = answer.text, _first(values["final_answer"], answer.final_answer)
        repairs.append(answer.repairs)
    if mapping.get("spans") == INLINE:
        text, values["spans"] = parse_spans(text)
    if not text.strip():
        return None
    question = as_text("question", values["question"])
    if question is None:
        raise TraceImportError("the question is null; map the field that holds it with question=FIELD")
    return Trace(
        benchmark=benchmark,
        item_id=_item_id(row, number, values["item_id"], mapping),
        question=question,
        trace=text,
        choices=as_choices(values["choices"]),
        final_answer=as_text("final_answer", values["final_answer"]),
        gold=as_text("gold", values["gold"]),
        correct=as_correct(values["correct"]),
        token_end=values["token_end"],
        token_logprob=values["token_logprob"],
        spans=values["spans"],
    )


def _first(given: Any, default: Any) -> Any:
    return default if given is None else given


def _value(row: Row, target: str, mapping: Mapping[str, str]) -> Any:
    """What a row gives for a field of a trace; None where it gives nothing and need not."""
    source = mapping.get(target)
    if target == "spans" and source == INLINE:
        return None
    value = lookup(row, source or target)
    if value is ABSENT and (source or target in ("question", "trace")):
        there = _field_names(row)
        field = source or target
        raise TraceImportError(
            f"no field {field}{did_you_mean(field, there)} for the {target}; the row has {', '.join(there) or 'none'}; "
            f"map one with {target}=FIELD"
        )
    if value is ABSENT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def lookup(row: Row, field: str) -> Any:
    """What a row holds under a name; dots lead into objects and lists."""
    if field in row:
        return row[field]
    value: Any = row
    for part in field.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value


def _field_names(row: Row) -> list[str]:
    """The fields of a row and, dotted, those of the objects in it."""
    names: list[str] = []
    for name, value in row.items():
        names.append(name)
        if isinstance(value, dict):
            names.extend(f"{name}.{inner}" for inner in value)
    return names


def _item_id(row: Row, number: int, mapped: Any, mapping: Mapping[str, str]) -> str:
    if "item_id" in mapping:
        item_id = as_text("item_id", mapped)
        if item_id is None:
            raise TraceImportError(f"the item_id ({mapping['item_id']}) is null; map another field with item_id=FIELD")
        return item_id
    found = (as_text("item_id", row[name]) for name in _ID_FIELDS if row.get(name) is not None)
    return next((item_id for item_id in found if item_id is not None), str(number))


def as_text(target: str, value: Any) -> str | None:
    """A value as text, numbers written out."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    inside = "; name the field inside it, as in question.stem or choices.0.text" * isinstance(value, (dict, list))
    raise TraceImportError(f"the {target} is a {type(value).__name__}, expected text{inside}")


def as_correct(value: Any) -> bool | None:
    """True, false, 1, 0 or null as a truth value."""
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise TraceImportError(f"correct is {value!r}, expected true, false, 1 or 0")


def as_choices(value: Any) -> tuple[Choice, ...] | None:
    """Choices in any of the forms that ``import_traces`` names."""
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("label"), list) and isinstance(value.get("text"), list):
        labels, texts = value["label"], value["text"]
        if len(labels) != len(texts):
            raise TraceImportError(f"the choices have {len(labels)} labels but {len(texts)} texts")
        pairs = list(zip(labels, texts, strict=True))
    elif isinstance(value, dict):
        pairs = [(label, text) for label, text in value.items() if text is not None]
    elif isinstance(value, list) and all(isinstance(choice, dict) for choice in value):
        missing = [number for number, choice in enumerate(value, start=1) if not {"label", "text"} <= choice.keys()]
        if missing:
            raise TraceImportError(f"choice {missing[0]} has {', '.join(value[missing[0] - 1])}; expected label, text")
        pairs = [(choice["label"], choice["text"]) for choice in value]
    elif isinstance(value, list) and len(value) <= len(string.ascii_uppercase):
        pairs = list(zip(string.ascii_uppercase, value, strict=False))
    else:
        what = f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
        raise TraceImportError(
            f"the choices are {what}, expected at most 26 texts, a list of {{label, text}}, or texts by label"
        )
    return tuple(Choice(_required("choice label", label), _required("choice", text)) for label, text in pairs)


def _required(target: str, value: Any) -> str:
    text = as_text(target, value)
    if text is None:
        raise TraceImportError(f"a {target} is null, expected text")
    return text
