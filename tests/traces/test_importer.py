"""Fields of a user's file become the fields of a trace, and an invalid row is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import Choice, ImportReport, Trace, TraceImportError, import_traces

from ..metrics.strategies import cases
from .support import complaint, jsonl

ROW = {"question": "2 + 2?", "trace": "2 and 2 is 4."}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Import rows with a mapping given as keyword arguments."""

    def run(*rows: dict[str, Any], skip_empty: bool = False, **mapping: str) -> ImportReport:
        path = jsonl(tmp_path / "rows.jsonl", list(rows))
        return import_traces(path, benchmark="gsm8k", mapping=mapping, skip_empty=skip_empty)

    return run


def only(report: ImportReport) -> Trace:
    """Return the only trace of a report."""
    (trace,) = report.traces
    return trace


def test_fields_of_the_same_name_need_no_mapping(load: Any) -> None:
    """A file with the package's own field names is imported without options."""
    row = {
        **ROW,
        "item_id": "x/1",
        "choices": ["4", "5"],
        "final_answer": "4",
        "gold": "A",
        "correct": True,
        "token_end": [5, 13],
        "token_logprob": [-0.5, -0.25],
        "spans": [[0, 1], [6, 7]],
        "other": {"ignored": []},
    }
    trace = only(load(row))
    assert (trace.benchmark, trace.item_id, trace.question, trace.trace) == ("gsm8k", "x/1", "2 + 2?", "2 and 2 is 4.")
    assert trace.choices == (Choice("A", "4"), Choice("B", "5"))
    assert (trace.final_answer, trace.gold, trace.correct) == ("4", "A", True)
    assert trace.spans == ((0, 1), (6, 7))
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    assert (trace.token_end.tolist(), trace.token_logprob.tolist()) == ([5, 13], [-0.5, -0.25])


def test_optional_fields_may_be_absent_or_null(load: Any) -> None:
    """A question and a trace are enough; null means absent."""
    assert only(load(ROW)).choices is only(load({**ROW, "choices": None, "gold": None, "spans": []})).choices is None


def test_a_mapping_leads_into_objects_and_lists(load: Any) -> None:
    """A mapping selects nested fields, as in CommonsenseQA's files, and list entries by their number."""
    row = {
        "id": 15,
        "question": {"stem": "Where?", "choices": [{"label": "A", "text": "motel"}, {"label": "B", "text": "chair"}]},
        "answerKey": "B",
        "response": [{"text": "Here."}],
        "score": 1,
    }
    mapping = {
        "question": "question.stem",
        "choices": "question.choices",
        "gold": "answerKey",
        "trace": "response.0.text",
        "final_answer": "question.choices.1.text",
        "correct": "score",
    }
    trace = only(load(row, **mapping))
    assert (trace.item_id, trace.question, trace.trace, trace.gold) == ("15", "Where?", "Here.", "B")
    assert trace.choices == (Choice("A", "motel"), Choice("B", "chair"))
    assert (trace.final_answer, trace.correct) == ("chair", True)


def test_a_field_whose_name_has_a_dot_is_found(load: Any) -> None:
    """A field with the literal name takes precedence over a path."""
    assert only(load({**ROW, "a.b": "flat", "a": {"b": "deep"}}, gold="a.b")).gold == "flat"


@pytest.mark.parametrize("first", ["item_id", "id", "task_id", "question_id", "unique_id"])
def test_an_item_id_is_found_under_its_usual_names(load: Any, first: str) -> None:
    """The first of the usual names that a row has is used as its id."""
    names = ["item_id", "id", "task_id", "question_id", "unique_id"]
    row = {**ROW, **{name: f"{name}-1" for name in names[names.index(first) :]}}
    assert only(load({**row, "item_id": row.get("item_id")})).item_id == f"{first}-1"


def test_without_an_id_the_row_number_is_the_id(load: Any) -> None:
    """Rows are numbered from 1, as in messages."""
    assert [trace.item_id for trace in load(ROW, ROW, ROW).traces] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (3.0, "3.0"), (-0.5, "-0.5"), ("003", "003"), (10**30, str(10**30))]
)
def test_numbers_become_text_as_they_are_written(load: Any, value: object, text: str) -> None:
    """Numbers are neither rounded nor reformatted."""
    trace = only(load({**ROW, "gold": value, "item_id": value}))
    assert (trace.gold, trace.item_id) == (text, text)
    trace = only(load({**ROW, "gold": value, "choices": [value]}))
    assert (trace.gold, trace.choices) == ("A", (Choice("A", text),))


@pytest.mark.parametrize(("value", "correct"), [(True, True), (False, False), (1, True), (0, False), (None, None)])
def test_correct_is_a_truth_value_or_a_score(load: Any, value: object, correct: bool | None) -> None:
    """Score columns write 0 and 1."""
    assert only(load({**ROW, "correct": value})).correct is correct


