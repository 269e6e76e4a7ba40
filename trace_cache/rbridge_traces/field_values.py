"""Look up values in a row of a user's file, and convert them to the types of a trace."""

from __future__ import annotations

import json
import math
import string
from typing import Any

from rbridge_traces.errors import TraceImportError
from rbridge_traces.rows import Row
from rbridge_traces.schema import Choice

ABSENT = object()
"""Returned by ``lookup`` for a missing field."""


def lookup(row: Row, field: str) -> Any:
    """The value of a field of a row; dots lead into objects and lists."""
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


def field_names(row: Row) -> list[str]:
    """The fields of a row and, dotted, those of the objects in it."""
    names: list[str] = []
    for name, value in row.items():
        names.append(name)
        if isinstance(value, dict):
            names.extend(f"{name}.{inner}" for inner in value)
    return names


def from_cell(target: str, value: Any) -> Any:
    """A list or object that stands as JSON in a cell of a table; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise TraceImportError(f"the {target} is {value[:40]!r}, which is not JSON ({error})") from None


def is_missing(value: Any) -> bool:
    """Whether a value is null, or NaN, which pandas writes for null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(target: str, value: Any) -> str | None:
    """A value as text, numbers written out; None if it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    inside = "; name the field inside it, as in question.stem or choices.0.text" * isinstance(value, (dict, list))
    raise TraceImportError(f"the {target} is a {type(value).__name__}, expected text{inside}")


def as_correct(value: Any) -> bool | None:
    """True, false, 1 or 0 as a truth value; None if it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0"):
        return value.strip().lower() in ("true", "1")
    if value in (0, 1):
        return bool(value)
    raise TraceImportError(f"correct is {value!r}, expected true, false, 1 or 0")


def as_choices(value: Any) -> tuple[Choice, ...] | None:
    """Choices in any of the forms that ``import_traces`` names."""
    if is_missing(value):
        return None
    if isinstance(value, dict) and isinstance(value.get("label"), list) and isinstance(value.get("text"), list):
        labels, texts = value["label"], value["text"]
        if len(labels) != len(texts):
            raise TraceImportError(f"the choices have {len(labels)} labels but {len(texts)} texts")
        pairs = list(zip(labels, texts, strict=True))
    elif isinstance(value, dict):
        pairs = [(label, text) for label, text in value.items() if not is_missing(text)]
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
            f"the choices are {what}, expected at most 26 texts, a list of {{label, text}}, or texts by label; "
            "columns of a table are named with --map choices=A,B,C,D"
        )
    return tuple(Choice(required_text("choice label", label), required_text("choice", text)) for label, text in pairs)


def required_text(target: str, value: Any) -> str:
    """A value as text; refused if it is missing."""
    text = as_text(target, value)
    if text is None:
        raise TraceImportError(f"a {target} is null, expected text")
    return text
