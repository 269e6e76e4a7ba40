"""The gold choice is stored as its label, in whatever form the data names it."""

from __future__ import annotations

from typing import Any

import pytest

from rbridge_traces import Choice, TraceImportError, import_traces
from rbridge_traces.gold import gold_label, gold_label_if_known

from .support import complaint, jsonl

CITIES = [Choice("A", "Rome"), Choice("B", "Oslo"), Choice("C", "Bern"), Choice("D", "Lima")]
NUMBERS = [Choice("A", "1"), Choice("B", "2"), Choice("C", "3"), Choice("D", "4")]
NUMBERED = [Choice("1", "Rome"), Choice("2", "Oslo"), Choice("3", "Bern"), Choice("4", "Lima")]


@pytest.mark.parametrize(
    ("gold", "choices", "label"),
    [
        (3, CITIES, "D"),
        ("3", CITIES, "D"),
        (3.0, CITIES, "D"),
        (0, CITIES, "A"),
        ("D", CITIES, "D"),
        ("d", CITIES, "D"),
        ("(D)", CITIES, "D"),
        ("Lima", CITIES, "D"),
        (" lima ", CITIES, "D"),
        (3, NUMBERED, "3"),
        ("4", NUMBERED, "4"),
        (4, NUMBERS, "D"),
        (0, NUMBERS, "A"),
        (1, [Choice("A", "0"), Choice("B", "1")], "B"),
    ],
)
def test_a_label_an_index_or_a_text_becomes_the_label(gold: Any, choices: list[Choice], label: str) -> None:
    """MMLU's gold 3 of four choices is D; a numeric label is that label; an index and a text may agree."""
    assert gold_label(gold, choices) == label


@pytest.mark.parametrize(("gold", "label"), [(1, "A"), ("4", "D"), (4.0, "D")])
def test_indexes_may_count_from_one(gold: Any, label: str) -> None:
    """The user may set that indexes count from 1."""
    assert gold_label(gold, CITIES, count_from=1) == label


@pytest.mark.parametrize(
    ("gold", "choices", "why"),
    [
        (4, CITIES, "no index from 0; give the label"),
        (5, CITIES, "no index from 0; give the label"),
        (-1, CITIES, "no index from 0"),
        (1.5, CITIES, "no label"),
        ("E", CITIES, "beside choices labelled A, B, C, D"),
        (0, NUMBERED, "no label"),
        (3, NUMBERS, "index of choice D or the text of choice C"),
        ("Oslo", [Choice("A", "Oslo"), Choice("B", "Oslo")], "no text of one choice"),
    ],
)
def test_what_names_no_choice_or_two_is_refused(gold: Any, choices: list[Choice], why: str) -> None:
    """The one-line error has the gold value and the choices."""
    assert why in complaint(gold_label, gold, choices, error=TraceImportError)


def test_published_golds_are_converted_where_they_can_be() -> None:
    """``pull`` converts an index to its label and keeps a gold value that matches no choice."""
    assert gold_label_if_known("3", CITIES) == "D"
    assert gold_label_if_known("40", CITIES) == "40"
    assert gold_label_if_known("4", None) == "4"
    assert gold_label_if_known(None, CITIES) is None


def test_import_converts_an_index_and_counts_it(tmp_path: Any) -> None:
    """MMLU's rows are converted; an index beyond the last choice shows that the file counts from 1."""
    row = {"question": "Which?", "trace": "It is Lima.", "choices": ["Rome", "Oslo", "Bern", "Lima"]}
    path = jsonl(tmp_path / "mmlu.jsonl", [row | {"gold": gold} for gold in (3, 0, "B")])
    report = import_traces(path, benchmark="mmlu_pro_stem")
    assert [trace.gold for trace in report.traces] == ["D", "A", "B"]
    assert report.gold_indexes == 2
    path = jsonl(tmp_path / "from1.jsonl", [row | {"gold": gold} for gold in (1, 4)])
    message = complaint(import_traces, path, benchmark="mmlu_pro_stem", error=TraceImportError)
    assert "row 2: the gold is '4'" in message
    assert "--gold-from 1" in message
    report = import_traces(path, benchmark="mmlu_pro_stem", gold_from=1)
    assert [trace.gold for trace in report.traces] == ["A", "D"]


def test_many_indexes_without_a_zero_are_doubtful(tmp_path: Any) -> None:
    """With 16 indexes and none that decides between counting from 0 and 1, the user must set the base."""
    row = {"question": "Which?", "trace": "It is Lima.", "choices": ["Rome", "Oslo", "Bern", "Lima"]}
    path = jsonl(tmp_path / "doubt.jsonl", [row | {"gold": 1 + n % 3} for n in range(16)])
    assert "--gold-from 0 or --gold-from 1" in complaint(
        import_traces, path, benchmark="mmlu_pro_stem", error=TraceImportError
    )
    for gold_from, labels in ((0, "BCD"), (1, "ABC")):
        report = import_traces(path, benchmark="mmlu_pro_stem", gold_from=gold_from)
        assert "".join(trace.gold or "" for trace in report.traces[:3]) == labels


def test_a_gold_without_choices_stays_as_it_is(tmp_path: Any) -> None:
    """Without choices, a number is the answer of an open question."""
    path = jsonl(tmp_path / "open.jsonl", [{"question": "2 + 1?", "trace": "It is 3.", "gold": 3}])
    assert import_traces(path, benchmark="gsm8k").traces[0].gold == "3"


def test_a_number_of_thousands_of_digits_is_no_index() -> None:
    """The error has the choices, as for any other gold that is none of them."""
    assert "it is no label" in complaint(gold_label, "1" * 5000, CITIES, error=TraceImportError)
