"""Names of our benchmarks in published data: folders, configs and subsets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rbridge_traces.schema import BENCHMARKS

_ALSO = {
    "math500": ("math_500", "math"),
    "mmlu_pro_stem": ("mmlu_pro",),
    "gsm8k": (),
    "arc_challenge": ("arc_c", "ai2_arc"),
    "csqa": ("cqa", "commonsense_qa"),
    "humaneval": ("human_eval", "openai_humaneval"),
}


def plain(name: str) -> str:
    """A name in lower case, without spaces and punctuation.

    >>> plain("ARC-Challenge"), plain("finalAnswer")
    ('arcchallenge', 'finalanswer')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BENCHMARK = {plain(name): benchmark for benchmark in BENCHMARKS for name in (benchmark, *_ALSO[benchmark])}


def benchmark_called(name: str) -> str | None:
    """The benchmark with this name or alias, or None.

    >>> benchmark_called("MATH-500"), benchmark_called("cqa"), benchmark_called("squad")
    ('math500', 'csqa', None)
    """
    return _BENCHMARK.get(plain(name))


def folder_patterns(benchmarks: Iterable[str]) -> list[str]:
    """Shell patterns for files in folders, at any depth, named like one of the benchmarks.

    >>> folder_patterns(["gsm8k"])
    ['[gG][sS][mM]8[kK]/*', '*/[gG][sS][mM]8[kK]/*']
    """
    names = {form for benchmark in benchmarks for name in (benchmark, *_ALSO[benchmark]) for form in _forms(name)}
    patterns = ["".join(_either(character) for character in name) for name in sorted(names)]
    return [f"{start}{pattern}/*" for pattern in patterns for start in ("", "*/")]


def _forms(name: str) -> tuple[str, str]:
    return name, name.replace("_", "")


def _either(character: str) -> str:
    return "[-_. ]" if character == "_" else f"[{character}{character.upper()}]" if character.isalpha() else character
