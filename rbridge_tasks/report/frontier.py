"""Section: share of pairs that a proxy orders as the target does, against compute, with the Pareto frontier."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.charts.page_charts import line_chart
from rbridge_tasks.charts.pareto import FRONTIER_AXES, frontier_lines
from rbridge_tasks.decisions.candidates import candidates_by_size, target_values
from rbridge_tasks.decisions.pairing import PairError
from rbridge_tasks.decisions.score_pairs import rows_of_model
from rbridge_tasks.decisions.size_ranking import BootstrapSettings, rank_candidates
from rbridge_tasks.decisions.target_agreement import MEAN, TargetAgreement, compare_with_target
from rbridge_tasks.report.elements import Cell, PageSection, PageTable, Panel, Remark, count, dash, interval, percent
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.tables.averaging import noise_of_mean
from rbridge_tasks.tables.directions import Metric, metric_called
from rbridge_tasks.tables.sizes import Size, count_text

KEY, TITLE = "frontier", "Decision accuracy and its Pareto frontier"
NO_TARGET = (
    "No accuracies of target models were given. A score table with what the target scored on the same runs fills this "
    "section: --target targets.csv."
)
_RESAMPLES = 2000
_COMPARED = ("acc", "exact_match", "trace_bits_per_byte")  # what a team would have without rBridge
_MANY = 24  # rows of a table; more are shown where they are on a frontier


def frontier_section(inputs: Inputs) -> PageSection:
    """Decision accuracy of the headline metric at every size, beside accuracy and bits per byte where there are any."""
    targets, metrics, at = _targets(inputs)
    if targets is None:
        return PageSection(KEY, TITLE, missing=NO_TARGET)
    settings = BootstrapSettings(_RESAMPLES, level=inputs.level)
    scores = inputs.scores
    if inputs.targets is None:  # the targets stand in the same table
        scores = scores[~(scores["params"].isin(targets["params"]) | scores["model"].isin(targets["model"]))]
    try:
        rankings = []
        for metric in _compared(scores, inputs.metric):
            groups, _ = candidates_by_size(scores, metric)
            rankings += [
                rank_candidates(group, None, settings, noise_of_mean(inputs.noise, inputs.counts, *group.key))
                for group in groups
                if len(group.runs) > 1
            ]
        benchmarks = [*dict.fromkeys(ranking.candidates.benchmark for ranking in rankings)]
        values = target_values(targets, metrics, benchmarks=benchmarks, at=at)
        points, notes = compare_with_target(rankings, values, level=inputs.level)
    except RBridgeError as error:
        return PageSection(KEY, TITLE, missing=f"No agreement with a target: {error}.")
    known = [point for point in points if point.is_known]
    places = {name: place for place, name in enumerate(inputs.benchmarks)}
    names = sorted(dict.fromkeys(point.benchmark for point in known), key=lambda name: places.get(name, len(places)))
    panels = [_panel(f"frontier-{place}", name, known, inputs) for place, name in enumerate(names)]
    return PageSection(
        KEY,
        TITLE,
        lede=(
            "Decision accuracy is the share of pairs of runs that a metric orders as the target does; 50 % is a coin. "
            "Compute is 6 × params × tokens of one run. A line joins the sizes that no cheaper size of the same metric "
            f"matches (its Pareto frontier). Bars are {inputs.level_text} intervals over items."
        ),
        remarks=_order_remarks(known, targets, inputs),
        panels=panels,
        tables=[] if panels else [_table("all benchmarks", points, inputs)],
        notes=notes,
    )


def _targets(inputs: Inputs) -> tuple[pd.DataFrame | None, tuple[Metric, ...], Size | None]:
    """What the targets scored: the table that was given, else what the fit was fitted to, at the last common tokens."""
    if inputs.targets is not None:
        return inputs.targets, inputs.target_metrics, inputs.target_at
    fit = inputs.fit
    if fit is None or fit.source.kind != "scores":
        return None, (), None
    names = fit.source.target_metrics
    try:
        rows = rows_of_model(inputs.scores[inputs.scores["metric"].isin(names)], fit.source.target, "")
    except PairError:
        return None, (), None
    runs = rows.groupby("tokens")["run"].nunique()
    if runs.empty or runs.max() < 2:
        return None, (), None
    rows = rows[rows["tokens"] == runs[runs == runs.max()].index.max()]
    return rows, tuple(metric_called(name) for name in names), None


def _compared(scores: pd.DataFrame, headline: Metric) -> list[Metric]:
    names = set(scores["metric"]) - {headline.name}
    return [headline, *(metric_called(name) for name in _COMPARED if name in names)]


def _order_remarks(points: Sequence[TargetAgreement], targets: pd.DataFrame, inputs: Inputs) -> list[Remark]:
    """How well the largest proxies order the runs, for what part of the targets' compute, beside other metrics."""
    benchmarks = [point.benchmark for point in points]
    whole = [point for point in points if point.benchmark == (MEAN if MEAN in benchmarks else benchmarks[0])]
    ours = [point for point in whole if point.metric == inputs.metric.name]
    if not ours:
        return []
    largest = max(ours, key=lambda point: point.flops)
    others = [
        point
        for point in whole
        if point.metric != largest.metric and (point.params, point.tokens) == (largest.params, largest.tokens)
    ]
    times = float((6 * targets["params"] * targets["tokens"]).max()) / largest.flops
    compute = f", for 1/{times:,.0f} of a target's training compute" if times > 1 else ""
    text = (
        f"{largest.metric} of runs of {count_text(largest.params)} parameters and {count_text(largest.tokens)} tokens "
        f"orders {_pairs_right(largest, inputs)} of the pairs of {largest.candidates} runs as the targets do{compute}"
    )
    rest = "".join(f"; {point.metric} of the same runs {_pairs_right(point, inputs)}" for point in others)
    right = largest.value["decision_accuracy"]
    is_best = right > max([0.5, *(point.value["decision_accuracy"] for point in others)])
    return [Remark("Order of the runs", f"{text}{rest}; a coin 50 %.", "good" if is_best else "doubt")]


