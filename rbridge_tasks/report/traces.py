"""Section: traces as text in the colour of weight × NLL, and the tokens that cost most and changed most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rbridge_tasks.report.coloured_tokens import (
    Piece,
    WeightedTrace,
    pieces,
    weighted_traces,
)
from rbridge_tasks.report.costly_tokens import TokenRow, changed_tokens, worst_tokens
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import Line
from rbridge_tasks.tables.run_names import read_name
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.trace_samples import Evaluation

KEY, TITLE = "traces", "Traces, token by token"
NO_SAMPLES = (
    "No samples were given. What lm_eval --log_samples wrote for one or two checkpoints fills this section: "
    "--samples out/step1000 --samples out/step2000."
)
_MOST_TOKENS = 900  # of a trace
_TOKENS_IN_ALL = 4800  # on the page


@dataclass(frozen=True)
class ShownTrace:
    """A trace as the page shows it."""

    item: str
    question: str
    score: float
    was: float
    pieces: list[Piece]
    tokens: int
    left_out: int
    why: str

    @property
    def is_code(self) -> bool:
        """Whether it has lines that are indented as code is."""
        return "\n    " in "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True)
class TracedBenchmark:
    """One benchmark of the section.

    Attributes:
        benchmark: its name.
        checkpoint, earlier: what is shown and what it is compared with, in words; the second empty where there is none.
        weights: what the weights are, in words.
        traces: those shown, of ``count`` scored.
        worst: tokens with the largest weight × NLL.
        better, worse: tokens whose weight × NLL fell and rose most; empty where there is no earlier checkpoint.
        no_change: why there are none, in words.
    """

    key: str
    benchmark: str
    checkpoint: str
    earlier: str
    weights: str
    count: int
    traces: list[ShownTrace]
    worst: list[TokenRow]
    better: list[TokenRow]
    worse: list[TokenRow]
    no_change: str


def traced_benchmarks(inputs: Inputs, lines: Sequence[Line] = ()) -> list[TracedBenchmark]:
    """What the section shows; empty where no samples were given.

    Args:
        inputs: of the page.
        lines: of two runs with as many checkpoints, the one that comes first here is shown.

    Raises:
        SamplesError: a samples file is damaged.
    """
    by_benchmark: dict[str, list[Evaluation]] = {}
    for one in inputs.evaluations:
        by_benchmark.setdefault(one.benchmark, []).append(one)
    order = [name for name in inputs.benchmarks if name in by_benchmark]
    order += [name for name in by_benchmark if name not in order]
    room = _TOKENS_IN_ALL // max(1, len(order))
    ranks = {line.run: at for at, line in reversed([*enumerate(lines)])}
    return [
        found
        for at, name in enumerate(order)
        if (found := _traced(f"traces-{at}", name, by_benchmark[name], inputs, ranks, room)) is not None
    ]


@dataclass(frozen=True)
class _Checkpoint:
    """An evaluation and the checkpoint that it is of."""

    evaluation: Evaluation
    run: str
    tokens: float

    @property
    def name(self) -> str:
        return self.run if math.isnan(self.tokens) else f"{self.run} at {count_text(self.tokens)} tokens"


def _checkpoints(evaluations: Sequence[Evaluation], scores: pd.DataFrame) -> list[_Checkpoint]:
    """The checkpoints of evaluations, by the score table where it names the model, else by the model's own name."""
    known = {
        model: (run, tokens)
        for model, run, tokens in zip(*(scores[name] for name in ("model", "run", "tokens")), strict=True)
    }
    found = {}
    for one in sorted(evaluations, key=lambda one: one.results.date):
        model = one.results.model
        named = read_name(model.name, model.revision)
        fallback = named.run, math.nan if named.tokens is None else named.tokens
        run, tokens = known.get(model.label, fallback)
        found[model.label] = _Checkpoint(one, run, float(tokens))  # the latest evaluation of a checkpoint
    return [*found.values()]


