"""The items that are scored in a training loop: traces, contexts, and the order in which a sample takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rbridge_tasks.scoring.benchmark_traces import benchmark_traces
from rbridge_tasks.scoring.chat_template import ChatTemplate
from rbridge_tasks.scoring.contexts import Contexts
from rbridge_tasks.scoring.item_metrics import needs_of, require_weights
from rbridge_tasks.training.settings import LoopSettings
from rbridge_tasks.training.stratified import StratifiedOrder
from rbridge_traces import Trace


@dataclass(frozen=True)
class LoopBenchmark:
    """All traces of a benchmark and its sample.

    Attributes:
        name: of the benchmark.
        traces: all of them, in the order of the cache.
        contexts: the text before each.
        strata: the order in which a sample takes the traces.
        planned: size of the sample.
        has_spans: every trace has marked spans.
    """

    name: str
    traces: tuple[Trace, ...]
    contexts: tuple[str, ...]
    strata: StratifiedOrder
    planned: int
    has_spans: bool


@dataclass(frozen=True)
class LoopItem:
    """A trace, by the indices of its benchmark and of the trace in it, and its length in characters."""

    benchmark: int
    trace: int
    characters: int


def loop_benchmarks(settings: LoopSettings, template: ChatTemplate | None) -> tuple[LoopBenchmark, ...]:
    """Read the traces of each benchmark and draw its sample.

    Args:
        settings: of the loop.
        template: applied to the contexts; None for plain text.

    Raises:
        ChatTemplateError: the tokenizer has no default chat template.
        FewShotError: more worked examples than there are.
        TraceError, MissingWeightsError: the cache or its traces are not usable.
    """
    return tuple(_loop_benchmark(name, settings, template) for name in settings.names)


def _loop_benchmark(name: str, settings: LoopSettings, template: ChatTemplate | None) -> LoopBenchmark:
    source = benchmark_traces(
        name,
        cache=settings.cache,
        source=settings.source,
        only_correct=settings.only_correct,
        needs=needs_of(settings.weights),
        fewshot=settings.fewshot,
        prompt=settings.prompt,
    )
    require_weights([*source.traces], settings.weights, source.location)
    contexts = Contexts(
        source.examples, source.shots(settings.num_fewshot), template, settings.fewshot_as_multiturn,
        settings.system_instruction, source.prompt,
    )  # fmt: skip
    return LoopBenchmark(
        name,
        source.traces,
        tuple(map(contexts.of, source.traces)),
        StratifiedOrder.of([len(trace.trace) for trace in source.traces], settings.seed),
        min(settings.items or len(source.traces), len(source.traces)),
        all(trace.spans for trace in source.traces),
    )


def sampled_items(benchmarks: Sequence[LoopBenchmark]) -> list[LoopItem]:
    """The samples of all benchmarks in one order, of which every beginning holds the same share of each."""
    place = np.concatenate([(np.arange(each.planned) + 0.5) / each.planned for each in benchmarks])
    items = [
        LoopItem(number, int(trace), len(each.contexts[trace]) + len(each.traces[trace].trace))
        for number, each in enumerate(benchmarks)
        for trace in each.strata.order[: each.planned]
    ]
    return [items[i] for i in np.argsort(place, kind="stable")]
