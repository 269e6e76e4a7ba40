"""Errors in a release are one line with file and row; with --skip-mismatched, items that do not match are counted."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rbridge_traces import TraceError

from ..answers import assert_confidence, confidence_of
from ..releases import as_json, as_lines
from ..support import complaint
from .support import ITEMS, fault, pull, rewrite


def drop_rows(folder: Path) -> None:
    (folder / "tokens-00002-of-00003.jsonl").unlink()


def unknown_item(folder: Path) -> None:
    rewrite(folder / "tokens-00001-of-00003.jsonl", lambda rows: rows[4].update(item_id="item-99"))


def repeated_position(folder: Path) -> None:
    rewrite(folder / "tokens-00000-of-00003.jsonl", lambda rows: rows[3].update(position=2))


def lost_row(folder: Path) -> None:
    rewrite(folder / "tokens-00000-of-00003.jsonl", lambda rows: rows.pop(3))


def other_token(folder: Path) -> None:
    rewrite(folder / "tokens-00000-of-00003.jsonl", lambda rows: rows[0].update(token="~", bytes=[126]))


def other_reasoning(folder: Path) -> None:
    rewrite(folder / "completions.json", lambda rows: rows[0].update(reasoning="First, 12 + 31"))


def no_logprobs(folder: Path) -> None:
    rewrite(folder / "tokens-00000-of-00003.jsonl", lambda rows: [row.update(logprob=None) for row in rows[:20]])


def above_certain(folder: Path) -> None:
    rewrite(folder / "tokens-00000-of-00003.jsonl", lambda rows: [row.update(logprob=0.5) for row in rows[:20]])


TOKENS = "tokens-00000-of-00003.jsonl"
MISMATCHES: list[tuple[Callable[[Path], None], list[str], dict[str, int]]] = [
    (
        drop_rows,
        ["completions.json, row 5: it has no token rows, as 2 of 6 completions (is a part missing?)"],
        {"without tokens": 2, "tokens of another text": 1},
    ),
    (
        unknown_item,
        [
            "tokens-00001-of-00003.jsonl, line 5: item_id is item-99, and no completion has that as its item_id (",
        ],
        {"token rows of no completion": 1, "token rows missing": 1},
    ),
    (
        repeated_position,
        [f"{TOKENS}, line 4: position 2 is that of", f"{TOKENS}, line 3 too"],
        {"position given twice": 1},
    ),
    (lost_row, [f"{TOKENS}, line 4: position 4 where 3 is next", "without gaps"], {"token rows missing": 1}),
    (
        other_token,
        ["row 1: the tokens do not spell the text: at character 0 they go on '~"],
        {"tokens of another text": 1},
    ),
    (
        other_reasoning,
        ["at character 13 the tokens go on '0 = 42.", "the record '1'", "reasoning=reasoning", "logprob=logprob"],
        {"another reasoning": 1},
    ),
    (above_certain, ["row 1: ", "most others are above 0"], {"unusable log-probabilities": 1}),
]


def test_tokens_without_a_log_probability_are_unknown(root: Path, folder: Path) -> None:
    """Null log-probabilities keep the item and make its tokens unknown."""
    no_logprobs(folder)
    traces = pull(root).traces
    assert [trace.unknown_tokens > 0 for trace in traces] == [True] + [False] * (len(traces) - 1)


@pytest.mark.parametrize(("damage", "expected", "reasons"), MISMATCHES, ids=[case[0].__name__ for case in MISMATCHES])
def test_what_does_not_fit_is_named_or_counted(
    root: Path, folder: Path, damage: Callable[[Path], None], expected: list[str], reasons: dict[str, int]
) -> None:
    """The message has file, row and both values; --skip-mismatched leaves these items out and counts them by reason."""
    damage(folder)
    message = fault(root)
    assert message.startswith(str(folder))
    assert all(part in message for part in expected), message
    assert "--skip-mismatched" in message
    report = pull(root, skip_mismatched=True)
    assert report.dropped == reasons
    intact = {f"item-{item.number}": item for item in ITEMS}
    assert 0 < len(report.traces) < len(ITEMS)
    for trace in report.traces:
        item = intact[trace.item_id]
        assert_confidence(trace.token_end, trace.token_logprob, confidence_of(item.answer, item.cut))


def cut_gzip(folder: Path) -> str:
    part = folder / "tokens-00001-of-00003.jsonl"
    data = gzip.compress(part.read_bytes())
    part.unlink()
    (folder / "tokens-00001-of-00003.jsonl.gz").write_bytes(data[: len(data) // 2])
    return "tokens-00001-of-00003.jsonl.gz is a damaged gzip file"


def empty_part(folder: Path) -> str:
    (folder / TOKENS).write_bytes(b"")
    return f"{TOKENS} is empty"


def broken_line(folder: Path) -> str:
    text = (folder / TOKENS).read_text().splitlines(keepends=True)
    (folder / TOKENS).write_text("".join([*text[:7], '{"item_id": \n', *text[8:]]))
    return f"{TOKENS}, line 8 is not JSON"


def position_of_text(folder: Path) -> str:
    rewrite(folder / TOKENS, lambda rows: rows[5].update(position="first"))
    return f"{TOKENS}, line 6: its position is 'first', expected a whole number"


def huge_position(folder: Path) -> str:
    rewrite(folder / TOKENS, lambda rows: rows[5].update(position=10**12))
    return f"{TOKENS}, line 6: its position is 1000000000000, out of range"


def logprob_of_text(folder: Path) -> str:
    rewrite(folder / TOKENS, lambda rows: rows[5].update(logprob="high"))
    return f"{TOKENS}, line 6: its log-probability is 'high', expected a number"


def no_item(folder: Path) -> str:
    rewrite(folder / TOKENS, lambda rows: rows[5].update(item_id=None))
    return f"{TOKENS}, line 6: what names its item is None"


def no_items(folder: Path) -> str:
    for part in folder.glob("*.jsonl"):
        rewrite(part, lambda rows: [row.pop("item_id") for row in rows])
    return "no field for the item that a token belongs to in the tokens; the rows have position, token"


def no_values(folder: Path) -> str:
    for part in folder.glob("*.jsonl"):
        rewrite(part, lambda rows: [row.pop("logprob") for row in rows])
    return "no field for the log-probability of a token in the tokens"


def not_bytes(folder: Path) -> str:
    rewrite(folder / TOKENS, lambda rows: rows[5].update(bytes=[300]))
    return f"{TOKENS}, line 6: the bytes of a token are not numbers from 0 to 255"


def same_ids(folder: Path) -> str:
    rewrite(folder / "completions.json", lambda rows: rows[2].update(item_id="item-0"))
    return "row 3: its id (item_id) is item-0, as that of"


def neither_text(folder: Path) -> str:
    rewrite(folder / "completions.json", lambda rows: [(row.pop("reasoning"), row.pop("completion")) for row in rows])
    return "no field for the reasoning or the whole completion in the completions; the rows have item_id, question"


def all_failed(folder: Path) -> str:
    rewrite(folder / "completions.json", lambda rows: [row.update(reasoning="") for row in rows])
    return "none of 6 completions became a trace (6 empty reasoning)"


def tokens_only(folder: Path) -> str:
    (folder / "completions.json").unlink()
    return "holds token rows only (tokens-00000-of-00003.jsonl, "


def completions_only(folder: Path) -> str:
    for part in folder.glob("*.jsonl"):
        part.unlink()
    return "no field for tokens and their log-probabilities, and there are no token rows beside them in the tokens"


def no_folder(folder: Path) -> str:
    folder.rename(folder.parent / "squad")
    return "holds no benchmark (it holds traces); expected traces/NAME or NAME"


BROKEN = [
    cut_gzip, empty_part, broken_line, position_of_text, huge_position, logprob_of_text, no_item, no_items, no_values,
    not_bytes, same_ids, neither_text, all_failed, tokens_only, completions_only, no_folder,
]  # fmt: skip


@pytest.mark.parametrize("damage", BROKEN, ids=[damage.__name__ for damage in BROKEN])
@pytest.mark.parametrize("skip_mismatched", [False, True])
def test_broken_files_are_an_error_whatever_is_skipped(
    root: Path, folder: Path, damage: Callable[[Path], str], skip_mismatched: bool
) -> None:
    """A broken file is an error with file and line, even with --skip-mismatched."""
    expected = damage(folder)
    assert expected in fault(root, skip_mismatched=skip_mismatched)


def test_token_rows_that_name_no_item_that_there_is(root: Path, folder: Path) -> None:
    """If completions and tokens have different kinds of ids, the message lists both sides' fields and the remedy."""
    for part in folder.glob("*.jsonl"):
        rewrite(part, lambda rows: [row.update(item_id=f"x{row['item_id']}") for row in rows])
    message = fault(root, skip_mismatched=True)
    assert f"{TOKENS}, line 1: item_id is xitem-0, and no completion has that" in message
    assert "the token rows have item_id, position, token" in message
    assert "the completions item_id, question, reasoning" in message
    assert "--field tokens.item_id=FIELD" in message


