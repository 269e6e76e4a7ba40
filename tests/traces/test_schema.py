"""A trace is valid when it is created; otherwise the error names the fault."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import BENCHMARKS, Choice, Trace, TraceError, arrow_schema, check_benchmark, from_table, to_table
from rbridge_traces.files import plain

from ..metrics.strategies import cases, texts
from .support import complaint, make_trace, same, some_traces


def test_offsets_count_code_points_not_bytes_or_utf16_units() -> None:
    """A character outside the basic plane and a combining accent each count as one character."""
    trace = make_trace(trace="e\u0301𝔘", token_end=[2, 3], token_logprob=[-0.5, -0.25], spans=[(2, 3)])
    assert trace.token_end is not None
    assert trace.token_end.tolist() == [2, 3]


def test_arrays_are_stored_compactly_and_cannot_be_changed() -> None:
    """Offsets become int32 and log-probabilities float32, in read-only copies of the caller's arrays."""
    ends = np.array([3, 9])
    trace = make_trace(token_end=ends, token_logprob=[-0.5, 0])
    ends[0] = 8
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    assert (trace.token_end.dtype, trace.token_logprob.dtype) == (np.int32, np.float32)
    assert trace.token_end.tolist() == [3, 9]
    with pytest.raises(ValueError, match="read-only"):
        trace.token_end[0] = 1


def test_rounding_above_certainty_is_clipped_to_certainty() -> None:
    """A log-probability slightly above 0, which models produce by rounding, becomes 0."""
    trace = make_trace(token_end=[9], token_logprob=[9e-7])
    assert trace.token_logprob is not None
    assert trace.token_logprob.tolist() == [0.0]


def test_a_trace_knows_whether_it_has_confidence() -> None:
    """A trace has confidences if at least half of its characters do: 4 of 9 are too few, 5 are enough."""
    assert make_trace(token_end=[9], token_logprob=[-1.0]).has_confidence
    assert not make_trace().has_confidence
    few, enough = ([-1.0, -9999.0], [None, -1.0])
    assert not make_trace(token_end=[4, 9], token_logprob=few).has_confidence
    assert make_trace(token_end=[4, 9], token_logprob=enough).has_confidence
    assert make_trace(token_end=[4, 9], token_logprob=few).unknown_tokens == 1


def test_empty_choices_and_spans_mean_there_are_none() -> None:
    """An empty list of spans becomes None, so that it does not exclude the whole trace."""
    trace = make_trace(choices=(), spans=())
    assert trace.choices is None
    assert trace.spans is None


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"trace": ""}, "its trace is empty"),
    ({"trace": " \n\t\u2003"}, "its trace is empty"),
    ({"trace": None}, "its trace is a NoneType, not text"),
    ({"question": 3}, "its question is a int, not text"),
    ({"item_id": " "}, "its item_id is empty"),
    ({"trace": "a\ud83d"}, "its trace holds half a surrogate pair (U+D83D) at character 1"),
    ({"question": "\udc00"}, "its question holds half a surrogate pair"),
    ({"final_answer": "\udc00"}, "its final_answer holds half a surrogate pair"),
    ({"gold": "\udc00"}, "its gold holds half a surrogate pair"),
    ({"item_id": "\udc00"}, "its item_id holds half a surrogate pair"),
    ({"choices": (Choice("A", "\udc00"),)}, "its choice A holds half a surrogate pair"),
    ({"choices": (Choice("\udc00", "x"),)}, "its choice label holds half a surrogate pair"),
    ({"choices": [{"label": "A", "text": "x"}]}, "its choices hold a dict, not a Choice"),
    ({"choices": "AB"}, "its choices hold a str, not a Choice (found 'A')"),
    ({"choices": (Choice("A", "x"), Choice("A", "y"))}, "two choices share a label (A, A)"),
    ({"correct": "yes"}, "its correct is 'yes', not true, false or null"),
    ({"token_end": [9]}, "it has only one of token_end and token_logprob"),
    ({"token_logprob": [-1.0]}, "it has only one of token_end and token_logprob"),
    ({"token_end": [4, 9], "token_logprob": [-1.0]}, "2 token_end but 1 token_logprob"),
    ({"token_end": [], "token_logprob": []}, "its token_end is not a list of whole numbers"),
    ({"token_end": [[9]], "token_logprob": [-1.0]}, "its token_end is not a list of whole numbers"),
    ({"token_end": [[1], [2, 3]], "token_logprob": [-1.0, -1.0]}, "its token_end is not a plain list of numbers"),
    ({"token_end": "9", "token_logprob": [-1.0]}, "its token_end is not a list of whole numbers"),
    ({"token_end": [9.0], "token_logprob": [-1.0]}, "its token_end is not a list of whole numbers"),
    ({"token_end": [4, 4, 9], "token_logprob": [-1.0] * 3}, "token 1 ends at character 4; token_end must increase"),
    ({"token_end": [0, 9], "token_logprob": [-1.0] * 2}, "token 0 ends at character 0; token_end must increase"),
    ({"token_end": [8], "token_logprob": [-1.0]}, "token_end reaches character 8 of a trace of 9"),
    ({"token_end": [2**40], "token_logprob": [-1.0]}, "token_end reaches character 1099511627776 of a trace of 9"),
    ({"token_end": [9], "token_logprob": ["-1"]}, "its token_logprob is not a list of numbers"),
    ({"token_end": [4, 6, 9], "token_logprob": [0.9, -1.0, 0.1]}, "the log-probability is 0.9 at token 0, and most"),
    ({"spans": [(0, 10)]}, "span [0, 10) is empty, out of order, overlapping or outside the trace"),
    ({"spans": [(-1, 2)]}, "span [-1, 2) is empty"),
    ({"spans": [(2, 2)]}, "span [2, 2) is empty"),
    ({"spans": [(0, 4), (3, 6)]}, "span [3, 6) is empty, out of order, overlapping"),
    ({"spans": [(4, 6), (0, 2)]}, "span [0, 2) is empty, out of order"),
    ({"spans": [(0.0, 2.0)]}, "span [0.0, 2.0) is not a pair of whole numbers"),
    ({"spans": [(1, 2, 3)]}, "its spans are not [start, end) pairs"),
    ({"spans": 7}, "its spans are not [start, end) pairs"),
]


