"""Responses of Completions APIs saved to a file become traces with their log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rbridge_traces import Trace, TraceImportError, import_traces

from ..metrics.strategies import cases
from .support import complaint, jsonl

PROMPT = "Question: What is 2 + 2?\nAnswer:"
TOKENS = [" Two", " and", " two", " make", " four", "."]
LOGPROBS = [-0.3, -0.2, -0.1, -0.4, -0.05, -0.2]
TEXT = "".join(TOKENS)
OFFSETS = [len(PROMPT) + sum(map(len, TOKENS[:n])) for n in range(len(TOKENS))]
OBJECT = ['{"reasoning": "', "2", " +", " 2", '", "final_answer": "4"}']
ASKED = {"question": "What is 2 + 2?"}


def legacy(**changes: Any) -> dict[str, Any]:
    """A choice of the legacy Completions API."""
    listed = {"tokens": TOKENS, "token_logprobs": LOGPROBS, "top_logprobs": None, "text_offset": OFFSETS}
    return {"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": listed} | changes


def chat(tokens: list[str] = TOKENS, logprobs: list[Any] = LOGPROBS, **changes: Any) -> dict[str, Any]:
    """A choice of the Chat Completions API."""
    entries = [
        {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}
        for token, logprob in zip(tokens, logprobs, strict=True)
    ]
    message = {"role": "assistant", "content": "".join(tokens).strip(), "refusal": None}
    return {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": entries}} | changes


def response(choice: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "writer-1", "choices": [choice], **fields}


def batch_line(body: dict[str, Any], custom_id: str = "17") -> dict[str, Any]:
    """A line of OpenAI's batch output."""
    done = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": done, "error": None}


def candidates() -> list[dict[str, Any]]:
    """Candidate tokens by id, as vLLM's objects store them; the sampled token need not be the first."""
    return [
        {"7": {"logprob": -0.01, "rank": 1, "decoded_token": "!"}, str(n): {"logprob": p, "decoded_token": token}}
        for n, (token, p) in enumerate(zip(TOKENS, LOGPROBS, strict=True), start=100)
    ]


PLAIN: dict[str, dict[str, Any]] = {
    "legacy choice with question and prompt": {**ASKED, "prompt": PROMPT, **legacy()},
    "legacy choice with prompt": {"prompt": PROMPT, **legacy()},
    "legacy response": {**response(legacy()), "prompt": PROMPT},
    "legacy response that repeats the prompt": {
        "prompt": PROMPT,
        **response(
            legacy(
                text=PROMPT + TEXT,
                logprobs={
                    "tokens": ["Question", ": What is 2 + 2?", "\nAnswer:", *TOKENS],
                    "token_logprobs": [None, -1.0, -2.0, *LOGPROBS],
                    "text_offset": [0, 8, 24, *OFFSETS],
                },
            )
        ),
    },
    "few-shot prompt": {"prompt": "Question: 1 + 1?\nAnswer: 2\n\n" + PROMPT, **legacy()},
    "chat response": {**response(chat()), **ASKED},
    "chat response in a field": {**ASKED, "response": response(chat())},
    "chat response with the request": {
        "request": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "What is 2 + 2?"}]},
        "response": response(chat()),
    },
    "paper's prompt in parts": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "What is 2 + 2?\n\nRespond ONLY with a JSON object in this"}],
            }
        ],
        **response(chat()),
    },
    "batch line": {**batch_line(response(chat())), **ASKED},
    "chat choice": {**ASKED, **chat()},
    "logprobs as a list of objects": {**ASKED, "text": TEXT, "logprobs": chat()["logprobs"]["content"]},
    "tokens as a list of objects": {**ASKED, "text": TEXT, "tokens": chat()["logprobs"]["content"]},
    "parallel lists": {**ASKED, "text": TEXT, "finish_reason": "stop", "tokens": TOKENS, "token_logprobs": LOGPROBS},
    "vLLM output": {
        "request_id": "1",
        "prompt": PROMPT,
        "outputs": [{"index": 0, "text": TEXT, "token_ids": list(range(100, 106)), "logprobs": candidates()}],
    },
    "response in a list of one": {**ASKED, "response": [response(chat())]},
    "response as JSON text": batch_line(json.dumps(response(chat()))) | ASKED,  # type: ignore[arg-type]
    "one of a list of generations": {**ASKED, "generations": [legacy()]},
    "trace and log-probabilities": {**ASKED, "trace": TEXT.strip(), "logprobs": legacy()["logprobs"]},
    "trace and lists": {**ASKED, "trace": TEXT.strip(), "tokens": TOKENS, "logprobs": LOGPROBS},
    "trace and response": {**ASKED, "trace": TEXT.strip(), "response": response(chat())},
    "thinking before": {
        **ASKED,
        **chat(
            ["<think>", *TOKENS, "</think>", *TOKENS, "<|im_end|>"],
            [-9.0] * 8 + LOGPROBS + [-9.0],
            message={"content": TEXT.strip()},
        ),
    },
}


