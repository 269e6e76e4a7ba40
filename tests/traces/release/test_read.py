"""Completions and token rows in any layout become traces with the confidence of every character."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_metrics import character_confidence
from rbridge_traces import TraceImportError

from ...error_bounds import assert_within, stored_bound
from ..answers import assert_confidence, confidence_of
from ..releases import LAYOUTS, as_json, as_lines, by_row_number, items, plain, record, rows_of
from ..support import complaint
from .support import ITEMS, fault, pull, rewrite


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["traces/gsm8k", "GSM8K"])
def test_every_layout_gives_the_same_traces(tmp_path: Path, layout: str, place: str) -> None:
    """Naming, order, splitting and compression of the rows do not change texts and character confidences."""
    LAYOUTS[layout](tmp_path / place, ITEMS)
    report = pull(tmp_path)
    assert not report.dropped
    assert report.completion_tokens == sum(len(item.cut.pieces) for item in ITEMS)
    for trace, item in zip(report.traces, ITEMS, strict=True):
        stripped = layout == "lists"
        text = item.answer.reasoning
        assert trace.trace == (text.strip() if stripped else text)
        assert (trace.question, trace.gold, trace.final_answer) == (item.question, item.gold, item.answer.final_answer)
        assert trace.correct in (True, None)
        expected = confidence_of(item.answer, item.cut)
        start = len(text) - len(text.lstrip()) if stripped else 0
        assert_confidence(trace.token_end, trace.token_logprob, expected[start : start + len(trace.trace)])


def test_ids_are_the_authors_own_or_row_numbers(tmp_path: Path) -> None:
    """An id field is kept as text; without one, items are numbered from 0, as the data set's questions are."""
    plain(tmp_path / "gsm8k", ITEMS)
    assert [trace.item_id for trace in pull(tmp_path).traces] == [f"item-{n}" for n in range(6)]
    by_row_number(1)(tmp_path / "numbered" / "gsm8k", ITEMS)
    assert [trace.item_id for trace in pull(tmp_path / "numbered").traces] == [str(n) for n in range(6)]


def test_confidences_worked_by_hand(tmp_path: Path) -> None:
    r"""A newline written ``\n`` by tokens of 0.5 and 0.25 has confidence 0.375; its neighbours keep their own."""
    tokens = [('{"reasoning": "', 1.0), ("a", 0.9), ("\\", 0.5), ("nb", 0.25), ('"}', 0.125)]
    as_json(tmp_path / "gsm8k" / "a.json", [{"id": 7, "question": "?", "reasoning": "a\nb"}])
    rows = [{"id": 7, "position": n, "token": token, "logprob": np.log(p)} for n, (token, p) in enumerate(tokens)]
    as_lines(tmp_path / "gsm8k" / "a.jsonl", rows)
    (trace,) = pull(tmp_path).traces
    assert trace.trace == "a\nb"
    expected = [0.9, 0.375, 0.25]
    assert_within(character_confidence(trace.token_end, trace.token_logprob), expected, stored_bound(expected))


@pytest.mark.parametrize(("before", "after"), [("", ""), ("Let me think. ", " Done.")])
def test_reasoning_without_json_is_found_as_it_stands(tmp_path: Path, before: str, after: str) -> None:
    """Tokens that spell the reasoning without JSON are accepted, if the reasoning occurs once among other text."""
    as_json(tmp_path / "gsm8k" / "a.json", [{"id": 7, "question": "?", "reasoning": "a = é"}])
    text = [*before, "a", " = ", "é", *after]
    rows = [{"id": 7, "position": n, "token": token, "logprob": -float(n)} for n, token in enumerate(text)]
    as_lines(tmp_path / "gsm8k" / "a.jsonl", rows)
    (trace,) = pull(tmp_path).traces
    assert trace.trace == "a = é"
    assert trace.token_end.tolist() == [1, 4, 5]
    assert trace.token_logprob.tolist() == [-float(len(before) + n) for n in range(3)]


