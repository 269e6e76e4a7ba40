"""Numbers, units and names as charts and tables show them."""

from __future__ import annotations

import math

MINUS = "−"
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_LONGEST_NAME = 132.0  # points, beside a chart of the page
_NARROW, _WIDE = frozenset("iljtfr.,:;'|!()[]1 "), frozenset("mwMWQ@%")


def number_text(value: float, *, sign: bool = False) -> str:
    """A number in four or five digits; ``sign`` writes a plus too.

    >>> number_text(0.70123), number_text(-12.3456), number_text(1234.5), number_text(3.2e-6)
    ('0.7012', '−12.35', '1,234', '3.2e−06')
    >>> number_text(0.5, sign=True), number_text(1.5e30)
    ('+0.5000', '1.5e+30')
    """
    size = abs(value)
    if size >= 1e9:
        text = f"{value:.4g}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 10:
        text = f"{value:.{2 if size < 100 else 1}f}"
    else:
        text = f"{value:.4f}" if size >= 5e-4 or value == 0 else f"{value:.1e}"
    return ("+" if sign and value > 0 else "") + text.replace("-", MINUS)


def interval_text(low: float, high: float) -> str:
    """Two ends of an interval.

    >>> interval_text(0.5, 0.75)
    '0.5000 to 0.7500'
    """
    return f"{number_text(low)} to {number_text(high)}"


def tip_text(name: str, value: float, low: float, high: float) -> str:
    """A name, its value and its interval, if known."""
    known = math.isfinite(low) and math.isfinite(high)
    return f"{name}: {number_text(value)}" + (f" ({interval_text(low, high)})" if known else "")


def flops_text(flops: float) -> str:
    """A power of ten with its exponent raised.

    >>> flops_text(1e18), flops_text(3e17)
    ('10¹⁸', '3·10¹⁷')
    """
    exponent = math.floor(math.log10(flops) + 1e-9)
    power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
    mantissa = round(flops / 10**exponent)
    return power if mantissa == 1 else f"{mantissa}·{power}"


def shortened(name: str) -> str:
    """A name that fits beside a chart of the page."""
    if text_width(name) <= _LONGEST_NAME:
        return name
    end = next(end for end in range(len(name), 0, -1) if text_width(name[:end] + "…") <= _LONGEST_NAME)
    return name[:end].rstrip() + "…"


def text_width(text: str) -> float:
    """An upper bound on the width of a name in bold, in points; the page's font is unknown here."""
    return 14.0 * sum(0.42 if x in _NARROW else 1.0 if x in _WIDE or ord(x) > 0x2E80 else 0.68 for x in text)
