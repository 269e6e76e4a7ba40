"""Names of metrics and benchmarks that a user gives: split, looked up in a score table, listed in errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from rbridge_metrics.errors import RBridgeError

if TYPE_CHECKING:
    import pandas as pd


class UnknownNameError(RBridgeError, ValueError):
    """A metric or benchmark that a score table does not hold. The message lists those that it holds."""


def check_metrics(
    table: pd.DataFrame, names: Iterable[str], *, where: str = "the score table", option: str = "--metric"
) -> None:
    """Refuse metrics that a score table does not hold.

    Raises:
        UnknownNameError: names the metrics, those of the table, and the option that chooses others.
    """
    _check("metric", table, names, where, option)


def check_benchmarks(
    table: pd.DataFrame, names: Iterable[str], *, where: str = "the score table", option: str = "--benchmark"
) -> None:
    """Refuse benchmarks that a score table does not hold.

    Raises:
        UnknownNameError: names the benchmarks, those of the table, and the option that chooses others.
    """
    _check("benchmark", table, names, where, option)


def _check(column: str, table: pd.DataFrame, names: Iterable[str], where: str, option: str) -> None:
    present = [*dict.fromkeys(table[column])]
    if lacking := [name for name in names if name not in present]:
        raise UnknownNameError(
            f"{where} has no {column} {listed(lacking)}; it has {listed(present)}: choose with {option}"
        )


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names separated by commas, the first ``most`` of them, each once. A set is sorted.

    >>> listed(["acc", "trace_nll", "acc"]), listed("abcde", 2), listed({"b", "a"})
    ('acc, trace_nll', 'a, b and 3 more', 'a, b')
    """
    unique = sorted(names) if isinstance(names, (set, frozenset)) else [*dict.fromkeys(names)]
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def split_names(texts: Sequence[str], known: Collection[str]) -> list[str]:
    """Names from texts such as ``rbridge_nll,acc:higher``; a known metric that contains a comma stays whole.

    >>> split_names(["acc, exact_match,strict-match", "nll:lower"], {"acc", "exact_match,strict-match"})
    ['acc', 'exact_match,strict-match', 'nll:lower']
    """
    names: list[str] = []
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        while parts:
            joined = (",".join(parts[:n]) for n in range(len(parts), 1, -1))
            name = next((name for name in joined if _without_direction(name) in known), parts[0])
            names.append(name)
            parts = parts[name.count(",") + 1 :]
    return [name for name in names if name]


def _without_direction(name: str) -> str:
    return name.removesuffix(":lower").removesuffix(":higher")