def test_items_that_the_authors_failed_at_are_counted(root: Path, folder: Path) -> None:
    """Empty reasonings and malformed completions are counted without --skip-mismatched, as the files are correct."""

    def fail(rows: list[dict[str, Any]]) -> None:
        rows[0]["reasoning"] = ""
        rows[1]["reasoning"] = None

    rewrite(folder / "completions.json", fail)
    report = pull(root)
    assert [trace.item_id for trace in report.traces] == ["item-2", "item-3", "item-4", "item-5"]
    assert report.dropped == {"empty reasoning": 2}


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("failed", [0, 5])
def test_row_numbers_from_0_and_from_1_are_told_apart(tmp_path: Path, base: int, failed: int) -> None:
    """Numbers 1 to 5 of six rows fit both counts; the item without reasoning, which has no token rows, decides."""
    by_row_number(base)(tmp_path / "gsm8k", ITEMS)
    rewrite(tmp_path / "gsm8k" / "gsm8k.json", lambda rows: rows[failed].update(reasoning=""))
    for part in (tmp_path / "gsm8k").glob("*.jsonl"):
        rows = [json.loads(line) for line in part.read_text().splitlines()]
        as_lines(part, [row for row in rows if row["index"] != failed + base])
    report = pull(tmp_path)
    assert [trace.question for trace in report.traces] == [item.question for item in ITEMS if item.number != failed]
    assert report.dropped == {"empty reasoning": 1}


def test_malformed_completions_are_counted(tmp_path: Path) -> None:
    """If no field holds the reasoning, a completion truncated inside its JSON is counted."""
    as_json(
        tmp_path / "gsm8k" / "a.json", [{"question": "?", "completion": raw} for raw in ('{"reasoning": "a"}', "{")]
    )
    as_lines(
        tmp_path / "gsm8k" / "a.jsonl",
        [{"id": n, "tokens": [raw], "logprobs": [-0.5]} for n, raw in enumerate(('{"reasoning": "a"}', "{"))],
    )
    report = pull(tmp_path)
    assert [trace.trace for trace in report.traces] == ["a"]
    assert report.dropped == {"malformed completion": 1}


def test_fields_can_be_named(tmp_path: Path) -> None:
    """--field selects fields with unknown names, including fields inside objects."""
    item = ITEMS[2]
    folder = tmp_path / "gsm8k"
    as_json(folder / "a.json", [{"nr": 5, "frage": item.question, "ki": {"gedanken": item.answer.reasoning}}])
    entries = [{"aufgabe": 5, "ort": n, "wort": e["token"], "b": e["bytes"], "ln": {"p": e["logprob"]}}
               for n, e in enumerate(item.entries)]  # fmt: skip
    as_lines(folder / "a.jsonl", entries)
    overrides = {
        "completions.item_id": "nr", "completions.question": "frage", "completions.reasoning": "ki.gedanken",
        "tokens.item_id": "aufgabe", "tokens.position": "ort", "tokens.token": "wort", "tokens.bytes": "b",
        "tokens.logprob": "ln.p",
    }  # fmt: skip
    (trace,) = pull(tmp_path, overrides=overrides).traces
    assert (trace.item_id, trace.question, trace.trace) == ("5", item.question, item.answer.reasoning)
    assert_confidence(trace.token_end, trace.token_logprob, confidence_of(item.answer, item.cut))
    for key in overrides:
        wrong = overrides | {key: "nichts"}
        message = complaint(pull, tmp_path, overrides=wrong, error=TraceImportError)
        assert f"no field nichts for {key}; the rows have " in message


def test_a_field_that_misleads_can_be_left_out(root: Path, folder: Path) -> None:
    """``-`` leaves out a field whose name suggests a completion but that holds something else."""
    rewrite(folder / "completions.json", lambda rows: [row.update(completion="see the other file") for row in rows])
    assert "the tokens do not spell the text" in fault(root)
    assert len(pull(root, overrides={"completions.completion": "-"}).traces) == len(ITEMS)


def test_bytes_may_come_only_where_text_cannot_say_them(root: Path, folder: Path) -> None:
    """Bytes are needed only for tokens that hold part of a character."""

    def thin(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if "\ufffd" not in row["token"]:
                del row["bytes"]

    whole = [trace.token_logprob.tolist() for trace in pull(root).traces]
    for part in folder.glob("*.jsonl"):
        rewrite(part, thin)
    assert [trace.token_logprob.tolist() for trace in pull(root).traces] == whole


def test_a_release_of_one_item(tmp_path: Path) -> None:
    """One completion with one token row per file is enough."""
    (item,) = items(1)
    plain(tmp_path / "gsm8k", [item])
    (trace,) = pull(tmp_path).traces
    assert trace.trace == item.answer.reasoning


def test_record_and_rows_are_what_they_say() -> None:
    """Check of the helpers: the tokens spell the completion, and the positions count them."""
    for item in ITEMS:
        assert b"".join(bytes(row["bytes"]) for row in rows_of(item)).decode() == record(item)["completion"]
