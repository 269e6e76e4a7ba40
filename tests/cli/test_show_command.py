"""``rbridge traces show``: each character has the colour of its value, and no trace controls the terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_tasks.cli import main
from rbridge_tasks.cli.shades import BACKGROUNDS
from rbridge_traces import TraceCache

from ..traces.support import make_trace, write
from .terminal import IN_COLOUR, shade_of, shown_characters, shown_trace, table_of

Rbridge = Callable[..., tuple[int, str, str]]

TEXT = "So 2 + 2 = 4,\nÜ😀 then 4."
ENDS = [2, 7, 14, 15, 16, len(TEXT)]
CONFIDENCES = [0.999, 0.05, 0.55, 0.31, 0.72, 0.9]
SPANS = ((3, 12), (15, 16))
HOSTILE = "a\x1b[31mred\x1b]0;title\x07 [bold]b[/bold] :smile: c\r\x9b2J\u202etxt\x00\x7f\tend"


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache with three traces: plain, hostile, and one without confidences; the second is wrong."""
    cache = TraceCache(str(tmp_path / "cache"))
    tokens = {"token_end": ENDS, "token_logprob": np.log(CONFIDENCES)}
    hostile = {"token_end": [len(HOSTILE)], "token_logprob": [-0.1], "question": "[red]why[/red]\x1b[2J?"}
    traces = [
        make_trace("1", TEXT, spans=SPANS, correct=False, gold="[4]", **tokens),
        make_trace("2", HOSTILE, correct=True, **hostile),
        make_trace("3", "no numbers"),
    ]
    write(cache, traces, confidence_model="gpt-4o")
    return cache


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: TraceCache) -> Rbridge:
    """Run ``rbridge traces show gsm8k ARGUMENTS`` with the given environment; return exit code, output and errors."""

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM"):
                patch.delenv(name, raising=False)
            for name, value in ({"RBRIDGE_CACHE": cache.root} | environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["rbridge", "traces", "show", "gsm8k", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def test_frontier_tokens_have_the_colour_of_their_confidence(show: Rbridge) -> None:
    """In colour, the background of every character is the shade of its token's confidence; spans are underlined."""
    code, out, err = show("1", **IN_COLOUR)
    assert (code, err) == (0, "")
    start = 0
    expected: list[tuple[str, str, bool]] = []
    for end, value in zip(ENDS, CONFIDENCES, strict=True):
        inside = [any(first <= i < last for first, last in SPANS) for i in range(start, end)]
        expected += [(TEXT[i], shade_of(value), inside[i - start]) for i in range(start, end)]
        start = end
    shown = shown_trace(out, TEXT)
    assert [entry for entry in shown if entry[0] != "\n"] == [entry for entry in expected if entry[0] != "\n"]
    assert "confidence of gpt-4o; underlined: marked spans" in out
    legend = [background for character, background, _ in shown_characters(out) if character == "." and background]
    assert legend[-10:] == list(BACKGROUNDS)
    assert "mean confidence 0.588" in out


def test_the_legend_can_be_left_out(show: Rbridge) -> None:
    """With --no-legend only the trace is coloured."""
    out = show("1", "--no-legend", **IN_COLOUR)[1]
    assert "underlined: marked spans" not in out
    coloured = "".join(character for character, background, _ in shown_characters(out) if background)
    assert coloured == TEXT.replace("\n", "")


def by_hand(tokenizer: Any, text: str) -> list[tuple[int, int, float, float]]:
    """Return start, end, confidence and weight of each token of a trace, computed character by character."""
    before = "Question: 2 + 2?\nAnswer: "
    offsets = tokenizer(before + text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    character_confidences: list[float] = []
    for end, value in zip(ENDS, CONFIDENCES, strict=True):
        character_confidences += [value] * (end - len(character_confidences))
    rows = []
    for start, end in offsets:
        if end > len(before):
            first, last = max(start - len(before), 0), end - len(before)
            rows.append((first, last, sum(character_confidences[first:last]) / (last - first)))
    low, high = min(row[2] for row in rows), max(row[2] for row in rows)
    return [(*row, (row[2] - low) / (high - low)) for row in rows]


def test_the_table_of_another_tokenizer_has_confidence_and_weight(
    show: Rbridge, checkpoint: Path, tokenizers: dict[str, Any]
) -> None:
    """Offsets, mean confidences and MinMax weights equal those computed by hand, to the digits printed."""
    code, out, _ = show("1", "--tokenizer", str(checkpoint), "--table")
    assert code == 0
    expected = [row for row in by_hand(tokenizers["bos"], TEXT) if row[1] > row[0]]
    rows = [row for row in table_of(out) if row[0] != row[1]]
    assert [(int(row[0]), int(row[1])) for row in rows] == [row[:2] for row in expected]
    np.testing.assert_allclose([[float(x) for x in row[2:4]] for row in rows], [row[2:] for row in expected], atol=1e-6)
    assert all(json.loads(row[4]) == TEXT[int(row[0]) : int(row[1])] for row in rows)


def test_weights_colour_the_tokens_of_another_tokenizer(
    show: Rbridge, checkpoint: Path, tokenizers: dict[str, Any]
) -> None:
    """With --tokenizer the colour is that of the token's weight; with --by confidence, that of its confidence."""
    rows = [row for row in by_hand(tokenizers["bos"], TEXT) if row[1] > row[0]]
    for options, column in (([], 3), (["--by", "confidence"], 2)):
        out = show("1", "--tokenizer", str(checkpoint), *options, **IN_COLOUR)[1]
        expected = {i: shade_of(row[column]) for row in rows for i in range(row[0], row[1])}
        shown = shown_trace(out, TEXT)
        assert {i: shown[i][1] for i in range(len(TEXT)) if TEXT[i] != "\n"} == {
            i: colour for i, colour in expected.items() if TEXT[i] != "\n"
        }
    assert (
        "weight within this trace, from the confidences of gpt-4o"
        in show("1", "--tokenizer", str(checkpoint), **IN_COLOUR)[1]
    )


def test_the_table_of_frontier_tokens_has_their_own_numbers(show: Rbridge) -> None:
    """Each token has a line: start, end, probability, and its quoted text."""
    rows = table_of(show("1", "--table")[1])
    assert [int(row[1]) for row in rows] == ENDS
    np.testing.assert_allclose([float(row[2]) for row in rows], CONFIDENCES, atol=1e-6)
    assert "".join(json.loads(row[3]) for row in rows) == TEXT


def test_a_tokenizer_written_in_python_works(show: Rbridge, tmp_path: Path) -> None:
    """The offsets of a tokenizer without offsets come from its decoder."""
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path / "bytes")
    code, out, _ = show("1", "--tokenizer", str(tmp_path / "bytes"), "--table")
    assert code == 0
    assert len(table_of(out)) == len(TEXT.encode()) + 1  # and the space before the trace
    assert "".join(json.loads(row[4]) for row in table_of(out)) == TEXT


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, IN_COLOUR | {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colours_the_text_is_whole_and_the_table_is_named(show: Rbridge, environment: dict[str, str]) -> None:
    """In a pipe, or with NO_COLOR, there is no colour, the trace is unchanged, and the output names --table."""
    code, out, _ = show("1", **environment)
    assert code == 0
    assert TEXT in re.sub(r"\x1b\[[\d;]*m", "", out)
    assert not re.search(r"\x1b\[[\d;]*[34]8;", out)
    assert "--table" in out
    assert "final answer: None   gold: [4]   wrong" in out
    assert ("\x1b" in out) == ("FORCE_COLOR" in environment)  # FORCE_COLOR keeps underlines


@pytest.mark.parametrize("environment", [{}, IN_COLOUR])
@pytest.mark.parametrize("arguments", [[], ["--table"]])
def test_no_trace_controls_the_terminal(show: Rbridge, arguments: list[str], environment: dict[str, str]) -> None:
    """Escape sequences, bells, carriage returns, bidirectional controls and rich's markup are printed as text."""
    out = show("2", *arguments, **environment)[1]
    plain = re.sub(r"\x1b\[[\d;]*m", "", out) if environment else out
    assert not set("\x1b\x07\r\x9b\x00\x7f\u202e") & set(plain)
    assert "[bold]b[/bold] :smile: c" in plain
    if not arguments:
        assert "[red]why[/red]\\x1b[2J?" in plain
        assert "a\\x1b[31mred\\x1b]0;title\\x07" in plain
        assert "\\x0d\\x9b2J\\u202etxt\\x00\\x7f" in plain


def test_a_trace_without_confidences_is_shown_without(show: Rbridge) -> None:
    """Its text is printed with the command that adds confidences."""
    code, out, _ = show("3", **IN_COLOUR)
    assert code == 0
    assert "no numbers" in out
    assert "rbridge traces score" in out
    assert not any(background for _, background, _ in shown_characters(out))


def test_only_correct_traces_can_be_shown(show: Rbridge) -> None:
    """With --only-correct the default item is the first correct one, and a wrong item does not exist."""
    assert show("--only-correct")[1].startswith("gsm8k/2 ")
    assert "has no item '1'" in show("1", "--only-correct")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["9"], "has no item '9'; it has 3, such as 1, 2, 3"),
        (["--by", "weight"], "--tokenizer"),
        (["--by", "colour"], "--by"),
        (["3", "--table"], "rbridge traces score -b gsm8k"),
        (["3", "--by", "confidence"], "no token confidences"),
        (["3", "--tokenizer", "x"], "no token confidences"),
        (["--tokenizer", "no/where"], "cannot load the tokenizer 'no/where'"),
        (["--tokenizer", "{empty}"], "cannot load the tokenizer"),
        (["--tokenizer", "{broken}"], "cannot load the tokenizer"),
        (["--source", "gpt4o"], "did you mean gpt-4o?"),
    ],
)
def test_wrong_input_is_one_line(
    show: Rbridge, tmp_path: Path, checkpoint: Path, arguments: list[str], message: str
) -> None:
    """Each wrong input is named in one line with exit code 2, and nothing else is printed."""
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        data = (checkpoint / name).read_bytes()
        (tmp_path / "broken" / name).write_bytes(data[:200])
    places = {f"{{{name}}}": str(tmp_path / name) for name in ("empty", "broken")}
    code, out, err = show(*(places.get(argument, argument) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
