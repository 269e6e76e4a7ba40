"""Metrics named on a command line with commas between, though lm-eval's filters bring commas of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def split_names(texts: Sequence[str], there: Collection[str]) -> list[str]:
    """Names out of texts such as ``rbridge_nll,acc:higher``; a metric of the table that has a comma stays whole.

    >>> split_names(["acc, exact_match,strict-match", "nll:lower"], {"acc", "exact_match,strict-match"})
    ['acc', 'exact_match,strict-match', 'nll:lower']
    """
    names: list[str] = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        while parts:
            width = next((n for n in range(len(parts), 1, -1) if _plain(",".join(parts[:n])) in there), 1)
            names.append(",".join(parts[:width]))
            parts = parts[width:]
    return [name for name in names if name]


def _plain(name: str) -> str:
    return name.removesuffix(":lower").removesuffix(":higher")
