"""Split an answer in plain text into its reasoning and the final answer that it names."""

from __future__ import annotations

import re

ASKED_FOR = "Final answer:"
"""What a plain-text answer is asked to write before its final answer."""

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
"""A boxed answer in LaTeX; the first group is its content."""

_STATED = re.compile(r"(?im)^[ \t>#*_-]*(?:the )?final answer(?: is)?[ \t*_]*(?:[:\uff1a][ \t*_]*|\r?$)")
_FENCED = re.compile(r"((?:^[ \t]+)?)```[\w+-]*[ \t]*\r?\n(.*?)(?:\r?\n\1```|\Z)", re.DOTALL | re.MULTILINE)


def reasoning_end_and_answer(text: str, *, code: bool = False) -> tuple[int, str | None]:
    """Where the reasoning of an answer ends, and the final answer that it names.

    The reasoning ends before the last line that begins with ``Final answer:``, in Markdown or not. Without such a line
    it is the whole text, and the answer is the last ``\\boxed{}``, else the last line.

    Args:
        text: the answer, without thinking.
        code: the answer is a program: all lines after ``Final answer:``, else the last fenced block.

    Returns:
        The end in characters, without white space before it, and the answer; None where it names none.

    >>> reasoning_end_and_answer("2 + 2 = 4.\\n\\n**Final answer:** 4")
    (10, '4')
    >>> reasoning_end_and_answer("It is 4.\\nSo the answer is 4.")
    (28, 'So the answer is 4.')
    """
    *_, stated = (None, *_STATED.finditer(text))
    end = len(text if stated is None else text[: stated.start()].rstrip())
    answer = text if stated is None else text[stated.end() :]
    if code:
        programs = [program for _, program in _FENCED.findall(answer)] or [answer if stated else ""]
        return end, programs[-1].strip("\r\n").rstrip() or None
    if boxes := [box[0] for box in BOX.finditer(answer)]:
        return end, boxes[-1]
    lines = [line.strip(" \t\r*") for line in answer.splitlines() if line.strip(" \t\r*")]
    return end, lines[0 if stated else -1] if lines else None
