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
    names = {form for benchmark in known for name in (benchmark.name, *benchmark.aliases) for form in _forms(name)}
    patterns = ["".join(_either(character) for character in name) for name in sorted(names)]
    return [f"{start}{pattern}/*" for pattern in patterns for start in ("", "*/")]


def _forms(name: str) -> tuple[str, str]:
    return name, name.replace("_", "")


def _either(character: str) -> str:
    return "[-_. ]" if character == "_" else f"[{character}{character.upper()}]" if character.isalpha() else character
