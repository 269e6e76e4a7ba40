"""The worked examples that precede a question in the prompt of a benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rbridge_traces.benchmark import DEFAULT_SHOTS, Benchmark
from rbridge_traces.errors import TraceError
from rbridge_traces.importer import import_traces
from rbridge_traces.sample import few_shot_examples
from rbridge_traces.schema import Trace

FROM_TRACES = "traces"
"""Takes the examples from the traces that are scored."""


@dataclass(frozen=True)
class WorkedExamples:
    """Worked examples of one benchmark.

    Attributes:
        pool: in order; more than are used where they are taken from the traces.
        origin: "shipped", "definition", "traces", or the file that they were read from.
        default_shots: examples before a question unless another number is asked for.
    """

    pool: tuple[Trace, ...] = ()
    origin: str = "definition"
    default_shots: int = 0

    @property
    def available(self) -> int:
        """The largest number of examples that can precede every question."""
        return max(len(self.pool) - (self.origin == FROM_TRACES), 0)

    @property
    def record(self) -> dict[str, str] | None:
        """What a results file notes: origin and checksum; None for those of this package and for none."""
        if self.origin == "shipped" or not self.pool:
            return None
        if self.origin == FROM_TRACES:  # the checksums of the trace files are noted beside
            return {"origin": self.origin}
        shown = [
            [trace.question, [[choice.label, choice.text] for choice in trace.choices or ()], trace.trace, trace.answer]
            for trace in self.pool
        ]
        return {"origin": self.origin, "sha256": hashlib.sha256(json.dumps(shown).encode()).hexdigest()}

    def before(self, trace: Trace, shots: int) -> list[Trace]:
        """The first examples whose question is not that of the scored trace, at most ``shots``."""
        asked = trace.question.strip()
        return list(islice((example for example in self.pool if example.question.strip() != asked), shots))


def examples_of(benchmark: Benchmark, traces: Sequence[Trace], given: str | None = None) -> WorkedExamples:
    """The worked examples of a benchmark.

    Args:
        benchmark: how it is defined.
        traces: that are scored.
        given: a file of examples, as ``import_traces`` reads traces, or "traces"; None for those of the benchmark.

    Raises:
        TraceError: the file cannot be read, or no trace can be an example.
    """
    if given is not None and given != FROM_TRACES:
        read = import_traces(given, benchmark=benchmark.name, mapping={"spans": "inline"}).traces
        return WorkedExamples(tuple(read), given, min(DEFAULT_SHOTS, len(read)))
    if given == FROM_TRACES or isinstance(benchmark.fewshot, int):
        shots = DEFAULT_SHOTS if given else benchmark.default_shots
        pool = tuple(trace for trace in traces if trace.answer and trace.correct is not False)
        if shots and len(pool) <= shots:
            raise TraceError(
                f"{benchmark.name} has {len(pool)} traces that can be worked examples (with an answer, not known to be "
                f"wrong), and {shots} beside the scored one are to be taken from them; give examples in a file"
            )
        return WorkedExamples(pool, FROM_TRACES, shots)
    if benchmark.fewshot == "shipped":
        return WorkedExamples(tuple(few_shot_examples(benchmark.name)), "shipped", benchmark.default_shots)
    return WorkedExamples(benchmark.fewshot, "definition", benchmark.default_shots)
