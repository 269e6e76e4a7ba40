"""Section: how often the order of a proxy is the target's, against the compute it takes, and the Pareto frontier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.charts.axes import log_axis
from rbridge_tasks.charts.line_charts import Series, line_chart
from rbridge_tasks.report.cells import Cell, count, percent
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.sections import Panel, Section, Table

if TYPE_CHECKING:
    from rbridge_tasks.decisions.target_agreement import TargetAgreement
    from rbridge_tasks.tables.directions import Metric
    from rbridge_tasks.tables.sizes import Size

KEY, TITLE = "frontier", "Decision accuracy and its Pareto frontier"
NO_TARGET = (
    "No accuracies of target models were given. A score table with what the target scored on the same runs fills this "
    "section: --target targets.csv."
)
_RESAMPLES = 2000
_COMPARED = ("acc", "trace_bits_per_byte")  # what a team would have without rBridge
_MANY = 24  # rows of a table; more are shown where they are on a frontier


def frontier_section(inputs: Inputs) -> Section:
    """Decision accuracy of the headline metric at every size, beside accuracy and bits per byte where there are any."""
    from rbridge_tasks.decisions.candidate_ranking import Settings, rank_candidates
    from rbridge_tasks.decisions.candidates import candidates_by_size, target_values
    from rbridge_tasks.decisions.target_agreement import compare_with_target

    targets, metrics, at = _targets(inputs)
    if targets is None:
        return Section(KEY, TITLE, missing=NO_TARGET)
    settings = Settings(_RESAMPLES, level=inputs.level)
    own = inputs.scores
    if inputs.targets is None:  # the targets stand in the same table
        own = own[~(own["params"].isin(targets["params"]) | own["model"].isin(targets["model"]))]
    try:
        rankings = []
        for metric in _compared(own, inputs.metric):
            groups, _ = candidates_by_size(own, metric)
            rankings += [rank_candidates(group, None, settings) for group in groups if len(group.runs) > 1]
        benchmarks = [*dict.fromkeys(ranking.candidates.benchmark for ranking in rankings)]
        values = target_values(targets, metrics, benchmarks=benchmarks, at=at)
        points, notes = compare_with_target(rankings, values, level=inputs.level)
    except RBridgeError as error:
        return Section(KEY, TITLE, missing=f"No agreement with a target: {error}.")
    known = [point for point in points if math.isfinite(point.flops)]
    there = [*dict.fromkeys(point.benchmark for point in known)]  # the mean of benchmarks comes last
    names = [*(name for name in inputs.benchmarks if name in there), *(n for n in there if n not in inputs.benchmarks)]
    panels = [_panel(f"frontier-{place}", name, known, inputs) for place, name in enumerate(names)]
    return Section(
        KEY,
        TITLE,
        lede=(
            "Decision accuracy is the share of pairs of runs that a metric orders as the target does; 50 % is a coin. "
            "Compute is 6 × params × tokens of one run. A line joins the sizes that no cheaper size of the same metric "
            f"matches (its Pareto frontier). Bars are {inputs.level_text} intervals over items."
        ),
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
    from rbridge_tasks.decisions.pairing import PairError
    from rbridge_tasks.decisions.score_pairs import rows_of_model
    from rbridge_tasks.tables.directions import metric_called

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
    from rbridge_tasks.tables.directions import metric_called

    there = set(scores["metric"])
    return [headline, *(metric_called(name) for name in _COMPARED if name in there and name != headline.name)]


def _panel(key: str, benchmark: str, points: Sequence[TargetAgreement], inputs: Inputs) -> Panel:
    own = [point for point in points if point.benchmark == benchmark]
    metrics = [*dict.fromkeys(point.metric for point in own)]
    series = []
    for look, metric in enumerate(metrics):
        mine = [point for point in own if point.metric == metric]
        best = [point for point in mine if point.on_frontier]
        if not best:
            continue
        flops, value, low, high = (
            np.array(values, dtype=np.float64)
            for values in zip(*((point.flops, *_share(point)) for point in best), strict=True)
        )
        others = [(point.flops, _share(point)[0]) for point in mine if not point.on_frontier]
        series.append(Series(metric, look, flops, value, low, high, others=others))
    words = [f"{one.name} reaches {one.y[-1]:.1f} % at {one.x[-1]:.3g} FLOPs." for one in series]
    chart = line_chart(
        key,
        series,
        title=f"Decision accuracy on {benchmark} against training compute",
        description=" ".join(words),
        x_name="FLOPs of one run",
        x_axis=log_axis,
        x_text=flops_text,
        x_tip=lambda value: f"{value:.3g} FLOPs",
        bounds=(0.0, 100.0),
        zero=50.0,
    )
    return Panel(benchmark, "% of pairs ordered as the target orders them", chart, _table(benchmark, own, inputs))


def _share(point: TargetAgreement) -> tuple[float, float, float]:
    """Decision accuracy and its interval, in per cent."""
    low, value, high = (100 * side["decision_accuracy"] for side in (point.low, point.value, point.high))
    return value, low, high


def flops_text(flops: float) -> str:
    """A power of ten with its exponent raised.

    >>> flops_text(1e18), flops_text(3e17)
    ('10¹⁸', '3·10¹⁷')
    """
    exponent = math.floor(math.log10(flops) + 1e-9)
    power = f"10{str(exponent).translate(str.maketrans('0123456789-', '⁰¹²³⁴⁵⁶⁷⁸⁹⁻'))}"
    mantissa = round(flops / 10**exponent)
    return power if mantissa == 1 else f"{mantissa}·{power}"


def _table(benchmark: str, points: Sequence[TargetAgreement], inputs: Inputs) -> Table:
    rows = []
    for point in points:
        if len(points) > _MANY and not point.on_frontier:
            continue
        value, low, high = _share(point)
        rows.append(
            [
                Cell(point.metric),
                count(point.params),
                count(point.tokens),
                Cell(f"{point.flops:.3g}", repr(point.flops)) if math.isfinite(point.flops) else Cell("–", None, "f"),
                Cell(str(point.candidates), repr(point.candidates)),
                percent(value, "g"),
                Cell(f"{low:.1f} to {high:.1f}") if math.isfinite(low) else Cell("–", None, "g"),
                Cell("yes" if point.on_frontier else "no"),
            ]
        )
    columns = ["metric", "params", "tokens", "FLOPs", "runs", "decision accuracy %", f"{inputs.level_text} interval"]
    columns.append("on the frontier")
    part = ", sizes on a frontier" if len(points) > _MANY else ""
    return Table(f"Agreement with the target on {benchmark}{part}", columns, rows, folded="Numbers of this chart")
