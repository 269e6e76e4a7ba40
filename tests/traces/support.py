"""Traces to test with, how two of them compare, and what every error message has to be."""

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
    """A valid trace of GSM8K with the given fields."""
    return Trace(**{"benchmark": "gsm8k", "item_id": item_id, "question": "2 + 2?", "trace": trace, **fields})


def version(word: str, rows: int = 3) -> list[Trace]:
    """A set of traces recognisable by a word that every one of them holds."""
    return [make_trace(str(row), f"{word} {row}") for row in range(rows)]


def words(traces: Sequence[Trace]) -> set[str]:
    """The words that ``version`` put into the traces."""
    return {trace.trace.split()[0] for trace in traces}


def write(cache: TraceCache, traces: list[Trace], source: str = "gpt-4o", **options: Any) -> None:
    """Write traces of GSM8K."""
    cache.write(traces, benchmark="gsm8k", source=source, **options)


def same(one: Trace, other: Trace) -> bool:
    """Whether two traces agree in every field, arrays bit for bit and of the same dtype."""

    def equal(left: object, right: object) -> bool:
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return left.dtype == right.dtype and left.tobytes() == right.tobytes()
        return type(left) is type(right) and left == right

    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Trace))


def complaint(
    function: Callable[..., object], *arguments: Any, error: type[TraceError] = TraceError, **named: Any
) -> str:
    """The message of the error that a call ends in, which has to be of exactly this type and one line."""
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
    """One to four valid traces of one benchmark, any field there or not, any Unicode in every text."""
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