def _pairs_right(point: TargetAgreement, inputs: Inputs) -> str:
    low, value, high = (100 * side["decision_accuracy"] for side in (point.low, point.value, point.high))
    return f"{value:.0f} %" + (f" ({inputs.level_text}: {low:.0f} to {high:.0f})" if math.isfinite(low) else "")


def _panel(key: str, benchmark: str, points: Sequence[TargetAgreement], inputs: Inputs) -> Panel:
    group = [point for point in points if point.benchmark == benchmark]
    lines = frontier_lines(group, list(dict.fromkeys(point.metric for point in points)))
    chart = line_chart(
        key,
        lines,
        title=f"Decision accuracy on {benchmark} against training compute",
        description=" ".join(f"{line.name} reaches {line.y[-1]:.1f} % at {line.x[-1]:.3g} FLOPs." for line in lines),
        x_name="FLOPs of one run",
        x_tip=lambda value: f"{value:.3g} FLOPs",
        **FRONTIER_AXES,
    )

    return Panel(benchmark, "% of pairs ordered as the target orders them", chart, _table(benchmark, group, inputs))


def _table(benchmark: str, points: Sequence[TargetAgreement], inputs: Inputs) -> PageTable:
    rows = []
    for point in points:
        if len(points) > _MANY and not point.on_frontier:
            continue
        low, value, high = (100 * side["decision_accuracy"] for side in (point.low, point.value, point.high))
        flops = Cell(f"{point.flops:.3g}", repr(point.flops)) if math.isfinite(point.flops) else dash("f")
        rows.append(
            [
                Cell(point.metric),
                count(point.params),
                count(point.tokens),
                flops,
                Cell(str(point.candidates), repr(point.candidates)),
                percent(value, "g"),
                interval(low, high, "g", ".1f"),
                Cell("yes" if point.on_frontier else "no"),
            ]
        )
    columns = ["metric", "params", "tokens", "FLOPs", "runs", "decision accuracy %", f"{inputs.level_text} interval"]
    columns.append("on the frontier")
    part = ", sizes on a frontier" if len(points) > _MANY else ""
    return PageTable(f"Agreement with the target on {benchmark}{part}", columns, rows, folded="Numbers of this chart")
