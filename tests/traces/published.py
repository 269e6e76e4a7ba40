"""A cache to publish, and the comparison of a copy with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rbridge_traces import TraceCache

from .support import make_trace, same, write

NASTY = 'say "hi" | `code` ``` <script>alert(1)</script>\n---\n# not a heading: [x](y)'
ABOUT = {
    "frontier_model": "gpt-4o-2024-08-06",
    "confidence_model": "gpt-4o-2024-08-06",
    "prompt": "Solve {question}\n```\nRespond ONLY with JSON",
    "decoding": "greedy",
    "licence": "Apache-2.0",
    "note": NASTY,
    "origin": "hf://datasets/a/b@0123",
}


def make_cache(root: Path) -> TraceCache:
    """Create a cache with two benchmarks: one with confidences, spans and grades, one without."""
    cache = TraceCache(str(root))
    tokens = {"token_end": [4, 9], "token_logprob": np.log([0.5, 0.25])}
    graded = [
        make_trace("1", correct=True, spans=((0, 3),), **tokens),
        make_trace("2", correct=False, **tokens),
        make_trace("3", "Ünï 😀 = 4", correct=True),
    ]
    write(cache, graded, **ABOUT)
    cache.write([make_trace("a", benchmark="csqa")], benchmark="csqa", source="mine")
    return cache


def assert_equal(expected: TraceCache, copy: TraceCache) -> None:
    """Check that both caches hold the same manifests and traces, and that the copy's checksums are right."""
    assert expected.manifests() == copy.manifests() != []
    assert [verdict.problem for verdict in copy.verify()] == [None] * len(copy.manifests())
    for manifest in expected.manifests():
        pairs = zip(*(c.load(manifest.benchmark, manifest.source).traces for c in (expected, copy)), strict=True)
        assert all(same(left, right) for left, right in pairs)


def card_of(target: TraceCache) -> str:
    """Return the README.md of a published cache."""
    return str(target._fs.cat_file(f"{target._path}/README.md").decode())


def front_matter(card: str) -> dict[str, Any]:
    """Return the metadata that the Hub reads from a card."""
    values: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return values