@pytest.mark.parametrize(("fields", "expected"), BAD_FIELDS)
def test_an_invalid_trace_is_refused_by_name(fields: dict[str, Any], expected: str) -> None:
    """Every rule is checked at creation, and the message has the trace and the fault."""
    message = complaint(make_trace, **fields)
    assert message.startswith(f"trace gsm8k/{fields.get('item_id', '17')}: {expected}")


def test_an_item_id_of_several_lines_does_not_break_the_message() -> None:
    """An error stays one line, whatever user text it quotes."""
    assert "gsm8k/a b c" in complaint(make_trace, item_id="a\nb\u2028c", trace="")


def test_shipped_and_other_names_are_benchmarks() -> None:
    """The paper's benchmarks are shipped, and any other valid name is a benchmark."""
    for benchmark in (*BENCHMARKS, "aime25", "arena-hard", "Kmmlu_2"):
        check_benchmark(benchmark)
    assert len(set(BENCHMARKS)) == 6


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("GSM8K", "gsm8k is"),
        ("mmlu_pro", "write mmlu_pro_stem"),
        ("ARC-Challenge", "write arc_challenge"),
        ("my bench", "letters, digits"),
        ("../gsm8k", "letters, digits"),
        ("aime_gold", "_gold"),
        ("proxies_aime", "first word"),
        ("comparators", "first word"),
    ],
)
def test_a_name_that_no_benchmark_can_have_is_refused(name: str, remedy: str) -> None:
    """Aliases of shipped benchmarks, other characters, and names that collide with task variants are refused."""
    assert remedy.replace("gsm8k is", "another name of gsm8k") in complaint(check_benchmark, name)


@cases(100)
@given(some_traces())
def test_a_table_gives_back_the_traces_it_was_made_of(traces: list[Any]) -> None:
    """No field, character or bit changes between a trace and a row of an Arrow table."""
    back = from_table(to_table(traces))
    assert len(back) == len(traces)
    assert all(same(trace, copy) for trace, copy in zip(traces, back, strict=True))


def test_a_table_of_wider_types_and_more_columns_is_read() -> None:
    """A table of another writer with int64 offsets, large strings and additional columns is read."""
    table = to_table([make_trace(token_end=[4, 9], token_logprob=[-1.0, -2.0], choices=(Choice("A", "x"),))])
    wider = table.set_column(3, "trace", table.column("trace").cast(pa.large_string()))
    wider = wider.set_column(8, "token_end", table.column("token_end").cast(pa.list_(pa.int64())))
    wider = wider.append_column("extra", pa.array([1]))
    assert same(from_table(wider)[0], from_table(table)[0])


def test_a_table_without_a_column_names_it() -> None:
    """The message has the missing column and the existing ones."""
    message = complaint(from_table, to_table([make_trace()]).drop_columns(["spans"]))
    assert message.startswith("no column spans (found benchmark, item_id")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("correct", pa.array(["maybe"])),
        ("token_end", pa.array([9])),
        ("token_logprob", pa.array([["low", "high"]])),
        ("spans", pa.array([["0-3"]])),
        ("choices", pa.array([["yes", "no"]])),
        ("choices", pa.array([[None]], pa.list_(pa.struct({"label": pa.string(), "text": pa.string()})))),
        ("trace", pa.array([None], pa.string())),
    ],
)
def test_a_table_with_values_that_are_no_trace_is_refused(column: str, values: pa.Array) -> None:
    """A column of another type, or a null in a required column, gives a one-line error."""
    table = to_table([make_trace(token_end=[4, 9], token_logprob=[-1.0, -2.0])])
    complaint(from_table, table.set_column(arrow_schema().names.index(column), column, values))


@cases(50)
@given(texts(), st.integers(0xD800, 0xDFFF), st.data())
def test_no_lone_surrogate_gets_in(text: str, surrogate: int, data: st.DataObject) -> None:
    """Half a surrogate pair anywhere in a trace is refused, because no file can hold it."""
    at = data.draw(st.integers(0, len(text)))
    complaint(make_trace, trace="a" + text[:at] + chr(surrogate) + text[at:])


def test_a_changed_copy_is_checked_again() -> None:
    """``dataclasses.replace`` validates its result."""
    with pytest.raises(TraceError):
        dataclasses.replace(make_trace(token_end=[9], token_logprob=[-1.0]), trace="shorter")


def test_spans_of_an_array_are_read() -> None:
    """An integer array of shape (spans, 2) is a sequence of pairs, also without a row."""
    assert make_trace(spans=np.array([[0, 1], [2, 4]])).spans == ((0, 1), (2, 4))
    assert make_trace(spans=np.empty((0, 2), dtype=int), choices=np.array([])).spans is None
    assert "its benchmark is a int, not text" in complaint(Trace, 5, "1", "q", "t")


def test_missing_values_of_pandas_are_null_in_json() -> None:
    """NA and NaT are null, as NaN is, never the text of their names."""
    assert plain({"rows": pd.Series([1, None], dtype="Int64"), "at": pd.NaT}) == {"rows": [1, None], "at": None}
