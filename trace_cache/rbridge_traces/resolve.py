"""Decide which cache to read: the named one, the user's own, or the shipped sample."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from rbridge_traces.sample import SAMPLE, SampleCache
from rbridge_traces.store import TraceCache


@dataclass(frozen=True)
class ResolvedCache:
    """The cache to read, and the rule that chose it."""

    cache: TraceCache | SampleCache
    origin: Literal["explicit", "RBRIDGE_CACHE", "user cache", "sample"]


def user_cache_dir() -> str:
    """The platform's cache directory of this tool, e.g. ``~/.cache/rbridge-tasks``."""
    import platformdirs

    return platformdirs.user_cache_dir("rbridge-tasks")


def resolve_cache(explicit: str | None = None) -> ResolvedCache:
    """Decide where traces are read: the argument, else ``RBRIDGE_CACHE``, else the user's cache, else the sample.

    The first two are used even if they are empty, so that the sample never replaces a named cache; the user's cache is
    used if it holds a source. The word ``sample`` means the shipped sample (``./sample`` is a folder of that name).

    Raises:
        TraceError: a location that cannot be opened.
    """
    if explicit is not None:
        return ResolvedCache(SampleCache() if explicit == SAMPLE else TraceCache(explicit), "explicit")
    if named := os.environ.get("RBRIDGE_CACHE"):
        return ResolvedCache(SampleCache() if named == SAMPLE else TraceCache(named), "RBRIDGE_CACHE")
    users = TraceCache(user_cache_dir())
    if users.benchmarks():
        return ResolvedCache(users, "user cache")
    return ResolvedCache(SampleCache(), "sample")