def _pair(
    evaluations: Sequence[Evaluation], inputs: Inputs, ranks: Mapping[str, int]
) -> tuple[_Checkpoint, _Checkpoint | None]:
    """The checkpoint to show and the one to compare it with.

    Last and first of the run with the most checkpoints, the best of several such; where no run has two, the second and
    the first that were given.
    """
    found = _checkpoints(evaluations, inputs.scores)
    runs: dict[str, list[_Checkpoint]] = {}
    for one in found:
        if not math.isnan(one.tokens):
            runs.setdefault(one.run, []).append(one)
    longest = min(runs.values(), key=lambda own: (-len(own), ranks.get(own[0].run, len(ranks))), default=[])
    if len(longest) > 1:
        in_order = sorted(longest, key=lambda one: one.tokens)
        return in_order[-1], in_order[0]
    given = {one.results.model.label: at for at, one in reversed([*enumerate(evaluations)])}
    found.sort(key=lambda one: given[one.evaluation.results.model.label])
    return (found[1], found[0]) if len(found) > 1 else (found[0], None)


def _traced(
    key: str,
    benchmark: str,
    evaluations: Sequence[Evaluation],
    inputs: Inputs,
    ranks: Mapping[str, int],
    room: int,
) -> TracedBenchmark | None:
    shown, earlier = _pair(evaluations, inputs, ranks)
    traces, weights = weighted_traces(shown.evaluation)
    traces = [one for one in traces if one.nll.size]
    if not traces:
        return None
    others, no_change = _others(traces, earlier)
    chosen = _chosen(traces, inputs.traces)
    most = min(_MOST_TOKENS, max(60, room // max(1, len(chosen))))
    better, worse = changed_tokens([one for one in traces if one.trace.item in others], others)
    return TracedBenchmark(
        key=key,
        benchmark=benchmark,
        checkpoint=shown.name,
        earlier=earlier.name if earlier else "",
        weights=weights,
        count=len(traces),
        traces=[_shown(one, others.get(one.trace.item), most, why) for one, why in chosen],
        worst=worst_tokens(traces, others),
        better=better,
        worse=worse,
        no_change=no_change,
    )


def _others(traces: Sequence[WeightedTrace], earlier: _Checkpoint | None) -> tuple[dict[str, WeightedTrace], str]:
    """The same traces in the same tokens under the earlier checkpoint, by item, and why there are none."""
    if earlier is None:
        return {}, "Samples of a second checkpoint fill this: give --samples twice."
    by_item = {one.trace.item: one for one in weighted_traces(earlier.evaluation)[0]}
    same = {
        one.trace.item: by_item[one.trace.item]
        for one in traces
        if one.trace.item in by_item and one.same_tokens(by_item[one.trace.item])
    }
    if same:
        return same, ""
    if not by_item.keys() & {one.trace.item for one in traces}:
        return {}, f"{earlier.name} was scored on other items, so no token can be compared."
    return {}, f"{earlier.name} cuts the traces into other tokens, so none can be compared."


def _chosen(traces: Sequence[WeightedTrace], count: int) -> list[tuple[WeightedTrace, str]]:
    """Traces at even steps from the hardest to the easiest."""
    order = sorted(traces, key=lambda one: (-one.score, one.trace.item))
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)).tolist()
    words = {0: "hardest", len(order) - 1: "easiest"}
    found = []
    for place in places:
        why = words.get(
            place, f"harder than {100 * (len(order) - 1 - place) / (len(order) - 1):.0f} %" if place else ""
        )
        found.append((order[place], "the only one" if len(order) == 1 else why))
    return found


def _shown(one: WeightedTrace, other: WeightedTrace | None, most: int, why: str) -> ShownTrace:
    found, left_out = pieces(one, other, most)
    question = one.trace.doc.get("question")
    return ShownTrace(
        item=one.trace.item,
        question=question if isinstance(question, str) else "",
        score=one.score,
        was=other.score if other else math.nan,
        pieces=found,
        tokens=one.nll.size,
        left_out=left_out,
        why=why,
    )
