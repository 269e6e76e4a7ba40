"""Releases whose authors parsed LaTeX as plain JSON: the traces have the LaTeX that the model meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_metrics import character_confidence
from rbridge_traces.release.read import release_readers
from rbridge_traces.release.report import ReleaseReport

from ..releases import as_json, as_lines

RAW = r'{"reasoning": "Half is \frac{1}{2} \times 12.\nSo 3 \neq 4. ", "final_answer": "\frac{12}{2}"}'
MEANT = "Half is \\frac{1}{2} \\times 12.\nSo 3 \\neq 4. "


def pulled(folder: Path, raw: str, **record: Any) -> ReleaseReport:
    """Write and read a release with one completion and one token per character."""
    as_json(folder / "gsm8k" / "completions.json", [{"item_id": "1", "question": "?", "gold": "6", **record}])
    tokens = [{"token": character, "bytes": list(character.encode())} for character in raw]
    rows = [{"item_id": "1", "position": at, "logprob": -at / 100, **token} for at, token in enumerate(tokens)]
    as_lines(folder / "gsm8k" / "tokens.jsonl", rows)
    return release_readers(folder, {})["gsm8k"]()


@pytest.mark.parametrize("strip", [str, str.strip])
@pytest.mark.parametrize("of_record", ["as a parser reads it", "as it was meant", "absent"])
def test_the_trace_is_repaired_whatever_the_record_made_of_it(tmp_path: Path, of_record: str, strip: Any) -> None:
    """The record may hold form feeds, be correct or be absent; confidences follow the characters."""
    read = (
        json.loads(RAW)
        if of_record == "as a parser reads it"
        else {"reasoning": MEANT, "final_answer": r"\frac{12}{2}"}
    )
    record = {} if of_record == "absent" else {**read, "reasoning": strip(read["reasoning"])}
    report = pulled(tmp_path, RAW, completion=RAW, **record)
    (trace,) = report.traces
    text = MEANT if of_record == "absent" else strip(MEANT)
    assert (trace.trace, trace.final_answer) == (text, r"\frac{12}{2}")
    assert report.repairs == "4 unescaped backslashes of LaTeX repaired in 1 answers"
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    at = RAW.index("Half")
    np.testing.assert_allclose(
        character_confidence(trace.token_end, trace.token_logprob)[:12],
        np.exp(-np.arange(at, at + 12) / 100),
        rtol=1e-6,
    )


def test_a_completion_that_no_parser_reads_becomes_a_trace(tmp_path: Path) -> None:
    """Reasoning that the authors cut out themselves is matched, decoded or as written."""
    raw = r'{"reasoning": "\sqrt{4} is 2, \\pi is not.", "final_answer": "2"}'
    meant, stands = r"\sqrt{4} is 2, \pi is not.", r"\sqrt{4} is 2, \\pi is not."
    for name, record, expected in (
        ("a", {}, meant),
        ("b", {"reasoning": meant}, meant),
        ("c", {"reasoning": stands}, stands),
    ):
        report = pulled(tmp_path / name, raw, completion=raw, **record)
        assert [trace.trace for trace in report.traces] == [expected]


def test_a_final_answer_that_the_authors_worked_out_stays(tmp_path: Path) -> None:
    """Only a final answer that a parser made of the completion is replaced."""
    (trace,) = pulled(tmp_path, RAW, completion=RAW, reasoning=MEANT, final_answer="6").traces
    assert trace.final_answer == "6"