def only(path: str, **options: Any) -> Trace:
    (trace,) = import_traces(path, benchmark="gsm8k", **options).traces
    return trace


def as_lines(row: dict[str, Any], folder: Path) -> str:
    return jsonl(folder / "rows.jsonl", [row])


def as_document(row: dict[str, Any], folder: Path) -> str:
    (folder / "rows.json").write_text(json.dumps(row, indent=1))
    return str(folder / "rows.json")


def as_array(row: dict[str, Any], folder: Path) -> str:
    (folder / "rows.json").write_text(json.dumps([row]))
    return str(folder / "rows.json")


def as_parquet(row: dict[str, Any], folder: Path) -> str:
    pq.write_table(pa.Table.from_pylist([row]), folder / "rows.parquet")
    return str(folder / "rows.parquet")


@pytest.mark.parametrize("written", [as_lines, as_array, as_parquet])
@pytest.mark.parametrize("layout", PLAIN)
def test_every_layout_gives_text_and_log_probabilities(
    tmp_path: Path, layout: str, written: Callable[[dict[str, Any], Path], str]
) -> None:
    """Each layout gives the question and the six tokens of `` Two and two make four.``, without its leading space."""
    trace = only(written(PLAIN[layout], tmp_path))
    assert (trace.trace, trace.question) == ("Two and two make four.", "What is 2 + 2?")
    assert trace.token_end is not None
    assert trace.token_end.tolist() == [3, 7, 11, 16, 21, 22]
    np.testing.assert_allclose(trace.token_logprob, LOGPROBS, rtol=1e-6)


@pytest.mark.parametrize("layout", [name for name in PLAIN if not name.startswith("trace and")])
def test_one_response_may_be_the_whole_file(tmp_path: Path, layout: str) -> None:
    """A response saved as an indented JSON document is read."""
    assert only(as_document(PLAIN[layout], tmp_path)).trace == "Two and two make four."


@pytest.mark.parametrize("choice", [chat(OBJECT, [-0.5] * 5), legacy(text="".join(OBJECT), logprobs=None)])
def test_the_object_of_the_paper_gives_its_reasoning(tmp_path: Path, choice: dict[str, Any]) -> None:
    """As in ``build``, the value of reasoning becomes the trace, and final_answer is kept."""
    trace = only(as_lines({**ASKED, **response(choice)}, tmp_path))
    assert (trace.trace, trace.final_answer) == ("2 + 2", "4")
    assert trace.has_confidence == bool(choice["logprobs"])


def test_the_model_of_the_responses_is_reported(tmp_path: Path) -> None:
    """The model that all responses name is reported as the author; the response id is not the item id."""
    report = import_traces(as_lines({**ASKED, **response(chat())}, tmp_path), benchmark="gsm8k")
    assert (report.model, report.traces[0].item_id) == ("writer-1", "1")


def test_choices_of_one_request_with_many_prompts_are_items(tmp_path: Path) -> None:
    """The legacy API answers a list of prompts in one response; each choice becomes an item."""
    prompts = [PROMPT, "Question: 3 + 1?\nAnswer:"]
    second = legacy(text=" Four.", logprobs={"tokens": [" Four", "."], "token_logprobs": [-0.1, -0.2]}, index=1)
    path = as_document(response(legacy(), prompt=prompts) | {"choices": [second, legacy()]}, tmp_path)
    traces = import_traces(path, benchmark="gsm8k").traces
    assert [trace.question for trace in traces] == ["What is 2 + 2?", "3 + 1?"]
    assert [trace.trace for trace in traces] == ["Two and two make four.", "Four."]
    assert [trace.item_id for trace in traces] == ["1/1", "1/2"]


