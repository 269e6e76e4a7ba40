"""Reasoning traces of frontier models: what one is, how they are imported, and the cache that keeps them.

The names below are imported when they are first used, so that ``import rbridge_traces`` itself costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbridge_traces.completions import (
        Completion,
        CompletionError,
        NoLogprobsError,
        completion_of_choice,
        completion_of_tokens,
    )
    from rbridge_traces.confidence import mean_confidence, with_confidence
    from rbridge_traces.errors import CacheCorruptError, CacheNotFoundError, TraceError, TraceImportError
    from rbridge_traces.extraction import MalformedCompletionError, Reasoning, extract_reasoning, parse_completion
    from rbridge_traces.hub_push import Pushed, push
    from rbridge_traces.importer import ImportReport, import_traces
    from rbridge_traces.manifest import Manifest, TraceSet, VerifiedSource
    from rbridge_traces.publish import Publication, export, import_export, publication
    from rbridge_traces.questions import Question, load_questions
    from rbridge_traces.resolve import ResolvedCache, resolve_cache, user_cache_dir
    from rbridge_traces.rows import read_rows
    from rbridge_traces.sample import SampleCache, few_shot_examples
    from rbridge_traces.schema import BENCHMARKS, Choice, Trace, check_benchmark
    from rbridge_traces.spans import parse_spans
    from rbridge_traces.store import TraceCache
    from rbridge_traces.table import arrow_schema, from_table, to_table
    from rbridge_traces.unknown import UnknownTokens, unknown_tokens

__all__ = [
    "BENCHMARKS",
    "CacheCorruptError",
    "CacheNotFoundError",
    "Choice",
    "Completion",
    "CompletionError",
    "ImportReport",
    "MalformedCompletionError",
    "Manifest",
    "NoLogprobsError",
    "Publication",
    "Pushed",
    "Question",
    "Reasoning",
    "ResolvedCache",
    "SampleCache",
    "Trace",
    "TraceCache",
    "TraceError",
    "TraceImportError",
    "TraceSet",
    "UnknownTokens",
    "VerifiedSource",
    "arrow_schema",
    "check_benchmark",
    "completion_of_choice",
    "completion_of_tokens",
    "export",
    "extract_reasoning",
    "few_shot_examples",
    "from_table",
    "import_export",
    "import_traces",
    "load_questions",
    "mean_confidence",
    "parse_completion",
    "parse_spans",
    "publication",
    "push",
    "read_rows",
    "resolve_cache",
    "to_table",
    "unknown_tokens",
    "user_cache_dir",
    "with_confidence",
]

_MODULES = {
    "completions": (
        "Completion",
        "CompletionError",
        "NoLogprobsError",
        "completion_of_choice",
        "completion_of_tokens",
    ),
    "confidence": ("mean_confidence", "with_confidence"),
    "errors": ("CacheCorruptError", "CacheNotFoundError", "TraceError", "TraceImportError"),
    "extraction": ("MalformedCompletionError", "Reasoning", "extract_reasoning", "parse_completion"),
    "hub_push": ("Pushed", "push"),
    "importer": ("ImportReport", "import_traces"),
    "manifest": ("Manifest", "TraceSet", "VerifiedSource"),
    "publish": ("Publication", "export", "import_export", "publication"),
    "questions": ("Question", "load_questions"),
    "resolve": ("ResolvedCache", "resolve_cache", "user_cache_dir"),
    "rows": ("read_rows",),
    "sample": ("SampleCache", "few_shot_examples"),
    "schema": ("BENCHMARKS", "Choice", "Trace", "check_benchmark"),
    "spans": ("parse_spans",),
    "store": ("TraceCache",),
    "table": ("arrow_schema", "from_table", "to_table"),
    "unknown": ("UnknownTokens", "unknown_tokens"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
