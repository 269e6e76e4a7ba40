"""Section: traces as text coloured by weight × NLL, and the tokens that cost most and changed most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rbridge_tasks.report.coloured_tokens import Piece, WeightedTrace, pieces, weighted_traces
from rbridge_tasks.report.costly_tokens import TokenRow, changed_tokens, worst_tokens
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import RunLine
from rbridge_tasks.tables.run_names import read_name
from rbridge_tasks.tables.sizes import count_text
from rbridge_tasks.tables.trace_samples import Evaluation

KEY, TITLE = "traces", "Traces, token by token"
NO_SAMPLES = (
    "No samples were given. What lm_eval --log_samples or a sweep wrote for one or two checkpoints fills this section: "
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


def traced_benchmarks(inputs: Inputs, lines: Sequence[RunLine] = ()) -> list[TracedBenchmark]:
    """Content of the section; empty where no samples were given.

    Args:
        inputs: of the page.
        lines: of two runs with as many checkpoints, the one that comes first here is shown.

    Raises:
        SamplesError: a samples file is damaged.
    """
    by_benchmark: dict[str, list[Evaluation]] = {name: [] for name in inputs.benchmarks}
    for evaluation in inputs.evaluations:
        by_benchmark.setdefault(evaluation.benchmark, []).append(evaluation)
    groups = {name: group for name, group in by_benchmark.items() if group}
    room = _TOKENS_IN_ALL // max(1, len(groups))
    ranks = {line.run: place for place, line in reversed([*enumerate(lines)])}
    traced = []
    for place, (name, group) in enumerate(groups.items()):
        shown, earlier = _pair(group, inputs, ranks)
        traced.append(_traced(f"traces-{place}", name, shown, earlier, inputs.traces, room))
    return [benchmark for benchmark in traced if benchmark is not None]


@dataclass(frozen=True)
class _Checkpoint:
    """An evaluation and the checkpoint that it is of."""

    evaluation: Evaluation
    run: str
    tokens: float

    @property
    def name(self) -> str:
        return self.run if math.isnan(self.tokens) else f"{self.run} at {count_text(self.tokens)} tokens"


def _checkpoints(evaluations: Sequence[Evaluation], scores: pd.DataFrame) -> dict[str, _Checkpoint]:
    """The checkpoints of evaluations by model, in order of date, the latest evaluation of each.

    Run and tokens are those of the score table where it has the model, else read from the model's own name.
    """
    columns = (scores[name] for name in ("model", "run", "tokens"))
    known = {model: (run, tokens) for model, run, tokens in zip(*columns, strict=True)}
    checkpoints = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.results.date):
        model = evaluation.results.model
        named = read_name(model.name, model.revision)
        fallback = named.run, math.nan if named.tokens is None else named.tokens
        run, tokens = known.get(model.label, fallback)
        checkpoints[model.label] = _Checkpoint(evaluation, run, float(tokens))
    return checkpoints


def _pair(
    evaluations: Sequence[Evaluation], inputs: Inputs, ranks: Mapping[str, int]
) -> tuple[_Checkpoint, _Checkpoint | None]:
    """The checkpoint to show and the one to compare it with.

    Last and first of the run with the most checkpoints, the best of several such; where no run has two, the second and
    the first that were given.
    """
    checkpoints = _checkpoints(evaluations, inputs.scores)
    runs: dict[str, list[_Checkpoint]] = {}
    for checkpoint in checkpoints.values():
        if not math.isnan(checkpoint.tokens):
            runs.setdefault(checkpoint.run, []).append(checkpoint)
    longest = min(runs.values(), key=lambda run: (-len(run), ranks.get(run[0].run, len(ranks))), default=[])
    if len(longest) > 1:
        in_order = sorted(longest, key=lambda checkpoint: checkpoint.tokens)
        return in_order[-1], in_order[0]
    first, *rest = dict.fromkeys(evaluation.results.model.label for evaluation in evaluations)
    return (checkpoints[rest[0]], checkpoints[first]) if rest else (checkpoints[first], None)


def _traced(
    key: str, benchmark: str, shown: _Checkpoint, earlier: _Checkpoint | None, count: int, room: int
) -> TracedBenchmark | None:
    traces, weights = weighted_traces(shown.evaluation)
    traces = [trace for trace in traces if trace.nll.size]
    if not traces:
        return None
    before, no_change = _before(traces, earlier)
    chosen = _chosen(traces, count)
    most = min(_MOST_TOKENS, max(60, room // max(1, len(chosen))))
    better, worse = changed_tokens([trace for trace in traces if trace.item in before], before)
    return TracedBenchmark(
        key=key,
        benchmark=benchmark,
        checkpoint=shown.name,
        earlier=earlier.name if earlier else "",
        weights=weights,
        count=len(traces),
        traces=[_shown(trace, before.get(trace.item), most, why) for trace, why in chosen],
        worst=worst_tokens(traces, before),
        better=better,
        worse=worse,
        no_change=no_change,
    )


def _before(traces: Sequence[WeightedTrace], earlier: _Checkpoint | None) -> tuple[dict[str, WeightedTrace], str]:
    """The same traces in the same tokens under the earlier checkpoint, by item; if none, the reason."""
    if earlier is None:
        return {}, "Samples of a second checkpoint fill this: give --samples twice."
    by_item = {trace.item: trace for trace in weighted_traces(earlier.evaluation)[0]}
    shared = [trace for trace in traces if trace.item in by_item]
    same = {trace.item: by_item[trace.item] for trace in shared if trace.same_tokens(by_item[trace.item])}
    if same:
        return same, ""
    if not shared:
        return {}, f"{earlier.name} was scored on other items, so no token can be compared."
    return {}, f"{earlier.name} cuts the traces into other tokens, so none can be compared."


def _chosen(traces: Sequence[WeightedTrace], count: int) -> list[tuple[WeightedTrace, str]]:
    """Traces at even steps from the hardest to the easiest, each with its place in words."""
    order = sorted(traces, key=lambda trace: (-trace.score, trace.item))
    last = len(order) - 1
    if not last:
        return [(order[0], "the only one")]
    words = {0: "hardest", last: "easiest"}
    places = np.unique(np.linspace(0, last, min(count, len(order))).round().astype(int)).tolist()
    return [(order[at], words.get(at, f"harder than {100 * (last - at) / last:.0f} %")) for at in places]


def _shown(trace: WeightedTrace, before: WeightedTrace | None, most: int, why: str) -> ShownTrace:
    parts, left_out = pieces(trace, before, most)
    question = trace.trace.doc.get("question")
    return ShownTrace(
        item=trace.item,
        question=question if isinstance(question, str) else "",
        score=trace.score,
        was=before.score if before else math.nan,
        pieces=parts,
        tokens=trace.nll.size,
        left_out=left_out,
        why=why,
    )