@pytest.mark.parametrize("block", [["<think>", "so", "</think>", "\n"], ["[THINK]", "so", "[/THINK]"]])
def test_a_thinking_block_in_a_plain_text_is_not_of_the_trace(tmp_path: Path, block: list[str]) -> None:
    """The trace equals that of a server that separates thinking from content."""
    trace = only(as_lines({**ASKED, **chat([*block, *TOKENS], [-9.0] * len(block) + LOGPROBS)}, tmp_path))
    assert trace.trace == "Two and two make four."
    np.testing.assert_allclose(trace.token_logprob, LOGPROBS, rtol=1e-6)
    row = {**ASKED, **chat(block[:2], [-9.0] * 2)}
    message = complaint(import_traces, as_lines(row, tmp_path), benchmark="gsm8k", error=TraceImportError)
    assert "its answer is thinking and nothing else" in message


def questions(tmp_path: Path) -> str:
    rows = [{"question": "What is 2 + 2?", "answer": "#### 4"}, {"question": "3 + 1?", "answer": "#### 4"}]
    return jsonl(tmp_path / "questions.jsonl", rows)


def test_batch_output_is_joined_with_questions_by_id(tmp_path: Path) -> None:
    """Rows may be in any order; questions and gold answers come from the file of questions."""
    path = jsonl(tmp_path / "out.jsonl", [batch_line(response(chat()), "1"), batch_line(response(chat()), "0")])
    traces = import_traces(path, benchmark="gsm8k", questions=questions(tmp_path)).traces
    assert [(trace.item_id, trace.question, trace.gold) for trace in traces] == [
        ("1", "3 + 1?", "4"),
        ("0", "What is 2 + 2?", "4"),
    ]


def test_responses_without_ids_are_joined_in_order(tmp_path: Path) -> None:
    """The number of responses must equal the number of questions."""
    path = jsonl(tmp_path / "out.jsonl", [response(chat()), response(chat())])
    traces = import_traces(path, benchmark="gsm8k", questions=questions(tmp_path)).traces
    assert [trace.question for trace in traces] == ["What is 2 + 2?", "3 + 1?"]


ODD = {"tok": TOKENS, "lp": LOGPROBS}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (response(chat()), "no question is in the row, nor a prompt"),
    (
        {"prompt": "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n", **legacy()},
        "no question is in the row",
    ),
    ({**ASKED, "output": [{"text": "4", "logprobs": [{"token": "4", "logprob": -1}]}] * 2}, "are in output.logprobs"),
    ({**ASKED, "generations": [legacy(), legacy()]}, "2 answers to one question"),
    ({**ASKED, "trace": "Two", "token_logprobs": LOGPROBS}, "token_logprobs, in a layout that is not known"),
    ({**ASKED, "trace": "Two", "meta": {"logprobs": ODD}}, "meta.logprobs, in a layout that is not known"),
    ({**ASKED, "trace": "Two", "top_logprobs": [{" Two": -0.3}]}, "top_logprobs, in a layout that is not known"),
    ({**ASKED, **legacy(logprobs=ODD)}, "log-probabilities in logprobs"),
    ({**ASKED, "trace": "Three", "logprobs": legacy()["logprobs"]}, "not those of the trace"),
    ({**ASKED, "trace": "Three", "response": response(chat())}, "not those of the trace"),
    ({**ASKED, **legacy(text=" Three and two make five.")}, "its log-probabilities cannot be used"),
    ({**ASKED, **chat(['{"reasoning": "2 +'], [-0.1])}, "broken JSON"),
    ({**ASKED, **chat(['{"reasoning": "2 +'], [-0.1], finish_reason="length")}, "reached its token limit"),
    ({**ASKED, **response(chat()), "choices": [chat(), chat()]}, "2 answers to one question"),
    ({**ASKED, "a": response(chat()), "b": response(chat())}, "2 responses (a, b)"),
    (
        {
            **ASKED,
            **legacy(
                text=PROMPT + TEXT,
                logprobs={"tokens": [PROMPT, *TOKENS], "token_logprobs": [None, *LOGPROBS], "text_offset": [0]},
            ),
        },
        "repeats the prompt (echo)",
    ),
]


@pytest.mark.parametrize(("row", "why"), REFUSED)
def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    """Log-probabilities in a file are used or refused, never ignored."""
    message = complaint(import_traces, as_lines(row, tmp_path), benchmark="gsm8k", error=TraceImportError)
    assert "row 1: " in message
    assert why in message


