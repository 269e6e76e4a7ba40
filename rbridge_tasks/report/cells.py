"""Numbers as the page shows them: rounded for people, exact for machines, and a dash with its reason where missing."""

from __future__ import annotations

import math
from typing import NamedTuple

from rbridge_tasks.tables.sizes import count_text

MINUS = "−"

#: Why a cell is a dash, by the letter that stands beside it.
REASONS = {
    "a": "one checkpoint only, so there is no change to show",
    "b": "no standard error: lm-eval gave none, or the table leaves it empty",
    "c": "not in the score table for this run",
    "d": "which way the metric runs is not known by its name",
    "e": "the table does not say how many items",
    "f": "params or training tokens are unknown",
    "g": "too few resamples or no standard errors, so no interval",
    "i": "the samples carry no such number for it",
    "h": "the fit holds no accuracy of this run to carry on from, or no training tokens to fit to",
}


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        text: for people.
        value: the number as Python writes it; None for text and for what is missing.
        missing: a key of ``REASONS`` where there is no number.
    """

    text: str
    value: str | None = None
    missing: str | None = None


def number(value: float, missing: str = "c") -> Cell:
    """A number of the score table, exact for machines, or a dash with its reason where it is NaN.

    >>> number(-0.123456), number(float("nan"), "b")
    (Cell(text='−0.1235', value='-0.123456', missing=None), Cell(text='–', value=None, missing='b'))
    """
    if not math.isfinite(value):
        return Cell("–", None, missing)
    return Cell(number_text(value), repr(float(value)))


def change(value: float, missing: str = "a") -> Cell:
    """A difference of two numbers, with its sign."""
    return Cell("–", None, missing) if math.isnan(value) else Cell(number_text(value, sign=True), f"{value:.6g}")


def count(value: float, missing: str = "f") -> Cell:
    """A count of parameters or tokens as people write it."""
    return Cell("–", None, missing) if math.isnan(value) else Cell(count_text(value), f"{value:.17g}")


def whole(value: float, missing: str = "e") -> Cell:
    """A whole number."""
    return Cell("–", None, missing) if math.isnan(value) else Cell(f"{value:,.0f}", f"{value:.0f}")


def percent(value: float, missing: str = "h") -> Cell:
    """A number of per cent, with one decimal."""
    return Cell("–", None, missing) if not math.isfinite(value) else Cell(_signed(f"{value:.1f}"), f"{value:.6g}")


def token_number(value: float) -> Cell:
    """Nats, a confidence or a weight of a token, with two decimals."""
    if math.isnan(value):
        return Cell("–", None, "i")
    return Cell(_signed(f"{value:.2f}"), f"{value:.6g}")


def number_text(value: float, *, sign: bool = False) -> str:
    """A number in four or five digits; ``sign`` writes a plus too.

    >>> number_text(0.70123), number_text(-12.3456), number_text(1234.5), number_text(3.2e-6)
    ('0.7012', '−12.35', '1,234', '3.2e−06')
    >>> number_text(0.5, sign=True)
    '+0.5000'
    """
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 10:
        text = f"{value:.{2 if size < 100 else 1}f}"
    else:
        text = f"{value:.4f}" if size >= 5e-4 or value == 0 else f"{value:.1e}"
    return ("+" if sign and value > 0 else "") + _signed(text)


def interval_text(low: float, high: float) -> str:
    """Two ends of an interval.

    >>> interval_text(0.5, 0.75)
    '0.5000 to 0.7500'
    """
    return f"{number_text(low)} to {number_text(high)}"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
