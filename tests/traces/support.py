"""Traces for tests, their comparison, and the check of error messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from rbridge_traces import Choice, Trace, TraceCache, TraceError

from ..metrics.strategies import texts, tilings


def make_trace(item_id: str = "17", trace: str = "2 + 2 = 4", **fields: Any) -> Trace:
    """Return a valid GSM8K trace with the given fields."""
    return Trace(**{"benchmark": "gsm8k", "item_id": item_id, "question": "2 + 2?", "trace": trace, **fields})


def version(word: str, rows: int = 3) -> list[Trace]:
    """Return traces that each contain the given word."""
    return [make_trace(str(row), f"{word} {row}") for row in range(rows)]


def words(traces: Sequence[Trace]) -> set[str]:
    """Return the words that ``version`` put into the traces."""
    return {trace.trace.split()[0] for trace in traces}


def write(cache: TraceCache, traces: list[Trace], source: str = "gpt-4o", **options: Any) -> None:
    """Write GSM8K traces to a cache."""
    cache.write(traces, benchmark="gsm8k", source=source, **options)


def same(trace: Trace, expected: Trace) -> bool:
    """Whether two traces agree in every field; arrays must have equal dtype and bits."""

    def equal(first: object, second: object) -> bool:
        if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
            return first.dtype == second.dtype and first.tobytes() == second.tobytes()
        return type(first) is type(second) and first == second

    return all(equal(getattr(trace, field.name), getattr(expected, field.name)) for field in fields(Trace))


def complaint(
    function: Callable[..., object], *arguments: Any, error: type[TraceError] = TraceError, **named: Any
) -> str:
    """Return the message of the error that a call raises, which must have exactly this type and one line."""
    with pytest.raises(error) as caught:
        function(*arguments, **named)
    message = str(caught.value)
    assert type(caught.value) is error
    assert len(message.splitlines()) == 1
    return message


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as JSON Lines and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@st.composite
def some_traces(draw: st.DrawFn) -> list[Trace]:
    """One to four valid traces of one benchmark; fields are optional, and texts are any Unicode."""
    item_ids = draw(st.lists(texts(3).filter(str.strip), min_size=1, max_size=4, unique=True))
    return [draw(_trace(item_id)) for item_id in item_ids]


@st.composite
def _trace(draw: st.DrawFn, item_id: str) -> Trace:
    trace = draw(texts().filter(str.strip))
    labels = draw(st.none() | st.lists(texts(1), min_size=1, max_size=4, unique=True))
    ends = draw(st.none() | tilings(len(trace)))
    bounds = sorted(draw(st.sets(st.integers(0, len(trace)), max_size=6)))
    return Trace(
        benchmark="csqa",
        item_id=item_id,
        question=draw(st.just("") | texts()),
        trace=trace,
        choices=labels and tuple(Choice(label, draw(texts(2))) for label in labels),
        final_answer=draw(st.none() | texts(2)),
        gold=draw(st.none() | texts(2)),
        correct=draw(st.sampled_from([None, True, False])),
        token_end=ends and np.array(ends),
        token_logprob=ends and np.array([draw(st.floats(-9999.0, 0.0, width=32)) for _ in ends]),
        spans=tuple(zip(bounds[::2], bounds[1::2], strict=False)) or None,
    )
