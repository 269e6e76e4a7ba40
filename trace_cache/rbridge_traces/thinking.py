"""Find the thinking that reasoning models write before their answer, marks included.

Many servers do not separate it. Some templates put the opening mark into the prompt: then all text before the closing
mark is thinking. A mark in quotes does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rbridge_traces.text_in_tokens import MARK

_TAG = r"(?:[\w-]+:)?(?:[a-z_]*think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|analysis)"
_CHANNEL = r"<\|channel\|>\s*"
_ANSWERED = rf"{_CHANNEL}final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"

# Opening mark, closing mark, and the closing mark that proves thinking without an opening one.
_KINDS = [
    (rf"<(?P<tag>{_TAG})(?:\s[^<>]*[^<>/])?>", r"</{tag}\s*>", r"</(?:[\w-]+:)?(?:[a-z_]*think(?:ing)?|thoughts?)\s*>"),
    (r"\[THINK\]", r"\[/THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷", r"◁/think▷"),
    (
        r"<\|(?:begin_of_|start_)?(?:think(?:ing)?|thought)\|>",
        *[r"<\|(?:end_of_|end_|/)(?:think(?:ing)?|thought)\|>"] * 2,
    ),
    (r"<\|channel>thought\b", r"<channel\|>", r"<channel\|>"),
    (r"<unused94>", r"<unused95>", r"<unused95>"),
    (rf"{_CHANNEL}(?:analysis|commentary)\b[^<]*<\|message\|>", rf"<\|end\|>|<\|call\|>|{_ANSWERED}", _ANSWERED),
    # the line above, from a server that leaves special tokens out
    (r"\Aanalysis(?=.*?assistantfinal)", r"assistantfinal", r"(?<=[.\w)\]}])assistantfinal(?=\s*[{`])"),
]
_OPENING = re.compile("|".join(f"(?P<kind{number}>{kind[0]})" for number, kind in enumerate(_KINDS)), re.I | re.S)
_ALONE = re.compile("|".join(kind[2] for kind in _KINDS), re.IGNORECASE)
_CLOSING = "|".join(kind[1].replace("{tag}", _TAG) for kind in _KINDS)
_HEADER = r"(?:assistant|system|user|analysis|commentary|final|json|to=[\w.]+)(?=\s*<)"  # between marks
#: From the end of the thinking to the beginning of the answer.
SEAM = re.compile(rf"\s*(?:{_CLOSING})\s*(?:(?:{MARK}|{_HEADER})\s*)*", re.IGNORECASE)
#: Before the thinking: marks of a conversation, channel names, the opening mark.
BEFORE = re.compile(rf"\s*(?:(?:{MARK}|{_HEADER})\s*)*(?:analysis|thought)?\s*", re.IGNORECASE)
_QUOTES = ("``", '""', "''")


@dataclass(frozen=True)
class Block:
    """A block of thinking.

    Attributes:
        start: where its opening mark begins.
        end: where its closing mark ends; None if it is not closed.
        mark: the opening mark.
    """

    start: int
    end: int | None
    mark: str


def next_block(text: str, at: int) -> Block | None:
    """The first block that opens at or after a position.

    >>> next_block("<think>2 + 2</think> 4", 0)
    Block(start=0, end=20, mark='<think>')
    """
    for opening in _OPENING.finditer(text, at):
        if not _quoted(text, opening):
            kind = _KINDS[int((opening.lastgroup or "")[len("kind") :])]
            closing = kind[1].replace("{tag}", re.escape(opening["tag"] or ""))
            closed = _unquoted(re.compile(closing, re.IGNORECASE), text, opening.end())
            return Block(opening.start(), None if closed is None else closed.end(), opening[0])
    return None


def closed_after(text: str, at: int) -> int | None:
    """The end of the first closing mark after a position that has no opening mark there; None without one.

    >>> closed_after("2 + 2</think> 4", 0), closed_after("2 <think>+</think> 2", 0)
    (13, None)
    """
    return next(_closings_alone(text, at), None)


def _closings_alone(text: str, at: int) -> Iterator[int]:
    """The ends of the closing marks after a position that have no opening mark there."""
    block = next_block(text, at)
    while (closing := _unquoted(_ALONE, text, at)) is not None:
        if block is not None and block.start < at:
            block = next_block(text, at)
        if block is None or closing.start() < block.start:
            at = closing.end()
            yield at
        elif block.end is None:
            return
        else:
            at = block.end


def without_thinking(text: str) -> str:
    """A text without the thinking at its beginning; empty if the thinking is not closed.

    >>> without_thinking("<think>2 + 2</think> 4"), without_thinking("2 + 2</think> 4"), without_thinking("4")
    (' 4', ' 4', '4')
    """
    at = 0
    while (block := next_block(text, at)) is not None and not text[at : block.start].strip():
        if block.end is None:
            return ""
        at = block.end
    *_, at = (at, *_closings_alone(text, at))
    return text[at:]


def thinking_in(text: str) -> tuple[int, int] | None:
    """Start and end of the thinking at the beginning of a text, without its marks and the white space around it.

    None without thinking, without an end of it, or with several blocks of it.

    >>> text = "<think>\\n2 + 2\\n</think>\\n\\n4"
    >>> start, end = thinking_in(text)
    >>> text[start:end]
    '2 + 2'
    """
    answer = len(text) - len(without_thinking(text))
    seams = [seam for seam in SEAM.finditer(text, 0, answer) if not _quoted(text, seam)]
    end = next((seam.start() for seam in seams if not text[seam.end() : answer].strip()), None)
    if end is None:
        return None
    block = next_block(text, 0)
    start = 0
    if block is not None and block.start < end and BEFORE.fullmatch(text, 0, block.start):
        start = block.start + len(block.mark)
    start += len(text[start:end]) - len(text[start:end].lstrip())
    inside = any(start <= seam.start() < end for seam in seams) or next_block(text[start:end], 0) is not None
    return None if inside or start >= end else (start, end)


def _unquoted(mark: re.Pattern[str], text: str, at: int) -> re.Match[str] | None:
    return next((match for match in mark.finditer(text, at) if not _quoted(text, match)), None)


def _quoted(text: str, mark: re.Match[str]) -> bool:
    return text[max(0, mark.start() - 1) : mark.start()] + text[mark.end() : mark.end() + 1] in _QUOTES
