"""One answer with thinking before it, in every layout that servers use.

The bytes of every token are known, so the expected confidence of each character is computed without the package. Some
tokens end inside characters, both in the thinking and in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from .answers import decoded_alone, decoded_in_context

THINKING = "Naïve: √4 is 2."
REASONING = "So √4 = 2."
ANSWER = '{"reasoning": "So √4 = 2.", "final_answer": "2"}'
_THOUGHT = [
    b"Na",
    b"\xc3",
    b"\xaf",
    b"ve:",
    b" ",
    b"\xe2",
    b"\x88\x9a",
    b"4 is",
    b" 2",
]  # each layout adds the final "."
_WRITTEN = [b'{"', b'reasoning": "', b"So ", b"\xe2", b"\x88\x9a", b"4 =", b" 2.", b'", "final_', b'answer": "2"}']
_BEFORE_REASONING = len('{"reasoning": "')


@dataclass(frozen=True)
class Layout:
    """The tokens that a server lists, and the message that it returns.

    Attributes:
        before, between, behind: tokens around thinking and answer; ``between`` begins with the ``.`` of the thinking.
        message: fields of the choice's message.
        apart: name of a separate list for the tokens of the thinking, if any.
    """

    before: Sequence[bytes]
    between: Sequence[bytes]
    behind: Sequence[bytes]
    message: dict[str, Any]
    apart: str | None = None


_ANALYSIS = [b"<|channel|>", b"analysis", b"<|message|>"]
_FINAL = [b".", b"<|end|>", b"<|start|>", b"assistant", b"<|channel|>", b"final", b"<|message|>"]
_HARMONY = f"<|channel|>analysis<|message|>{THINKING}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}"
_QWEN = ([b"<think>", b"\n"], [b".\n", b"</think>", b"\n\n"], [b"<|im_end|>"])
_FORCED = (
    [],
    [b".", b"\n</", b"think", b">\n\n"],
    ["<｜end▁of▁sentence｜>".encode()],
)

LAYOUTS: dict[str, Layout] = {
    "reasoning_content": Layout(*_QWEN, {"reasoning_content": f"\n{THINKING}\n", "content": f"\n\n{ANSWER}"}),
    "reasoning": Layout(*_QWEN, {"reasoning": THINKING, "reasoning_content": None, "content": ANSWER}),
    "in the content": Layout(*_QWEN, {"content": f"<think>\n{THINKING}\n</think>\n\n{ANSWER}"}),
    "in the content, its beginning in the prompt": Layout(*_FORCED, {"content": f"{THINKING}\n</think>\n\n{ANSWER}"}),
    "in the content, with the beginning that is in the prompt": Layout(
        *_FORCED, {"content": f"<think>\n{THINKING}\n</think>\n\n{ANSWER}"}
    ),
    "a field, its beginning in the prompt": Layout(*_FORCED, {"reasoning_content": THINKING, "content": ANSWER}),
    "only in the tokens": Layout(*_QWEN, {"content": ANSWER}),
    "harmony": Layout(_ANALYSIS, _FINAL, [b"<|return|>"], {"reasoning": THINKING, "content": ANSWER}),
    "harmony for JSON": Layout(
        _ANALYSIS,
        [*_FINAL[:-1], b" ", b"<|constrain|>", b"json", b"<|message|>"],
        [b"<|end|>"],
        {"reasoning_content": THINKING, "content": ANSWER},
    ),
    "harmony in the content": Layout(_ANALYSIS, _FINAL, [b"<|return|>"], {"content": _HARMONY}),
    "harmony only in the tokens": Layout(_ANALYSIS, _FINAL, [b"<|return|>"], {"content": ANSWER}),
    "harmony without special tokens": Layout(
        [b"analysis"], [b".", b"assistant", b"final"], [], {"reasoning": THINKING, "content": ANSWER}
    ),
    "Kimi": Layout(
        ["◁think▷".encode()],
        [b".", "◁/think▷".encode()],
        [b"<|im_end|>"],
        {"content": f"◁think▷{THINKING}◁/think▷{ANSWER}"},
    ),
    "parts": Layout(
        [b"[THINK]"],
        [b".", b"[/THINK]"],
        [b"</s>"],
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": THINKING}]},
                {"type": "text", "text": ANSWER},
            ]
        },
    ),
    "lists apart": Layout(
        [], [b"."], [], {"reasoning_content": THINKING, "content": ANSWER}, apart="reasoning_content"
    ),
}
#: Layouts whose message contains the thinking, which resolves characters shown as U+FFFD.
GIVEN = [name for name in LAYOUTS if "only in the tokens" not in name]


def _with_bytes(pieces: Sequence[bytes]) -> list[dict[str, Any]]:
    return [{"token": piece.decode(errors="replace"), "bytes": list(piece)} for piece in pieces]


#: The ways in which servers show tokens that end inside a character.
SHOWN: dict[str, Callable[[Sequence[bytes]], list[dict[str, Any]]]] = {
    "bytes": _with_bytes,
    "bytes beside ids": lambda pieces: [{"token": f"token_id:{n}", "bytes": list(p)} for n, p in enumerate(pieces)],
    "U+FFFD": lambda pieces: [{"token": text} for text in decoded_alone(pieces)],
    "U+FFFD with bytes of its own": lambda pieces: [
        {"token": text, "bytes": list(text.encode())} for text in decoded_alone(pieces)
    ],
    "held back beside ids": lambda pieces: [
        {"token": f"token_id:{number}", "bytes": list(text.encode())}
        for number, text in enumerate(decoded_in_context(pieces))
    ],
    "held back": lambda pieces: [{"token": text, "bytes": list(text.encode())} for text in decoded_in_context(pieces)],
}


def pieces_of(layout: Layout) -> list[bytes]:
    """Return the bytes of all tokens."""
    return [*layout.before, *_THOUGHT, *layout.between, *_WRITTEN, *layout.behind]


def logprobs_of(layout: Layout) -> list[float]:
    """Return the log-probability of each token; all differ."""
    return [-0.01 * (number + 1) for number in range(len(pieces_of(layout)))]


def choice_of(layout: Layout, shown: str = "bytes") -> dict[str, Any]:
    """Return the choice of a Chat Completions response."""
    entries = [
        {**entry, "logprob": logprob, "top_logprobs": []}
        for entry, logprob in zip(SHOWN[shown](pieces_of(layout)), logprobs_of(layout), strict=True)
    ]
    count = len(layout.before) + len(_THOUGHT) + len(layout.between)
    lists = {"content": entries}
    if layout.apart:
        lists = {layout.apart: entries[:count], "content": entries[count:]}
    return {"index": 0, "message": {"role": "assistant", **layout.message}, "finish_reason": "stop", "logprobs": lists}


def by_hand(layout: Layout, trace: str) -> list[float]:
    """Confidence of each character of the trace: mean, over its bytes, of the probability of the byte's token."""
    pieces = pieces_of(layout)
    of_byte = np.repeat(np.exp(logprobs_of(layout)), [len(piece) for piece in pieces])
    text = THINKING if trace == "thinking" else REASONING
    before = [*layout.before] if trace == "thinking" else [*layout.before, *_THOUGHT, *layout.between]
    start = sum(map(len, before)) + (0 if trace == "thinking" else _BEFORE_REASONING)
    ends = [start + length for length in accumulate(len(character.encode()) for character in text)]
    return [float(of_byte[low:high].mean()) for low, high in zip([start, *ends], ends, strict=False)]
