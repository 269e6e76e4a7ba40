"""Folders of our benchmarks in published data."""

from __future__ import annotations

from collections.abc import Iterable

from rbridge_traces.benchmark import benchmark_named


def folder_patterns(benchmarks: Iterable[str]) -> list[str]:
    """Shell patterns for files in folders, at any depth, named like one of the benchmarks.

    >>> folder_patterns(["gsm8k"])
    ['[gG][sS][mM]8[kK]/*', '*/[gG][sS][mM]8[kK]/*']
    """
    known = [benchmark_named(benchmark) for benchmark in benchmarks]
    names = {name for benchmark in known for name in (benchmark.name, *benchmark.aliases)}
    forms = sorted(names | {name.replace("_", "") for name in names})
    patterns = ["".join(_either(character) for character in form) for form in forms]
    return [f"{start}{pattern}/*" for pattern in patterns for start in ("", "*/")]


def _either(character: str) -> str:
    return "[-_. ]" if character == "_" else f"[{character}{character.upper()}]" if character.isalpha() else character
