"""The text of an answer is located among all tokens that a server lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import Completion, CompletionError, completion_of_choice, extract_reasoning

from ..metrics.strategies import cases
from .answers import Answer, answers, assert_confidence, chat, confidence_of, cuts_of
from .support import complaint

OBJECT = ['{"reasoning": "', "2", " +", " 2", " =", " 4", '", "final_answer": "4"}']
JSON = "".join(OBJECT)
HARMONY = ["<|channel|>", "analysis", "<|message|>", "Sum", ".", "<|end|>", "<|start|>", "assistant"]
HARMONY_FINAL = [*HARMONY, "<|channel|>", "final", "<|message|>"]


def read(text: str, tokens: Sequence[str | bytes], *, with_bytes: bool = True, **fields: Any) -> Completion:
    """The completion of a choice whose token n, counted from 1, has the log-probability -(n modulo 1000)."""
    entries = [
        {
            "token": token if isinstance(token, str) else token.decode(errors="replace"),
            "bytes": list(token.encode() if isinstance(token, str) else token) if with_bytes else None,
            "logprob": float(-(number % 1000)),
        }
        for number, token in enumerate(tokens, start=1)
    ]
    return completion_of_choice({"message": {"content": text}, "logprobs": {"content": entries}, **fields})


BEFORE: dict[str, list[str]] = {
    "nothing": [],
    "think": ["<think>", "Short", " sum", ".", "</think>", "\n\n"],
    "think without its beginning": ["Short", " sum", ".", "</think>", "\n"],
    "empty think": ["<think>", "\n\n", "</think>", "\n\n"],
    "think in pieces": ["<", "think", ">", "ok", "</", "think", ">\n\n"],
    "harmony": HARMONY_FINAL,
    "harmony without marks": ["analysis", "Sum", ".", "assistant", "final"],
    "Mistral": ["[THINK]", "Sum", "[/THINK]"],
    "Kimi": ["◁think▷", "Sum", "◁/think▷"],
    "beginning of text": ["<s>"],
    "Llama": ["<|begin_of_text|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"],
    "a draft of the object": ["<think>", *OBJECT, "</think>", "\n"],
    "a draft in harmony": ["<|channel|>", "analysis", "<|message|>", *OBJECT, *HARMONY_FINAL[5:]],
    "white space": ["\n", " "],
}
BEHIND: dict[str, list[str]] = {
    "nothing": [],
    "ChatML": ["<|im_end|>"],
    "Llama": ["<|eot_id|>"],
    "Gemma": ["<end_of_turn>", "\n"],
    "sentence": ["</s>"],
    "DeepSeek": ["<｜end▁of▁sentence｜>"],
    "instruction": [" [/INST]"],
    "harmony": ["<|return|>"],
    "white space": ["\n\n", ""],
}


@pytest.mark.parametrize("with_bytes", [True, False])
@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("before", BEFORE)
def test_tokens_that_the_text_lacks_are_left_out(before: str, behind: str, with_bytes: bool) -> None:
    """The five tokens of the reasoning keep their log-probabilities, whatever tokens surround the object."""
    completion = read(JSON, [*BEFORE[before], *OBJECT, *BEHIND[behind]], with_bytes=with_bytes)
    reasoning = extract_reasoning(completion)
    assert reasoning.text == "2 + 2 = 4"
    assert reasoning.token_end.tolist() == [1, 3, 5, 7, 9]
    first = len(BEFORE[before]) + 2
    assert reasoning.token_logprob.tolist() == [-first - n for n in range(5)]


@pytest.mark.parametrize("before", BEFORE)
def test_characters_split_over_tokens_at_the_seam_stay_whole(before: str) -> None:
    """``∑ é`` as E2 | 88 91 | 20 C3 | A9 after other tokens, from bytes: the text starts at a token's start."""
    parts = [b"\xe2", b"\x88\x91", b" \xc3", b"\xa9"]
    completion = read("∑ é", [*BEFORE[before], *parts, "<|im_end|>"])
    assert completion.token_byte_end.tolist() == [1, 3, 5, 6]
    assert completion.token_logprob.tolist() == [-len(BEFORE[before]) - n for n in range(1, 5)]


@pytest.mark.parametrize("before", [name for name in BEFORE if name != "harmony without marks"])
def test_replaced_characters_are_placed_behind_what_the_text_lacks(before: str) -> None:
    """The same from text with U+FFFD: the four parts share the bytes of their characters."""
    tokens = [*BEFORE[before], "\ufffd", "\ufffd", " \ufffd", "\ufffd", "."]
    completion = read("∑ é.", [*tokens, "<|im_end|>"], with_bytes=False)
    assert completion.token_byte_end.tolist() == [1, 3, 5, 6, 7]
    assert completion.token_logprob.tolist() == [-len(BEFORE[before]) - n for n in range(1, 6)]


