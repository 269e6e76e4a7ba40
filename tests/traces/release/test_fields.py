"""Assignment of a release's fields to the targets of a trace."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rbridge_traces import TraceError, TraceImportError
from rbridge_traces.release.fields import Kind, map_fields

from ..support import complaint

CHAT = {"choices": [{"message": {"content": "{}"}, "logprobs": {"content": []}}]}

MAPPED: list[tuple[str, Kind, dict[str, Any], dict[str, str]]] = [
    (
        "index is the item where nothing else is",
        "tokens",
        {"index": 4, "token_index": 0, "token": "a", "logprob": -0.5},
        {"item_id": "index", "position": "token_index", "token": "token", "logprob": "logprob"},
    ),
    (
        "index is the position where an id is",
        "tokens",
        {"question_id": 4, "index": 0, "text": "a", "token_logprob": -0.5},
        {"item_id": "question_id", "position": "index", "token": "text", "logprob": "token_logprob"},
    ),
    (
        "an id comes before an index, and both before a question",
        "tokens",
        {"question": "?", "idx": 3, "id": "a", "tok": 1, "token": "b", "p": 0.5},
        {"item_id": "id", "position": "idx", "token": "token", "probability": "p"},
    ),
    (
        "the tokens of top_logprobs are no fields",
        "tokens",
        {"id": 1, "token": "a", "logprob": -0.5, "top_logprobs": {"p": -0.5, "bytes": -1.0, "pos": -2.0}},
        {"item_id": "id", "token": "token", "logprob": "logprob"},
    ),
    (
        "case and punctuation do not count",
        "completions",
        {"Question-ID": 1, "Reasoning": "r", "finalAnswer": "4", "Ground Truth": "4", "isCorrect": True},
        {"item_id": "Question-ID", "reasoning": "Reasoning", "final_answer": "finalAnswer", "gold": "Ground Truth"}
        | {"correct": "isCorrect"},
    ),
    (
        "an answer beside the reasoning alone is the model's",
        "completions",
        {"reasoning": "r", "answer": "4"},
        {"reasoning": "reasoning", "final_answer": "answer"},
    ),
    (
        "an answer beside the model's own is the right one",
        "completions",
        {"reasoning": "r", "pred": "4", "answer": "5"},
        {"reasoning": "reasoning", "final_answer": "pred", "gold": "answer"},
    ),
    (
        "an answer beside the whole completion is the right one",
        "completions",
        {"response": '{"reasoning": "r", "final_answer": "4"}', "answer": "5"},
        {"completion": "response", "gold": "answer"},
    ),
    (
        "fields inside objects are found, but ids inside them are of other things",
        "completions",
        {"idx": 1, "answer": "5", "response": {"id": "chatcmpl-1", "reasoning": "r", "final_answer": "4"}},
        {
            "item_id": "idx",
            "reasoning": "response.reasoning",
            "final_answer": "response.final_answer",
            "gold": "answer",
        },
    ),
    (
        "a raw response is no list of answer options, and a stem is the question",
        "completions",
        {"question": {"stem": "?", "choices": [{"label": "A", "text": "x"}]}, **CHAT},
        {"response": "", "question": "question.stem", "choices": "question.choices"},
    ),
    (
        "a field that is null everywhere is not there",
        "completions",
        {"item_id": None, "id": 3, "reasoning": "r", "completion": None},
        {"item_id": "id", "reasoning": "reasoning"},
    ),
]


@pytest.mark.parametrize(("kind", "row", "expected"), [case[1:] for case in MAPPED], ids=[case[0] for case in MAPPED])
def test_fields_are_told_by_their_names(kind: Kind, row: dict[str, Any], expected: dict[str, str]) -> None:
    """Each target takes the first of its names that is present and not yet taken."""
    assert map_fields(kind, [row], {}).of == expected


def test_a_field_counts_if_any_row_fills_it() -> None:
    """A field that is missing, null or NaN in the first rows is found in later rows."""
    rows: list[dict[str, Any]] = [
        {"id": 1, "token": math.nan, "bytes": None},
        {"id": 1, "token": "b", "logprob": -1.0, "bytes": [98]},
    ]
    fields = map_fields("tokens", rows, {}).of
    assert (fields["token"], fields["bytes"], fields["logprob"]) == ("token", "bytes", "logprob")


def test_an_override_frees_the_field_that_it_replaces() -> None:
    """An overriding field serves only its target, and the field it replaces is free for the next target."""
    row = {"id": 1, "index": 2, "token": "a", "logprob": -1.0, "lp": -2.0}
    fields = map_fields("tokens", [row], {"tokens.item_id": "index", "tokens.logprob": "lp"}).of
    assert fields == {"item_id": "index", "token": "token", "logprob": "lp"}
    assert "position" not in map_fields("tokens", [row], {"tokens.position": "-"}).of


def test_wrong_overrides_are_named() -> None:
    """An unknown target or field is an error that suggests the closest name."""
    row = {"id": 1, "token": "a", "logprob": -1.0}
    assert "no target 'tokens.logprobs' (did you mean tokens.logprob?); the targets are" in complaint(
        map_fields, "tokens", [row], {"tokens.logprobs": "x"}
    )
    assert (
        "no field logprobs (did you mean logprob?) for tokens.logprob; the rows have id, token, logprob"
        in complaint(map_fields, "tokens", [row], {"tokens.logprob": "logprobs"}, error=TraceImportError)
    )
    assert "no target 'lp'" in complaint(map_fields, "tokens", [row], {"lp": "lp"}, error=TraceError)