def test_a_probability_of_zero_is_unknown_and_one_above_one_refused(root: Path, folder: Path) -> None:
    """A probability of 0 is unknown, because the token was sampled; a value above 1 is an error with file and line."""
    for part in folder.glob("*.jsonl"):
        rewrite(part, lambda rows: [row.update(prob=float(np.exp(row.pop("logprob")))) for row in rows])
    rewrite(folder / TOKENS, lambda rows: [row.update(prob=0.0) for row in rows])
    (first, *_) = pull(root).traces
    assert np.isnan(first.token_logprob).all()
    assert not first.has_confidence
    rewrite(folder / TOKENS, lambda rows: rows[2].update(prob=1.5))
    message = complaint(pull, root, error=TraceError)
    assert f"{TOKENS}, line 3: the probability is 1.5, expected one in [0, 1]" in message


def listed(number: int, **fields: object) -> dict[str, object]:
    """A completion that holds its tokens."""
    pieces = ['{"reasoning":"', "2", "+2", '","final_answer":"4"}']
    logprobs = {"tokens": pieces, "token_logprobs": [-0.1] * 4}
    response = {"choices": [{"text": "".join(pieces), "logprobs": logprobs}]}
    return {"id": number, "question": f"q{number}", "response": response, **fields}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"choices": []}, "empty completion"),
        ({"error": {"message": "rate limit"}}, "empty completion"),
        ({"choices": [{"text": '{"reasoning":"2","final_answer":"4"}'}]}, "without tokens"),
    ],
)
def test_a_failed_request_among_the_responses_is_counted(tmp_path: Path, response: object, reason: str) -> None:
    """A response without an answer, or without its tokens, gives no trace; the others are read."""
    as_json(tmp_path / "gsm8k" / "completions.json", [listed(0), listed(1, response=response)])
    report = pull(tmp_path, skip_mismatched=True)
    assert [trace.item_id for trace in report.traces] == ["0"]
    assert report.dropped == {reason: 1}


