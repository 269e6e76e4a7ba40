"""Thinking and answer are located with their tokens in every layout of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import CompletionError, MalformedCompletionError, import_traces
from rbridge_traces.answer_form import AnswerForm, TracePart, read_choice
from rbridge_traces.located_thinking import thinking_of_choice

from ..metrics.strategies import cases
from .answers import Answer, answers, assert_confidence, chat, confidence_of, cuts_of
from .chat_server import ChatServer, Reply
from .generation.support import cached, finish
from .support import complaint, jsonl
from .test_api_answers import batch_line, response
from .thinking_layouts import GIVEN, LAYOUTS, REASONING, SHOWN, THINKING, by_hand, choice_of

_SEAM = "<|end|><|start|>assistant<|channel|>final<|message|>"
TRACES: dict[TracePart, str] = {"reasoning": REASONING, "thinking": THINKING}


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_character_has_the_mean_confidence_of_its_bytes(name: str, shown: str, trace: TracePart) -> None:
    """The confidences equal a computation by hand over bytes; an ambiguous layout is refused with the reason."""
    layout = LAYOUTS[name]
    if name not in GIVEN and trace == "thinking" and shown.startswith("U+FFFD"):
        message = complaint(thinking_of_choice, choice_of(layout, shown), error=CompletionError)
        assert "are shown as U+FFFD" in message
        return
    read = read_choice(choice_of(layout, shown), AnswerForm(trace), logprobs=True)
    assert (read.trace, read.final_answer) == (TRACES[trace], "2")
    assert read.tokens is not None
    assert_confidence(read.tokens.token_end, read.tokens.token_logprob, by_hand(layout, trace))


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("name", GIVEN)
def test_the_text_is_the_same_without_log_probabilities(name: str, trace: TracePart) -> None:
    """The text is read from servers that give no log-probabilities."""
    choice = {**choice_of(LAYOUTS[name]), "logprobs": None}
    read = read_choice(choice, AnswerForm(trace), logprobs=False)
    assert (read.trace, read.final_answer, read.tokens) == (TRACES[trace], "2", None)


@pytest.mark.parametrize("trace", TRACES)
def test_a_build_reads_every_layout(tmp_path: Path, trace: TracePart) -> None:
    """A build over HTTP reads every layout, grades the answer and records in the manifest what the trace is."""
    names = list(LAYOUTS)

    def answer(question: str) -> Reply:
        number = int(question.partition("number ")[2].partition(".")[0])
        return Reply(body=response(choice_of(LAYOUTS[names[number]])))

    with ChatServer(answer) as server:
        finish(tmp_path, server, len(names), form=AnswerForm(trace))
    source = "gpt-4o" + "-thinking" * (trace == "thinking")
    trace_set = cached(tmp_path, source=source)
    assert len(trace_set.traces) == len(names)
    assert ("traces are the model's thinking" in str(trace_set.manifest.note)) == (trace == "thinking")
    for number, (name, item) in enumerate(zip(names, trace_set.traces, strict=True)):
        assert (item.trace, item.final_answer, item.correct) == (TRACES[trace], "2", number % 3 == 2), name
        assert item.token_end is not None
        assert item.token_logprob is not None
        assert_confidence(item.token_end, item.token_logprob, by_hand(LAYOUTS[name], trace))


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("trace", TRACES)
def test_an_import_reads_every_layout(tmp_path: Path, trace: TracePart, batch: bool) -> None:
    """Every layout is read from one response per line and from batch output."""
    rows: list[dict[str, Any]] = []
    for number, layout in enumerate(LAYOUTS.values()):
        body = response(choice_of(layout))
        rows.append({"question": f"{number}?", **(batch_line(body, f"q{number}") if batch else body)})
    report = import_traces(jsonl(tmp_path / "rows.jsonl", rows), benchmark="gsm8k", form=AnswerForm(trace, None))
    assert [item.item_id for item in report.traces][:2] == (["q0", "q1"] if batch else ["1", "2"])
    for (name, layout), item in zip(LAYOUTS.items(), report.traces, strict=True):
        assert (item.trace, item.final_answer) == (TRACES[trace], "2"), name
        assert item.token_end is not None
        assert item.token_logprob is not None
        assert_confidence(item.token_end, item.token_logprob, by_hand(layout, trace))


def test_legacy_completions_hold_the_thinking_in_their_text(tmp_path: Path) -> None:
    """Thinking and answer are read from lists of tokens, log-probabilities and offsets that start at the prompt."""
    tokens = ["<think>", "Two", " and two.", "</think>", "\n", "It is 4.\n", "Final answer: 4"]
    logprobs = [-9.0, -0.1, -0.2, -9.0, -9.0, -0.3, -0.4]
    listed = {"tokens": tokens, "token_logprobs": logprobs, "text_offset": list(range(10, 17))}
    row = {"question": "2 + 2?", "choices": [{"text": "".join(tokens), "logprobs": listed, "finish_reason": "stop"}]}
    path = jsonl(tmp_path / "rows.jsonl", [row])
    for form, text, expected in (
        (AnswerForm("thinking", "text"), "Two and two.", [-0.1] * 3 + [-0.2] * 9),
        (AnswerForm("reasoning", "text"), "It is 4.", [-0.3] * 8),
    ):
        (item,) = import_traces(path, benchmark="gsm8k", form=form).traces
        assert (item.trace, item.final_answer) == (text, "4")
        assert item.token_end is not None
        assert item.token_logprob is not None
        assert_confidence(item.token_end, item.token_logprob, np.exp(expected).tolist())


def plain(tokens: list[str], **message: Any) -> dict[str, Any]:
    entries = [{"token": token, "logprob": -1.0} for token in tokens]
    return {"message": message, "finish_reason": "stop", "logprobs": {"content": entries}}


THOUGHT = ["<think>", "2 + 2", "</think>", "4"]


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (plain(["4"], content="4", reasoning="2 + 2"), "show no end of the thinking"),
        (plain(["2 + 2", "4"], content="4", reasoning="2 + 2"), "show no end of the thinking"),
        (plain(THOUGHT, content="4", reasoning="1 + 3"), "show no end of the thinking"),
        (plain(["<think>", "2 - 2", *THOUGHT[2:]], content="4", reasoning="2 + 2"), "show no end of the thinking"),
        (plain(["<think>", "2 ∑ 2", *THOUGHT[2:]], content="4", reasoning="2 √ 2"), "do not spell its thinking"),
        (plain(["So: ", *THOUGHT], content="4", reasoning="2 + 2"), "show no end of the thinking"),
        (plain(["token_id:17", "token_id:4"], content="4", reasoning="2 + 2"), "ids stand in place of its tokens"),
        (plain(["4"], content="4"), "without thinking"),
        (plain(["<think>", "\n\n", "</think>", "4"], content="4"), "without thinking"),
        (plain(["<think>", "2 + 2", " is"], content="<think>2 + 2 is"), "without thinking"),
        (plain([*THOUGHT[:3], *THOUGHT], content="4"), "without thinking that has one beginning and one end"),
        (plain(THOUGHT, content="5"), "does not follow the thinking"),
    ],
)
def test_what_is_ambiguous_or_shifted_is_refused(choice: dict[str, Any], why: str) -> None:
    """Refused: only the answer's tokens, another text, ids, and missing, empty, truncated or repeated thinking."""
    with pytest.raises((CompletionError, MalformedCompletionError), match=r"^[^\n]*$") as caught:
        thinking_of_choice(choice)
    assert why in str(caught.value)


