"""Read PARAMS:TOKENS, ``16M:1.6B`` or ``16e6:1.6e9``, and print counts."""

from __future__ import annotations

import math
from typing import NamedTuple

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.run_names import count


class SizeError(RBridgeError):
    """A size or a count that cannot be read."""


class Size(NamedTuple):
    """A model and its training, counts."""

    params: float
    tokens: float


def parse_size(text: str) -> Size:
    """Read PARAMS:TOKENS.

    Raises:
        SizeError: it is not two positive counts.

    >>> parse_size("16M:1.6e9")
    Size(params=16000000.0, tokens=1600000000.0)
    """
    params, colon, tokens = text.partition(":")
    if not colon:
        raise SizeError(f"{text!r} is no size; write PARAMS:TOKENS, for example 16M:1.6B")
    return Size(parse_count(params), parse_count(tokens))


def parse_count(text: str) -> float:
    """Read a count above 0.

    Raises:
        SizeError: it is no number, or not above 0.

    >>> parse_count("1.2T"), parse_count("98e6")
    (1200000000000.0, 98000000.0)
    """
    try:
        number = count(text)
    except ValueError as error:
        raise SizeError(f"{text!r} is no count; write for example 16M, 1.6B or 16e6") from error
    if not (number > 0 and math.isfinite(number)):
        raise SizeError(f"a count of {text}; it should be above 0")
    return number


def count_text(number: float) -> str:
    """A count of parameters or tokens with a unit; ``?`` for NaN.

    >>> count_text(97_912_345), count_text(4e12), count_text(512), count_text(float("nan"))
    ('97.9M', '4T', '512', '?')
    """
    if math.isnan(number):
        return "?"
    rounded = float(f"{number:.3g}")
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if rounded >= size:
            return f"{rounded / size:g}{unit}"
    return f"{rounded:g}"