@pytest.mark.parametrize("empty", [0, 1])
def test_an_item_with_an_empty_list_of_tokens_is_counted(tmp_path: Path, empty: int) -> None:
    """Wherever it stands, it is an item whose tokens do not spell its completion."""
    rows = [{"id": n, "tokens": ["a", "b"] * (n != empty), "logprobs": [-0.1, -0.2] * (n != empty)} for n in (0, 1)]
    as_lines(tmp_path / "gsm8k" / "tokens.jsonl", rows)
    answers = [{"id": n, "question": "q", "reasoning": "a", "completion": "ab"} for n in (0, 1)]
    as_json(tmp_path / "gsm8k" / "completions.json", answers)
    assert "0 tokens but 0 log-probabilities" in fault(tmp_path)
    report = pull(tmp_path, skip_mismatched=True)
    assert ([trace.item_id for trace in report.traces], report.dropped) == (
        [str(1 - empty)],
        {"tokens of another text": 1},
    )


def test_a_log_probability_out_of_range_is_named_as_that(root: Path, folder: Path) -> None:
    """A whole number beyond all floats is no position out of range."""
    rewrite(folder / TOKENS, lambda rows: rows[2].update(logprob=-(10**400)))
    assert f"{TOKENS}, line 3: its log-probability is -1000" in fault(root)
