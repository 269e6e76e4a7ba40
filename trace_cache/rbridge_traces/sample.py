"""The shipped sample: a few traces of each benchmark to try the tool on, and the few-shot examples of the prompts."""

from __future__ import annotations

import hashlib
from importlib import resources

from rbridge_traces.benchmark import Benchmark, benchmark_named, check_shipped
from rbridge_traces.errors import CacheNotFoundError, TraceError, did_you_mean
from rbridge_traces.importer import import_traces
from rbridge_traces.manifest import Manifest, TraceSet, VerifiedSource, counts_of
from rbridge_traces.schema import BENCHMARKS, Trace

SAMPLE = "sample"
"""What the sample is called: as a cache location, as a source and as the folder that holds it."""

_CREATED = "2026-11-21T00:00:00+00:00"


class SampleCache:
    """The shipped sample, read as a ``TraceCache`` is. It has spans, and no token confidences."""

    root = SAMPLE

    def __repr__(self) -> str:
        return "SampleCache()"

    def sources(self, benchmark: str) -> list[str]:
        """The one source there is; none of a benchmark that does not come with this package."""
        return [SAMPLE] if benchmark in BENCHMARKS else []

    def benchmarks(self) -> list[str]:
        """Names of the benchmarks."""
        return [*BENCHMARKS]

    def definition(self, benchmark: str) -> Benchmark:
        """How a benchmark is defined."""
        return benchmark_named(benchmark)

    def manifests(self, benchmark: str | None = None) -> list[Manifest]:
        """The manifests of all benchmarks, in the order of ``BENCHMARKS``, or of one."""
        return [self.load(name).manifest for name in BENCHMARKS if benchmark in (None, name)]

    def tokens_unknown(self, manifest: Manifest) -> int | None:
        """Tokens without a known log-probability: the sample has no token confidences at all."""
        return manifest.tokens_unknown

    def load(self, benchmark: str, source: str | None = None, *, needs: str | None = None) -> TraceSet:  # noqa: ARG002
        """Read the sample traces of a benchmark. There is one source, whatever is needed.

        Raises:
            CacheNotFoundError: a source other than ``sample``, or a benchmark that is not in the sample.
        """
        if benchmark not in BENCHMARKS:
            raise CacheNotFoundError(
                f"no traces of {benchmark}{did_you_mean(benchmark, BENCHMARKS)} in the sample that comes with "
                f"rbridge-tasks, which holds {', '.join(BENCHMARKS)}; name the cache that holds them with RBRIDGE_CACHE"
            )
        if source not in (None, SAMPLE):
            raise CacheNotFoundError(
                f"no traces of {benchmark} from {source} in the sample that comes with rbridge-tasks, "
                f"which has the source {SAMPLE} only; name the cache that holds {source} with RBRIDGE_CACHE"
            )
        name = f"{benchmark}.jsonl"
        traces = _read(benchmark, name)
        digest = hashlib.sha256((resources.files("rbridge_traces") / SAMPLE / name).read_bytes()).hexdigest()
        manifest = Manifest(
            benchmark=benchmark,
            source=SAMPLE,
            frontier_model="written for rbridge-tasks (not a model)",
            licence="Apache-2.0",
            note="A sample for trying the tool, not a benchmark: never report a score on it.",
            sample=True,
            created=_CREATED,
            files={name: digest},
            **counts_of(traces),
        )
        return TraceSet(manifest, traces, SAMPLE)

    def verify(self, benchmark: str | None = None) -> list[VerifiedSource]:
        """Check every sample file."""
        results = []
        for name in [benchmark] if benchmark else BENCHMARKS:
            try:
                results.append(VerifiedSource(name, SAMPLE, self.load(name).manifest, None))
            except TraceError as error:
                results.append(VerifiedSource(name, SAMPLE, None, str(error)))
        return results


def few_shot_examples(benchmark: str) -> list[Trace]:
    """The worked examples that precede an item in the prompt of a benchmark, in order. No sample item is among them.

    Raises:
        TraceError: no examples come with the package for this benchmark.
    """
    check_shipped(benchmark)
    return _read(benchmark, f"{benchmark}.fewshot.jsonl")


def _read(benchmark: str, name: str) -> list[Trace]:
    with resources.as_file(resources.files("rbridge_traces") / SAMPLE / name) as path:
        return import_traces(str(path), benchmark=benchmark, mapping={"spans": "inline"}).traces