@cases(40)
@given(
    st.data(), answers(), st.sampled_from([("<think>\n", "\n</think>\n\n"), ("<|channel|>analysis<|message|>", _SEAM)])
)
def test_any_thinking_keeps_its_confidences(data: st.DataObject, thought: Answer, marks: tuple[str, str]) -> None:
    """Tokens cut anywhere, also across the marks, and any text with braces and quotes keep their confidences."""
    thinking, content = thought.raw.strip(), '{"reasoning": "é", "final_answer": "4"}'
    whole = marks[0] + thinking + marks[1] + content
    cut = data.draw(cuts_of(whole))
    ends = len(marks[0]) + np.cumsum([0, *[len(character.encode()) for character in thinking]])
    characters = tuple(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    reasoning = thinking_of_choice(chat(whole, cut) | {"message": {"content": content, "reasoning": thinking}})
    assert reasoning.text == thinking
    expected = confidence_of(Answer(whole, thinking, characters, "4"), cut)
    assert_confidence(reasoning.token_end, reasoning.token_logprob, expected)


def test_servers_that_list_ids_are_asked_for_tokens(tmp_path: Path) -> None:
    """A request field turns off vLLM's --return-tokens-as-token-ids; other servers do not receive the field."""
    layout = LAYOUTS["reasoning"]

    def answer(_: str) -> Reply:
        choice = choice_of(layout)
        if server.asked[-1].get("return_tokens_as_token_ids") is not False:
            for number, entry in enumerate(choice["logprobs"]["content"]):
                entry |= {"token": f"token_id:{number}", "bytes": list(f"token_id:{number}".encode())}
        return Reply(body=response(choice))

    with ChatServer(answer) as server:
        finish(tmp_path, server, 1)
        assert ["return_tokens_as_token_ids" in body for body in server.asked] == [False, True]
    (item,) = cached(tmp_path).traces
    assert item.token_end is not None
    assert item.token_logprob is not None
    assert_confidence(item.token_end, item.token_logprob, by_hand(layout, "reasoning"))