def test_log_probabilities_can_be_left_in_the_file(tmp_path: Path) -> None:
    """If the user asks for it, the traces have no confidences."""
    for row in ({**ASKED, "trace": "Two", "meta": {"logprobs": ODD}}, {**ASKED, **legacy()}):
        assert not only(as_lines(row, tmp_path), logprobs=False).has_confidence


def test_failed_answers_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    """Failed requests, refusals and truncated objects are counted."""
    failed = {"id": "b", "custom_id": "2", "response": {"status_code": 400, "body": {"error": {}}}, "error": None}
    refusal = chat() | {"message": {"content": None, "refusal": "No."}, "logprobs": None}
    broken = chat(['{"reasoning": "2 +'], [-0.1], finish_reason="length")
    rows = [response(chat()), failed, response(refusal), response(broken)]
    path = jsonl(tmp_path / "rows.jsonl", [{**row, **ASKED} for row in rows])
    report = import_traces(path, benchmark="gsm8k", skip_failed=True)
    assert len(report.traces) == 1
    assert report.failed == {"failed requests": 1, "refused": 1, "malformed": 1}


def test_answers_at_their_token_limit_are_counted(tmp_path: Path) -> None:
    """A truncated plain text still becomes a trace."""
    path = as_lines({**ASKED, **legacy(finish_reason="length")}, tmp_path)
    assert import_traces(path, benchmark="gsm8k").cut_off == 1


def test_placeholders_in_responses_are_unknown(tmp_path: Path) -> None:
    """-9999 and null of a sampled token are unknown log-probabilities."""
    row = {**ASKED, **chat(TOKENS, [-0.3, -9999.0, -0.1, None, -0.05, -0.2])}
    assert np.isnan(only(as_lines(row, tmp_path)).token_logprob).tolist() == [False, True, False, True, False, False]


def test_a_mapped_answer_of_several_is_taken_where_there_are_no_log_probabilities(tmp_path: Path) -> None:
    """A mapping selects the answer; the field choices of a response is not read as answer options."""
    row = {**ASKED, "choices": [{"message": {"content": text}} for text in ("First.", "Second.")]}
    path = as_lines(row, tmp_path)
    (trace,) = import_traces(path, benchmark="csqa", mapping={"trace": "choices.1.message.content"}).traces
    assert (trace.trace, trace.choices) == ("Second.", None)


def test_answer_options_are_no_choices_of_a_response(tmp_path: Path) -> None:
    """The field choices of a multiple-choice item is read as answer options, also beside a response."""
    options = [{"label": "A", "text": "3"}, {"label": "B", "text": "4"}]
    row = {**ASKED, "choices": options, "gold": 1, "response": response(chat())}
    trace = only(as_lines(row, tmp_path))
    assert (trace.gold, [choice.text for choice in trace.choices or ()]) == ("B", ["3", "4"])
    assert only(as_lines({**ASKED, "trace": "t", "choices": options}, tmp_path)).choices is not None


API_FIELDS = """
choices text message content logprobs tokens token_logprobs token logprob bytes finish_reason prompt messages response
outputs token_ids role stop_reason index error
"""
KEYS = API_FIELDS.split()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.text(max_size=3) | st.just("4"),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inside, max_size=4),
    max_leaves=12,
)


@cases(300)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.booleans())
@example({"logprobs": {"content": True}}, True)
@example({"logprobs": {"tokens": 1}}, True)
@example({"logprobs": {"tokens": ["4"], "token_logprobs": 1}}, True)
@example({"logprobs": {"tokens": ["4"], "token_logprobs": {"content": -0.1}}}, True)
def test_whatever_an_api_answers_it_is_a_trace_or_one_line(row: dict[str, Any], lists_tokens: bool) -> None:
    """Any value of any field gives a valid trace or a one-line error."""
    if lists_tokens:
        row = {"text": "4", "logprobs": {"tokens": ["4"], "token_logprobs": [-0.1]}} | row
    with fsspec.open("memory://answers.jsonl", "wb") as file:
        file.write(json.dumps({"question": "?"} | row).encode())
    message, traces = "", []
    try:
        traces = import_traces("memory://answers.jsonl", benchmark="gsm8k").traces
    except TraceImportError as error:
        message = str(error)
    assert bool(message) != bool(traces)
    assert len(message.splitlines()) == (0 if traces else 1)