def test_replaced_characters_in_the_thinking_do_not_matter() -> None:
    """U+FFFD among tokens outside the text changes nothing."""
    tokens = ["<think>", "\ufffd", "\ufffd", "</think>", *OBJECT, "<|im_end|>"]
    reasoning = extract_reasoning(read(JSON, tokens, with_bytes=False))
    assert reasoning.token_logprob.tolist() == [-6, -7, -8, -9, -10]
    spelled = ['{"reasoning": "é ', "\ufffd", "\ufffd", '"}']
    reasoning = extract_reasoning(read('{"reasoning": "é é"}', ["Hm", "é", *spelled], with_bytes=False))
    assert reasoning.token_end.tolist() == [2, 3]
    np.testing.assert_allclose(
        np.exp(reasoning.token_logprob), np.exp([-3, np.log(np.exp([-4, -5]).mean())]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("tokens", "fields", "logprobs"),
    [
        (["4", " apples", "\n", "Question", ":"], {"stop_reason": "\nQ", "finish_reason": "stop"}, [-1, -2]),
        (["<think>", "4", "</think>", "4", " apples", "###"], {"stop_reason": "###"}, [-4, -5]),
        (["4", " apples", "\n\n", "Question"], {"finish_reason": "stop"}, [-1, -2]),
        (["4", " apples", "\nHuman:"], {"finish_reason": "stop"}, [-1, -2]),
        (["4", " apples.\n", "Q"], {"finish_reason": "stop"}, [-1, -2]),
    ],
)
def test_stop_strings_behind_the_text_are_left_out(
    tokens: list[str], fields: dict[str, str], logprobs: list[int]
) -> None:
    """A stop string, named by the server or not, is left out; the text starts where an answer starts."""
    assert read("4 apples", tokens, **fields).token_logprob.tolist() == logprobs


REFUSED: list[tuple[str, list[str], dict[str, str], str]] = [
    ("4", ["<think>", "2+2=", "4", "</think>"], {}, "only before '</think>'"),
    (JSON, ["<think>", *OBJECT, "</think>"], {"finish_reason": "stop"}, "only before '</think>'"),
    ("4", ["<|channel|>", "analysis", "<|message|>", "4", "<|end|>", "<|start|>"], {}, "only before '<|start|>'"),
    ("4", ["2 + 2 = 14"], {}, "begins within a token"),
    ("4", ["4", " apples"], {}, "behind it they go on ' apples'"),
    ("4", ["4", " apples"], {"finish_reason": "length"}, "behind it they go on ' apples'"),
    ("4", ["So", " ", "4", " apples"], {"finish_reason": "stop"}, "behind it they go on ' apples'"),
    ("4", ["4", " apples" * 20], {"finish_reason": "stop"}, "behind it they go on"),
    ("4", ["4", "</s>", "4", " pears"], {"finish_reason": "stop"}, "2 times"),
    ("4.", ["<think>", "x", "</think>", "4"], {}, "do not spell the text"),
    ("The sum is 4.", ["So", "The", " sum", " is", " 4"], {}, "do not spell the text"),
    ("The sum is 4.", [" sum", " is", " 4", ".", "<|im_end|>"], {}, "do not spell the text"),
]


@pytest.mark.parametrize("with_bytes", [True, False])
@pytest.mark.parametrize(("text", "tokens", "fields", "why"), REFUSED)
def test_what_is_ambiguous_or_shifted_is_refused(
    text: str, tokens: list[str], fields: dict[str, str], why: str, with_bytes: bool
) -> None:
    """Text only in the thinking, inside a token, before other words or nowhere gives a one-line error."""
    assert why in complaint(read, text, tokens, with_bytes=with_bytes, error=CompletionError, **fields)


def test_content_in_parts_is_its_text() -> None:
    """Mistral's reasoning models answer in parts, and the thinking part is not text of the answer."""
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Sum"}]}, {"type": "text", "text": "4"}]
    entries = [{"token": token, "logprob": -1.0} for token in ("[THINK]", "Sum", "[/THINK]", "4")]
    completion = completion_of_choice({"message": {"content": parts}, "logprobs": {"content": entries}})
    assert (completion.text, completion.token_byte_end.tolist()) == ("4", [1])


@cases(150)
@given(st.data(), answers(), answers(), st.sampled_from([*BEHIND]))
def test_any_answer_behind_any_thinking_keeps_its_confidences(
    data: st.DataObject, answer: Answer, thought: Answer, behind: str
) -> None:
    """Thinking before an answer changes no confidence, also if tokens cross the boundary."""
    before = f"<think>{thought.raw}{answer.raw}</think>\n"
    text = before + answer.raw.strip()
    cut = data.draw(cuts_of(text + "".join(BEHIND[behind])))
    shift = len(text.encode()) - len(answer.raw.strip().encode())
    stripped = len(answer.raw.encode()) - len(answer.raw.lstrip().encode())  # U+0085 is a space of two bytes
    moved = tuple((start + shift - stripped, end + shift - stripped) for start, end in answer.characters)
    reasoning = extract_reasoning(completion_of_choice({**chat(answer.raw.strip(), cut)}))
    assert reasoning.text == answer.reasoning
    whole = Answer(text, answer.reasoning, moved, answer.final_answer)
    assert_confidence(reasoning.token_end, reasoning.token_logprob, confidence_of(whole, cut))


def test_a_text_of_one_character_among_thousands_is_found_at_once() -> None:
    """With thousands of possible positions, the last one is found quickly."""
    completion = read("4", ["<think>", *["4", " "] * 20_000, "</think>", "4", "</s>"])
    assert completion.token_logprob.tolist() == [-3]
    assert completion.token_byte_end.tolist() == [1]
