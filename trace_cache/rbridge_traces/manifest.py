"""The manifest of a source: who wrote its traces, how, and the checksum of every file."""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from rbridge_traces.control_characters import SuspiciousText
from rbridge_traces.errors import CacheCorruptError, TraceError
from rbridge_traces.schema import Trace, brief
from rbridge_traces.unknown_logprobs import NO_UNKNOWN, UnknownTokens

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

SCHEMA_VERSION = 1

RESTORE = "restore the file, or import or score these traces again with --replace"
"""The remedy for a damaged file of the cache."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")  # a plain name: a manifest cannot point outside its folder
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of the traces of one benchmark from one source.

    Attributes:
        schema_version: of the trace files and of this manifest.
        benchmark: its name.
        source: slug under which the cache holds these traces.
        frontier_model: that wrote the traces.
        confidence_model: whose token probabilities are the confidences; often the frontier model.
        prompt: the prompt the frontier model was given.
        decoding: how it decoded, e.g. ``greedy``.
        licence: of the traces.
        note: anything a reader should know.
        sample: whether these are sample traces, on which no score may be reported.
        created: ISO 8601, UTC.
        rows: traces.
        rows_with_confidence: traces that carry token confidences.
        rows_with_spans: traces with marked regions.
        rows_correct: traces whose final answer is right; None if unknown for all.
        rows_with_choices: traces of items with choices; None in manifests from before this key, as the next two.
        rows_with_gold: traces of items with a gold answer.
        rows_with_final_answer: traces with the frontier model's answer.
        tokens_unknown: frontier tokens without a known log-probability; None in manifests from before this key.
        origin: where the traces were fetched, with the revision: ``hf://datasets/NAME@SHA``.
        files: sha256 (hex) by file name, in the order of the rows.
    """

    schema_version: int = SCHEMA_VERSION
    benchmark: str
    source: str
    frontier_model: str | None = None
    confidence_model: str | None = None
    prompt: str | None = None
    decoding: str | None = None
    licence: str | None = None
    note: str | None = None
    sample: bool = False
    created: str
    rows: int
    rows_with_confidence: int
    rows_with_spans: int = 0
    rows_correct: int | None = None
    tokens_unknown: int | None = None
    rows_with_choices: int | None = None
    rows_with_gold: int | None = None
    rows_with_final_answer: int | None = None
    origin: str | None = None
    files: dict[str, str]

    def to_json(self) -> str:
        """The manifest as a JSON document, one key a line."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, document: str | bytes, *, where: str) -> Manifest:
        """Read a manifest, ignoring keys a later version may have added.

        Args:
            document: the JSON text.
            where: the file it comes from, for messages.

        Raises:
            CacheCorruptError: broken JSON, an unknown schema version, a missing key or a value of the wrong type.
        """
        from pydantic import ValidationError

        document = document.encode(errors="surrogatepass") if isinstance(document, str) else document
        document = document.removeprefix(codecs.BOM_UTF8)
        try:
            values = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise CacheCorruptError(f"{where} is not JSON ({error}); {RESTORE}") from error
        version = values.get("schema_version", SCHEMA_VERSION) if isinstance(values, dict) else SCHEMA_VERSION
        if version != SCHEMA_VERSION:
            raise CacheCorruptError(
                f"{where} has schema version {version!r}; this rbridge-tasks reads version {SCHEMA_VERSION}: "
                "upgrade rbridge-tasks, or import or score these traces again with --replace"
            )
        try:
            manifest = _adapter().validate_json(document, strict=True)
        except ValidationError as error:
            raise CacheCorruptError(f"{where}: {_first_problem(error)}; {RESTORE}") from error
        if not manifest.files:
            raise CacheCorruptError(f"{where} names no files, expected at least one; {RESTORE}")
        for name, digest in manifest.files.items():
            if not _FILE_NAME.fullmatch(name) or not _SHA256.fullmatch(digest):
                raise CacheCorruptError(
                    f"{where}: files has {name!r}: {digest!r}, expected a plain file name and its sha256; {RESTORE}"
                )
        return manifest


@cache
def _adapter() -> TypeAdapter[Manifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)


def _first_problem(error: ValidationError) -> str:
    """The first problem that pydantic reports: the key, its value, and what was expected."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"])) or "the document"
    if problem["type"] == "missing":
        return f"it lacks the key {key}"
    return f"{key} is {brief(problem['input'])}; {problem['msg'][0].lower()}{problem['msg'][1:]}"


def counts_of(traces: Sequence[Trace]) -> dict[str, Any]:
    """The counts that a manifest has of its traces, by the names of its fields."""
    graded = [trace.correct for trace in traces if trace.correct is not None]
    return {
        "rows": len(traces),
        "rows_with_confidence": sum(trace.has_confidence for trace in traces),
        "rows_with_spans": sum(trace.spans is not None for trace in traces),
        "rows_correct": sum(graded) if graded else None,
        "tokens_unknown": sum(trace.unknown_tokens for trace in traces),
        "rows_with_choices": sum(trace.choices is not None for trace in traces),
        "rows_with_gold": sum(bool((trace.gold or "").strip()) for trace in traces),
        "rows_with_final_answer": sum(bool((trace.final_answer or "").strip()) for trace in traces),
    }


@dataclass(frozen=True)
class TraceSet:
    """The traces of one benchmark from one source, the manifest that describes them, and where they were read."""

    manifest: Manifest
    traces: list[Trace]
    location: str

    def only_correct(self) -> TraceSet:
        """The traces whose final answer is right, under the same manifest.

        Raises:
            TraceError: none is known to be right.
        """
        kept = [trace for trace in self.traces if trace.correct]
        if not kept:
            known = any(trace.correct is not None for trace in self.traces)
            why = "has the right answer" if known else "says whether its answer is correct"
            raise TraceError(
                f"no trace in {self.location} {why}; use all of them, or import traces with a field mapped to correct"
            )
        return TraceSet(self.manifest, kept, self.location)


@dataclass(frozen=True)
class VerifiedSource:
    """Result of checking one source.

    Attributes:
        benchmark: of the source.
        source: its name.
        manifest: None if it cannot be read.
        problem: what is wrong with its files; None if nothing is.
        unknown: frontier tokens without a known log-probability, counted as they are read.
        suspicious: its texts that hold control characters where LaTeX commands were meant.
    """

    benchmark: str
    source: str
    manifest: Manifest | None
    problem: str | None
    unknown: UnknownTokens = NO_UNKNOWN
    suspicious: tuple[SuspiciousText, ...] = ()
