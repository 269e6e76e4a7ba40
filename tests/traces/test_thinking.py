"""Thinking within a model's answer is not searched for the answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rbridge_metrics import character_confidence
from rbridge_traces import MalformedCompletionError, completion_of_tokens, extract_reasoning, parse_completion
from rbridge_traces.thinking import without_thinking

DRAFT = '{"reasoning": "a draft", "final_answer": "3"}'
PLACEHOLDER = '{ "reasoning": "your step by step reasoning", "final_answer": "your final answer" }'
ANSWER = '{"reasoning": "2 + 2 = 4.", "final_answer": "4"}'
MARKS = [
    ("<think>", "</think>"),
    ("<THINK>\n", "\n</THINK>\n\n"),
    ("<thinking>", "</thinking>"),
    ('<think type="long">', "</think>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ("analysis", "assistantfinal"),
]
ALONE = [
    "</think>",
    "\n</think>\n\n",
    "</thinking>",
    "</seed:think>",
    "[/THINK]",
    "◁/think▷",
    "<|channel|>final<|message|>",
]


@pytest.mark.parametrize(("opening", "closing"), MARKS, ids=[f"{a}{b}"[:40] for a, b in MARKS])
@pytest.mark.parametrize("draft", [DRAFT, PLACEHOLDER, f"{DRAFT} and {DRAFT}", '{"reasoning": "broken', "{{", "2 + 2."])
def test_an_object_within_thinking_is_no_answer(opening: str, closing: str, draft: str) -> None:
    """Any thinking marks with any content are skipped."""
    thinking = f"{opening}The user wants {draft}. So it is.{closing}"
    assert parse_completion(thinking + ANSWER) == ("2 + 2 = 4.", "4")
    assert parse_completion(
        f"Sure.\n{thinking}```json\n{ANSWER}\n```\n" if opening != "analysis" else thinking + ANSWER
    )
    with pytest.raises(MalformedCompletionError, match="thinking"):
        parse_completion(thinking)


@pytest.mark.parametrize("closing", ALONE)
def test_a_closing_mark_alone_ends_thinking_that_the_prompt_began(closing: str) -> None:
    """The chat templates of DeepSeek-R1 and QwQ put the opening mark into the prompt."""
    assert parse_completion(f"I could say {DRAFT}. Or not.{closing}{ANSWER}") == ("2 + 2 = 4.", "4")
    with pytest.raises(MalformedCompletionError, match="after its thinking"):
        parse_completion(f"I could say {DRAFT}.{closing}")


@pytest.mark.parametrize("opening", [opening for opening, _ in MARKS[:-1]])
def test_thinking_without_an_end_has_no_answer(opening: str) -> None:
    """Truncated thinking has no answer; the reason names the mark."""
    with pytest.raises(MalformedCompletionError, match="has no end"):
        parse_completion(f"{opening}I could say {DRAFT}. Or")


def test_several_thoughts_and_thoughts_in_thoughts() -> None:
    """Consecutive blocks, nested blocks and a block after the answer are skipped."""
    block = f"<think>{DRAFT}</think>"
    for text in (
        f"{block}\n{block}{ANSWER}",
        f"<think>{block}{DRAFT}</think>{ANSWER}",
        f"{ANSWER}{block}",
        f"{DRAFT}</think>{block}{ANSWER}",
    ):
        assert parse_completion(text) == ("2 + 2 = 4.", "4"), text


@pytest.mark.parametrize("tag", ["<think>", "</think>", "[THINK]", "<|channel|>final<|message|>", "<think>a</think>"])
def test_a_mark_in_the_answer_itself_is_text(tag: str) -> None:
    """A mark inside the answer, or quoted in the text before it, is text."""
    answer = {"reasoning": f"The tag {tag} is one.", "final_answer": tag}
    for before in ("", "<think>Hm.</think>", "I write no `<think>` here. "):
        assert parse_completion(before + json.dumps(answer)) == (answer["reasoning"], tag)
    assert parse_completion('{"a": "<think>"} ' + ANSWER + " Without `</think>`.")[1] == "4"


@pytest.mark.parametrize("closing", ["<|end|>", "</s>", "<|im_end|>", "</answer>"])
def test_marks_of_the_end_of_a_text_are_no_thinking(closing: str) -> None:
    """Some models end every answer with such marks."""
    assert parse_completion(ANSWER + closing) == ("2 + 2 = 4.", "4")


def test_confidences_are_those_of_the_answer_not_of_the_draft() -> None:
    """The draft has the same text, but its tokens have another probability."""
    draft = f"<think>{ANSWER}</think>\n"
    pieces = [draft.encode(), b'{"reasoning": "2 + ', b'2 = 4.", "final_answer": "4"}']
    reasoning = extract_reasoning(completion_of_tokens(pieces, np.log([0.1, 0.5, 0.25])))
    expected = [0.5] * 4 + [0.25] * 6
    np.testing.assert_allclose(character_confidence(reasoning.token_end, reasoning.token_logprob), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "echo",
    [
        PLACEHOLDER,
        PLACEHOLDER.replace("your step by step", "<Your step by step"),
        '{"reasoning": "...", "final_answer": "..."}',
    ],
)
def test_the_placeholder_of_the_prompt_is_no_answer(echo: str) -> None:
    """An answer after the repeated form is used; the repeated form alone is not an answer."""
    assert parse_completion(f"In the form {echo}:\n{ANSWER}") == ("2 + 2 = 4.", "4")
    with pytest.raises(MalformedCompletionError, match="placeholder"):
        parse_completion(echo)
    assert parse_completion('{"reasoning": "2 + 2", "final_answer": "your final answer"}') == ("2 + 2", None)


def test_a_mark_repeated_thousands_of_times_is_read_at_once() -> None:
    """A model that repeats its closing mark to the token limit has said nothing; each mark is examined once."""
    assert without_thinking("</think>" * 20_000 + "4") == "4"
