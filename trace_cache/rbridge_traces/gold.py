"""Convert the right choice of an item to its label from the label, index or text that a file gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from rbridge_traces.errors import TraceImportError
from rbridge_traces.schema import Choice

CountFrom = Literal[0, 1]
"""The index of the first choice."""


def gold_label(
    gold: Any, choices: Sequence[Choice], *, count_from: CountFrom = 0, remedy: str = "give the label"
) -> str:
    """The label of the right choice.

    In this order: a label, also as ``(B)`` or in lower case; the index of a choice, where the labels are no numbers;
    the text of a choice.

    Args:
        gold: as a file has it: a number or text.
        choices: at least one.
        count_from: the index of the first choice.
        remedy: for the error.

    Raises:
        TraceImportError: it is none of these, or the index of one choice and the text of another.

    >>> four = [Choice(label, label.lower() * 3) for label in "ABCD"]
    >>> [gold_label(gold, four) for gold in (3, "3", "(b)", "ccc")]
    ['D', 'D', 'B', 'C']
    """
    return read_gold(gold, choices, count_from, remedy)[0]


def read_gold(gold: Any, choices: Sequence[Choice], count_from: CountFrom, remedy: str) -> tuple[str, bool]:
    """``gold_label``, and whether the gold is the index of that choice."""
    written = str(gold).strip().removesuffix(".0")  # 3.0, as a column of floats or a text of one has it, is 3
    labels = [choice.label for choice in choices]
    for label in (str(gold), written):
        if label in labels:
            return label, False
    bare = written.strip("()[].: ").casefold()
    named = [label for label in labels if label.casefold() == bare]
    if len(named) == 1:
        return named[0], False
    of_text = [choice.label for choice in choices if choice.text.strip() in (written, str(gold))]
    if not of_text:
        of_text = [choice.label for choice in choices if choice.text.strip().casefold() == written.casefold()]
    of_index = _by_index(written, labels, count_from)
    labels_meant = {*of_text, *of_index}
    if len(labels_meant) == 1 and len(of_text) <= 1:
        return labels_meant.pop(), not of_text
    shown = f"the gold is {written!r}, beside choices labelled {', '.join(labels)}"
    if of_index and of_text:
        raise TraceImportError(
            f"{shown}: it could be the index of choice {of_index[0]} or the text of choice {of_text[0]}; "
            "give the label of the right choice"
        )
    raise TraceImportError(f"{shown}: it is no label, no text of one choice and no index from {count_from}; {remedy}")


def gold_label_if_known(gold: str | None, choices: Sequence[Choice] | None) -> str | None:
    """The label of the right choice if ``gold_label`` finds it, else the gold as published."""
    if not gold or not choices:
        return gold
    try:
        return gold_label(gold, choices)
    except TraceImportError:  # tasks that need the gold refuse it
        return gold


def _by_index(written: str, labels: Sequence[str], count_from: CountFrom) -> list[str]:
    """The label of the choice with this index; empty for another number, or if labels are numbers."""
    if not re.fullmatch(r"[0-9]{1,9}", written) or any(label.isdecimal() for label in labels):
        return []
    index = int(written) - count_from
    return [labels[index]] if 0 <= index < len(labels) else []