@pytest.mark.parametrize(
    "choices",
    [
        ["four", "five"],
        [{"label": "A", "text": "four"}, {"label": "B", "text": "five", "para": "x"}],
        {"text": ["four", "five"], "label": ["A", "B"]},
        {"A": "four", "B": "five", "C": None},
    ],
)
def test_choices_are_read_in_any_of_their_forms(load: Any, choices: object) -> None:
    """The forms of MMLU-Pro, CommonsenseQA and ARC, and an object of texts by label, are read."""
    assert only(load({**ROW, "choices": choices})).choices == (Choice("A", "four"), Choice("B", "five"))


def test_labels_are_kept_as_they_are(load: Any) -> None:
    """Some items of ARC have the labels 1 to 4."""
    trace = only(load({**ROW, "choices": {"text": ["x", "y"], "label": [1, "2"]}, "gold": 2}))
    assert trace.choices == (Choice("1", "x"), Choice("2", "y"))
    assert trace.gold == "2"


def test_inline_spans_are_cut_out_of_the_trace(load: Any) -> None:
    """Marks become spans, in characters of the trace without marks; a trace without marks has no spans."""
    marked = {"question": "q", "reasoning": "𝔘 <span>is</span> <span>here</span>"}
    traces = load(marked, {"question": "q", "reasoning": "plain"}, trace="reasoning", spans="inline").traces
    assert [trace.trace for trace in traces] == ["𝔘 is here", "plain"]
    assert [trace.spans for trace in traces] == [((2, 4), (5, 9)), None]


def test_marks_stay_in_the_text_unless_asked_for(load: Any) -> None:
    """Without the option, a trace that contains HTML is not changed."""
    assert only(load({**ROW, "trace": "use <span>x</span>"})).trace == "use <span>x</span>"


@pytest.mark.parametrize("empty", ["", " \n", None])
def test_empty_traces_are_refused_or_counted(load: Any, empty: str | None) -> None:
    """The message names the row and the remedy; with ``skip_empty``, empty traces are left out and counted."""
    rows = [{**ROW, "id": number, "trace": trace} for number, trace in enumerate(["a", empty, "b", empty])]
    message = complaint(load, *rows, error=TraceImportError)
    assert "rows.jsonl, row 2: the trace is empty; leave such rows out with --skip-empty" in message
    report = load(*rows, skip_empty=True)
    assert ([trace.item_id for trace in report.traces], report.skipped_empty) == (["0", "2"], 2)


def test_a_trace_that_is_marks_only_is_empty(load: Any) -> None:
    """A trace is empty if no text remains without the marks."""
    assert load({**ROW, "trace": "<span> </span>"}, skip_empty=True, spans="inline").skipped_empty == 1


def test_an_unknown_target_is_answered_with_the_known_ones(load: Any) -> None:
    """A misspelt field of a trace is reported before any row is read."""
    message = complaint(
        import_traces, "no-such-file", benchmark="gsm8k", mapping={"traces": "x"}, error=TraceImportError
    )
    assert message.startswith("cannot map to 'traces' (did you mean trace?); a trace has the fields item_id, question")
    assert "token_logprob" in message


def test_a_name_of_no_benchmark_is_refused(tmp_path: Path) -> None:
    """The benchmark's name is checked before any row is read."""
    assert "cannot name a benchmark" in complaint(import_traces, "no-such-file", benchmark="my bench")


BAD_ROWS: list[tuple[dict[str, Any], dict[str, str], str]] = [
    (
        {"question": "q", "reason": "r"},
        {},
        "no field trace for the trace; the row has question, reason; map one with trace=",
    ),
    ({"trace": "t", "problem": "p"}, {}, "no field question for the question; the row has trace, problem;"),
    (ROW, {"gold": "anser"}, "no field anser for the gold; the row has question, trace;"),
    ({**ROW, "answer": 3}, {"gold": "anser"}, "no field anser (did you mean answer?) for the gold;"),
    (
        {**ROW, "question": {"stem": "s"}},
        {"question": "question.stm"},
        "no field question.stm (did you mean question.stem?)",
    ),
    ({**ROW, "parts": ["a"]}, {"gold": "parts.1"}, "no field parts.1"),
    ({**ROW, "parts": ["a"]}, {"gold": "parts.-1"}, "no field parts.-1"),
    (
        {**ROW, "question": {"stem": "s"}},
        {},
        "the question is a dict, expected text; name the field inside it, as in question.stem",
    ),
    ({**ROW, "trace": ["a"]}, {}, "the trace is a list, expected text; name the field inside it"),
    ({**ROW, "gold": True}, {}, "the gold is a bool, expected text"),
    ({**ROW, "question": None}, {}, "the question is null"),
    ({**ROW, "key": None}, {"item_id": "key"}, "the item_id (key) is null"),
    ({**ROW, "correct": "yes"}, {}, "correct is 'yes', expected true, false, 1 or 0"),
    ({**ROW, "correct": 2}, {}, "correct is 2, expected true, false, 1 or 0"),
    ({**ROW, "choices": "A) x B) y"}, {}, "the choices are a str, expected at most 26 texts"),
    ({**ROW, "choices": ["x"] * 27}, {}, "the choices are a list of 27, expected at most 26 texts"),
    ({**ROW, "choices": [["x"]]}, {}, "the choice is a list, expected text"),
    ({**ROW, "choices": ["x", None]}, {}, "a choice is null"),
    ({**ROW, "choices": [{"label": "A"}]}, {}, "choice 1 has label; expected label, text"),
    ({**ROW, "choices": {"label": ["A"], "text": ["x", "y"]}}, {}, "the choices have 1 labels but 2 texts"),
    ({**ROW, "choices": {"label": ["A", "A"], "text": ["x", "y"]}}, {}, "two choices share a label"),
    ({**ROW, "trace": "a <span>b"}, {"spans": "inline"}, "the <span> at character 2 is never closed"),
    ({**ROW, "spans": "0-3"}, {}, "its spans are not [start, end) pairs"),
    ({**ROW, "spans": [[0, 99]]}, {}, "span [0, 99) is empty, out of order"),
    ({**ROW, "token_end": [13]}, {}, "it has only one of token_end and token_logprob"),
    ({**ROW, "token_end": [13], "token_logprob": ["-1"]}, {}, "its token_logprob is not a list of numbers"),
    ({**ROW, "trace": "\ud83d"}, {}, "its trace holds half a surrogate pair"),
]


