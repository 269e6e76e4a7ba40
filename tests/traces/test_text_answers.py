"""Plain-text answers: the end of their reasoning, and their final answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rbridge_traces import Choice, MalformedCompletionError
from rbridge_traces.answer_form import AnswerForm, read_choice
from rbridge_traces.generation.grading import grade
from rbridge_traces.generation.prompt import messages, template
from rbridge_traces.questions import Question
from rbridge_traces.text_answers import reasoning_end_and_answer

from .chat_server import ChatServer, completion
from .generation.support import cached, finish

SHORT = "2 + 2 = 4."


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("\nFinal answer: 4", "4"),
        ("\n\n**Final answer:** 4", "4"),
        ("\n\n**Final Answer: 4**\n", "4"),
        ("\n### Final answer\n\n4", "4"),
        ("\nThe final answer is: $\\boxed{4}$.", "\\boxed{4}"),
        ("\nFinal answer:\n\\[\n\\boxed{4}\n\\]", "\\boxed{4}"),
        ("\n> Final answer: 4\nI hope this helps.", "4"),
        ("\nFinal answer: 5\nNo.\nFinal answer: 4", "4"),
        ("\r\nFinal answer\r\n4\r\n", "4"),
        ("\nFinal answer\uff1a4", "4"),
    ],
)
def test_the_reasoning_ends_before_the_last_line_that_states_an_answer(written: str, answer: str) -> None:
    """The last line that states an answer is found with and without Markdown."""
    end, final_answer = reasoning_end_and_answer(SHORT + written)
    assert final_answer == answer
    assert (SHORT + written)[:end].startswith(SHORT)
    assert answer not in (SHORT + written)[len(SHORT) : end]


@pytest.mark.parametrize(
    ("text", "benchmark", "gold", "choices"),
    [
        ("He has 3.\nSo he ends with 1,200 dollars.", "gsm8k", "1200", None),
        ("Half of one is \\boxed{\\frac{1}{2}}, as 2 divides it.", "math500", "0.5", None),
        ("Ice melts.\nThe answer is (B).", "csqa", "B", (Choice("A", "fire"), Choice("B", "ice"))),
        ("It is the capital.\nParis.", "capitals", "Paris", None),
    ],
)
def test_without_such_a_line_the_grader_reads_the_box_or_the_last_line(
    text: str, benchmark: str, gold: str, choices: tuple[Choice, ...] | None
) -> None:
    """Without such a line, the trace is the whole text."""
    end, answer = reasoning_end_and_answer(text)
    assert end == len(text)
    assert grade(benchmark, answer, gold, choices)


def test_programs_keep_their_lines_and_indentation() -> None:
    """The final answer is the fenced program, or all text after the mark."""
    code = "    x = 1\n    return x"
    for text in (f"So.\nFinal answer:\n```python\n{code}\n```\nDone.", f"So.\nFinal answer:\n{code}\n"):
        assert reasoning_end_and_answer(text, code=True) == (3, code)
        lines = text.replace("\n", "\r\n")
        assert reasoning_end_and_answer(lines, code=True) == (3, code.replace("\n", "\r\n"))
    assert reasoning_end_and_answer(f"1. So:\n  ```python\n{code}\n  ```\nDone.", code=True)[1] == code
    assert reasoning_end_and_answer(f"So:\n```\n{code}\n```", code=True)[1] == code
    assert reasoning_end_and_answer("So.", code=True)[1] is None


def test_the_tokens_of_the_trace_are_those_before_the_final_answer() -> None:
    """Thinking in the content is left out; a token that crosses the boundary is clipped."""
    pieces = ["<think>", "Hm.", "</think>", "\n", "So", " it", " is 4.\nFinal", " answer: 4"]
    entries = [{"token": token, "logprob": -float(number)} for number, token in enumerate(pieces)]
    choice = {"message": {"content": "".join(pieces)}, "logprobs": {"content": entries}}
    read = read_choice(choice, AnswerForm(format="text"), logprobs=True)
    assert (read.trace, read.final_answer) == ("So it is 4.", "4")
    assert read.tokens is not None
    assert read.tokens.token_end.tolist() == [2, 5, 11]
    assert read.tokens.token_logprob.tolist() == [-4, -5, -6]


@pytest.mark.parametrize("text", ["Final answer: 4", "<think>Hm.</think>", "<think>Hm.\nFinal answer: 4", ""])
def test_an_answer_without_reasoning_is_none(text: str) -> None:
    """An answer without text before it, or with thinking only, is refused."""
    with pytest.raises(MalformedCompletionError):
        read_choice({"message": {"content": text}}, AnswerForm(format="text"), logprobs=False)


def test_a_build_asks_for_plain_text(tmp_path: Path) -> None:
    """The prompt requests plain text and is in the manifest; answers are graded; the source is MODEL-text."""
    (asked,) = (message["content"] for message in messages(Question("gsm8k", "1", "q", None, "1"), "text")[1:])
    assert "JSON" not in asked
    assert "'Final answer:'" in asked
    text = "One plus one.\nFinal answer: 2"
    tokens = [(b"One plus", -0.25), (b" one.\n", -0.5), (b"Final answer: 2", -0.1)]
    with ChatServer(lambda _: completion(text, tokens)) as server:
        finish(tmp_path, server, 3, form=AnswerForm(format="text"))
        assert server.asked[0]["messages"][1]["content"].endswith(asked.partition("q")[2])
    trace_set = cached(tmp_path, source="gpt-4o-text")
    assert trace_set.manifest.prompt == template("gsm8k", "text")
    assert [trace.correct for trace in trace_set.traces] == [False, False, True]
    assert trace_set.traces[0].trace == "One plus one."
    assert trace_set.traces[0].token_end is not None
    assert trace_set.traces[0].token_end.tolist() == [8, 13]
    np.testing.assert_allclose(trace_set.traces[0].token_logprob, [-0.25, -0.5])
