"""Numbers as results files hold them: JSON numbers, and numbers written as text."""

from __future__ import annotations

import math
import re
import sys

_NUMERAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MISSING = frozenset(("", "-", "n/a", "na", "nan", "none", "null"))


def number_of(value: object) -> float:
    """The finite number that a JSON value is or spells; else NaN. Booleans, percentages and other text are not numbers.

    >>> number_of(0.5), number_of("0.012"), number_of(" 1e-3 ")
    (0.5, 0.012, 0.001)
    >>> number_of("N/A"), number_of("12 %"), number_of("1,5"), number_of(True), number_of(float("inf"))
    (nan, nan, nan, nan, nan)
    """
    if isinstance(value, str):
        value = float(value) if len(value) < 400 and _NUMERAL.fullmatch(value.strip()) else math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value) if abs(value) < sys.float_info.max else math.nan


def is_missing(value: object) -> bool:
    """Whether a JSON value says that there is no number: null, NaN, ``N/A`` and the like.

    >>> is_missing(None), is_missing("N/A"), is_missing(float("nan")), is_missing("0.1 ± 0.2")
    (True, True, True, False)
    """
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))
