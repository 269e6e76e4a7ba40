"""The traces of one benchmark that are scored, and where they come from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

from rbridge_metrics import RBridgeError
from rbridge_tasks.scoring.prompts import Prompt, prompt_of
from rbridge_traces import Benchmark, Manifest, Trace, WorkedExamples, examples_of

logger = logging.getLogger(__name__)


class FewShotError(RBridgeError, ValueError):
    """More worked examples are asked for than a benchmark has."""


@dataclass(frozen=True)
class BenchmarkTraces:
    """Traces with their provenance.

    Attributes:
        traces: in the order of the cache.
        manifest: of the source.
        location: folder or URL of the source.
        origin: what decided on the cache; see ``rbridge_traces.resolve_cache``.
        only_correct: traces with a wrong final answer were left out.
        tokens_unknown: frontier tokens without a usable log-probability.
        benchmark: how the benchmark is defined.
        examples: worked examples that can precede a question.
        prompt: how a question is written.
    """

    traces: tuple[Trace, ...]
    manifest: Manifest
    location: str
    origin: str
    only_correct: bool
    tokens_unknown: int
    benchmark: Benchmark
    examples: WorkedExamples
    prompt: Prompt

    def shots(self, num_fewshot: int | None) -> int:
        """The number of worked examples before each question; None stands for the benchmark's default.

        Raises:
            FewShotError: there are fewer.
        """
        available = self.examples.available
        shots = self.examples.default_shots if num_fewshot is None else num_fewshot
        if shots > available:
            raise FewShotError(
                f"num_fewshot={shots} asks for more worked examples than {self.benchmark.name} has ({available}); give "
                f"a number from 0 to {available}, or more examples with fewshot=FILE"
            )
        return shots

    @property
    def provenance(self) -> dict[str, Any]:
        """Description of the traces for a results file; of prompt and examples if they are not this package's."""
        records = {"prompt": self.prompt.record, "fewshot": self.examples.record}
        return {
            "location": self.location,
            "origin": self.origin,
            "source": self.manifest.source,
            "sample": self.manifest.sample,
            "traces": len(self.traces),
            "only_correct": self.only_correct,
            "frontier_model": self.manifest.frontier_model,
            "confidence_model": self.manifest.confidence_model,
            "files": self.manifest.files,
            **{name: record for name, record in records.items() if record is not None},
        }


def benchmark_traces(
    benchmark: str,
    *,
    cache: str | None = None,
    source: str | None = None,
    only_correct: bool = False,
    needs: Literal["confidence", "spans"] | None = None,
    fewshot: str | None = None,
    prompt: str = "default",
) -> BenchmarkTraces:
    """Read the traces of a benchmark.

    Args:
        benchmark: e.g. ``gsm8k``.
        cache: folder or URL of a trace cache, or ``sample``; None for the default of ``rbridge_traces.resolve_cache``.
        source: which source, where the cache holds several.
        only_correct: leave out traces whose final answer is wrong.
        needs: "confidence" or "spans": what a source has to have in order to be chosen.
        fewshot: file of worked examples, or "traces" to take them from the traces; None for those of the benchmark.
        prompt: "default", or "bare": the question alone.

    Raises:
        TraceError: no such cache, benchmark or source, or its definition or the examples cannot be used.
    """
    from rbridge_traces import check_benchmark, resolve_cache, unknown_tokens

    resolved = resolve_cache(cache)
    check_benchmark(benchmark)
    trace_set = resolved.cache.load(benchmark, source, needs=needs)
    definition = resolved.cache.definition(benchmark)
    if only_correct:
        trace_set = trace_set.only_correct()
    unknown = unknown_tokens(trace_set.traces)
    if unknown and needs == "confidence":
        logger.warning("rbridge_%s: %s", benchmark, unknown)
    return BenchmarkTraces(
        tuple(trace_set.traces),
        trace_set.manifest,
        trace_set.location,
        resolved.origin,
        only_correct,
        unknown.tokens,
        definition,
        WorkedExamples() if prompt == "bare" else examples_of(definition, trace_set.traces, fewshot),
        prompt_of(definition, prompt),
    )