@pytest.mark.parametrize(("row", "mapping", "expected"), BAD_ROWS)
def test_a_row_that_is_no_trace_is_named(
    load: Any, tmp_path: Path, row: dict[str, Any], mapping: dict[str, str], expected: str
) -> None:
    """The message has the file, the row number, the value and the expected form."""
    message = complaint(load, row, error=TraceImportError, **mapping)
    assert message.startswith(f"{tmp_path}/rows.jsonl, row 1: ")
    assert expected in message


def test_two_rows_of_one_item_are_named(load: Any) -> None:
    """A repeated id, as in a file with several samples per item, is an error."""
    message = complaint(load, {**ROW, "id": 7}, {**ROW, "id": 8}, {**ROW, "id": 7}, error=TraceImportError)
    assert "row 3: the item_id 7 is that of row 1 too" in message


def test_parquet_columns_are_fields(tmp_path: Path) -> None:
    """Parquet gives the same traces: nested structs, lists, and a missing number stored as NaN in a float column."""
    table = pa.table(
        {
            "question": pa.array([{"stem": "a?"}, {"stem": "b?"}]),
            "trace": ["ab", "cd"],
            "choices": pa.array([{"text": ["x"], "label": ["1.5"]}] * 2),
            "gold": pa.array([1.5, np.nan]),
            "token_end": pa.array([[1, 2], [2]]),
            "token_logprob": pa.array([[-0.5, -0.5], [-0.25]]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    report = import_traces(str(tmp_path / "x.parquet"), benchmark="csqa", mapping={"question": "question.stem"})
    assert [(trace.question, trace.gold) for trace in report.traces] == [("a?", "1.5"), ("b?", None)]
    assert report.traces[0].choices == (Choice("1.5", "x"),)
    assert all(trace.has_confidence for trace in report.traces)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["label", "text", "A"]), inside),
    max_leaves=5,
)


@cases(150)
@given(
    st.dictionaries(st.sampled_from(["choices", "gold", "correct", "spans", "token_end", "token_logprob"]), ANYTHING)
)
def test_whatever_a_row_holds_it_is_a_trace_or_one_line(extra: dict[str, Any]) -> None:
    """Any value of any field gives a valid trace or a one-line error."""
    with fsspec.open("memory://anything.jsonl", "wb") as file:
        file.write(json.dumps({**ROW, **extra}).encode())
    message, traces = "", []
    try:
        traces = import_traces("memory://anything.jsonl", benchmark="gsm8k").traces
    except TraceImportError as error:
        message = str(error)
    assert [trace.trace for trace in traces] == ([] if message else [ROW["trace"]])
    assert len(message.splitlines()) == (0 if traces else 1)


def test_nan_is_a_missing_value(tmp_path: Path) -> None:
    """NaN, which pandas writes for null, is no text, no label and no choice."""
    row = {"question": "q", "trace": "t", "id": math.nan, "correct": math.nan, "gold": math.nan}
    rows = [row | {"choices": {"A": "x", "B": math.nan}, "final_answer": math.nan}, row | {"choices": math.nan}]
    first, second = import_traces(jsonl(tmp_path / "a.jsonl", rows), benchmark="mine").traces
    assert (first.item_id, first.choices, first.final_answer) == ("1", (Choice("A", "x"),), None)
    assert (first.gold, first.correct, second.choices) == (None, None, None)
    path = jsonl(tmp_path / "b.jsonl", [row | {"choices": ["x", math.nan]}])
    assert "a choice is null" in complaint(import_traces, path, benchmark="mine", error=TraceImportError)


def test_a_cell_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    """The message has the row and the beginning of the cell."""
    (tmp_path / "a.csv").write_text(f'question,trace,choices\nq,t,"{"[" * 100_000}"\n')
    message = complaint(import_traces, str(tmp_path / "a.csv"), benchmark="mine", error=TraceImportError)
    assert "row 1: the choices is '[[[" in message
