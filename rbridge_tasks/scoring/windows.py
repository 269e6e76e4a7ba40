"""Fit tokenised pairs into a model's window so that every trace token is scored exactly once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Window:
    """One forward pass over part of a pair: input ``ids[start:stop - 1]`` predicts the tokens ``ids[first:stop]``.

    Attributes:
        pair: index of the pair.
        start: first input token.
        first, stop: the scored tokens; ``start < first < stop``.
    """

    pair: int
    start: int
    first: int
    stop: int

    @property
    def inputs(self) -> int:
        """Number of input tokens."""
        return self.stop - 1 - self.start


def plan_windows(pair: int, tokens: int, first: int, max_length: int) -> list[Window]:
    """Windows of at most ``max_length`` input tokens that score tokens ``first`` to ``tokens`` of a pair once each.

    A pair that fits is one window. A context that is too long is cut from the left, as lm-eval does. A trace longer
    than the window is spread over windows that overlap by half: every token but the first few of the trace has at least
    half a window of text before it.

    Args:
        pair: index of the pair, kept in the windows.
        tokens: number of tokens of the pair.
        first: index of the first scored token, at least 1.
        max_length: longest input of the model, at least 1.

    >>> plan_windows(0, tokens=10, first=4, max_length=20)
    [Window(pair=0, start=0, first=4, stop=10)]
    >>> plan_windows(0, tokens=10, first=4, max_length=6)  # three context tokens are cut
    [Window(pair=0, start=3, first=4, stop=10)]
    """
    if tokens - first <= max_length:
        return [Window(pair, max(0, tokens - 1 - max_length), first, tokens)]
    stride = max(1, max_length // 2)
    start = max(0, first - stride)
    stop = start + max_length + 1
    windows = [Window(pair, start, first, stop)]
    while stop < tokens:
        first, stop = stop, min(stop + stride, tokens)
        windows.append(Window(pair, stop - 1 - max_length, first, stop))
    return windows


def report_cuts(plans: Sequence[Sequence[Window]], max_length: int) -> None:
    """Log how many contexts were cut and how many traces are spread over several windows."""
    cut = sum(plan[0].start > 0 for plan in plans)
    spread = sum(len(plan) > 1 for plan in plans)
    if cut:
        logger.warning(
            "%d of %d contexts are longer than the model's window of %d tokens and were cut from the left",
            cut, len(plans), max_length,
        )  # fmt: skip
    if spread:
        logger.warning("%d traces are longer than the model's window and were scored in parts", spread)
