"""Section: accuracies of larger models from a ladder of small ones, their intervals and the backtest."""

from __future__ import annotations

import math

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.charts.page_charts import contour_chart
from rbridge_tasks.decisions.ladder import ladder
from rbridge_tasks.decisions.ladder_result import Ladder, LadderBenchmark
from rbridge_tasks.report.elements import (
    Cell,
    PageSection,
    PageTable,
    Panel,
    Remark,
    count,
    dash,
    interval,
    percent,
    rounded,
    whole,
)
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.tables.sizes import count_text

KEY, TITLE = "ladder", "Forecasts from the ladder of sizes"
NO_TARGET = (
    "No size to forecast was given. Runs of three or more sizes, each trained to two or more token counts, and "
    "--predict 7B:4T fill this section."
)
_EVERY = 6  # each so many points of the grid stand in the table of a chart


def ladder_section(inputs: Inputs) -> PageSection:
    """Contours of the accuracy over size and tokens, forecasts and their backtest, by ``rbridge ladder``."""
    if not (inputs.predict or inputs.reach):
        return PageSection(KEY, TITLE, missing=NO_TARGET)
    metric, target = inputs.metric, inputs.target_metrics[0]
    try:
        result = ladder(
            inputs.measured, f"{metric.name}:{metric.better}", target_metric=target.name, predict=inputs.predict,
            reach=inputs.reach, average_last=inputs.average_last, level=inputs.level, allow_incomparable=True,
        )  # fmt: skip
    except RBridgeError as error:
        return PageSection(KEY, TITLE, missing=f"No forecast: {error}.")
    return PageSection(
        KEY,
        TITLE,
        lede=(
            f"{target.name} of models that nobody has trained, through {metric.name} of the small ones. Solid lines "
            "join sizes and token counts of equal accuracy, dashed lines those of equal training compute. Intervals "
            f"hold the measured accuracy with a probability of {inputs.level_text}; the backtest forecasts the upper "
            "part of the ladder from its lower part."
        ),
        remarks=[
            Remark(part.benchmark, part.verdict.partition(": ")[2] + ".", "good" if part.beats_baselines else "doubt")
            for part in result.benchmarks
        ],
        panels=[_panel(f"ladder-{place}", part, result) for place, part in enumerate(result.benchmarks)],
        tables=[*_forecasts(result, inputs), *_cheapest(result), *_backtests(result, inputs)],
        notes=[f"{text[0].upper()}{text[1:]}." for text in result.notes],
    )


def _panel(key: str, part: LadderBenchmark, result: Ladder) -> Panel:
    grid = part.grid
    sizes, lengths = (range(0, len(side), _EVERY) for side in (grid.params, grid.tokens))
    rows = [[count(float(grid.params[i])), *(percent(float(grid.accuracy_pct[i, j])) for j in lengths)] for i in sizes]
    columns = ["params", *(f"{count_text(float(grid.tokens[j]))} tokens" for j in lengths)]
    texts = [
        f"{count_text(row.params)} parameters at {count_text(row.tokens)} tokens: {row.accuracy_pct:.1f} %, "
        f"{row.low_pct:.1f} to {row.high_pct:.1f}."
        for row in part.forecasts
    ]
    chart = contour_chart(
        key,
        part,
        title=f"{result.target_metric} on {part.benchmark} over size and training tokens",
        description=f"Lines of equal accuracy, {len(part.runs)} runs of the ladder and the targets. {' '.join(texts)}",
    )
    table = PageTable(f"{result.target_metric} on {part.benchmark}, %", columns, rows, folded="Numbers of this chart")
    return Panel(part.benchmark, f"{result.target_metric}, %", chart, table)


def _forecasts(result: Ladder, inputs: Inputs) -> list[PageTable]:
    rows = [
        [
            Cell(part.benchmark), count(row.params), count(row.tokens), percent(row.accuracy_pct),
            interval(row.low_pct, row.high_pct, "g", ".1f"), rounded(row.compute_ratio, ".3g", "f"),
            dash("c") if math.isnan(row.measured_pct) else percent(row.measured_pct),
            rounded(100 * (1 - row.next_rung_width), ".0f", "g"),
        ]
        for part in result.benchmarks
        for row in part.forecasts
    ]  # fmt: skip
    columns = ["benchmark", "params", "tokens", f"{result.target_metric}, %", f"{inputs.level_text} interval"]
    columns += ["times the compute", "measured, %", "narrower by one more size, %"]
    return [PageTable("Forecasts", columns, rows, headers=2)] if rows else []


def _cheapest(result: Ladder) -> list[PageTable]:
    rows = []
    for part in result.benchmarks:
        for row in part.reaches:
            place = [count(row.params), count(row.tokens), rounded(row.flops, ".2g", "k")]
            place = [dash("k")] * 3 if math.isnan(row.flops) else place
            rows.append([Cell(part.benchmark), percent(row.accuracy_pct), *place])
    columns = ["benchmark", f"{result.target_metric}, %", "params", "tokens", "FLOPs"]
    return [PageTable("Cheapest model for an accuracy", columns, rows, headers=2)] if rows else []


def _backtests(result: Ladder, inputs: Inputs) -> list[PageTable]:
    rows, names = [], [name for part in result.benchmarks for name in part.errors]
    for part in result.benchmarks:
        for fold in part.folds:
            limit = f"{count_text(fold.limit)} params" if fold.by_size else f"{fold.limit:.2g} FLOPs"
            errors = (fold.error, *fold.baselines.values())
            rows.append(
                [
                    Cell(part.benchmark), Cell(f"up to {limit}"), whole(fold.fitted), whole(fold.held),
                    *(rounded(error, ".2f", "g") for error in errors), rounded(100 * fold.coverage, ".0f", "g"),
                ]
            )  # fmt: skip
    if not rows:
        return []
    columns = ["benchmark", "fitted", "runs", "held out", *dict.fromkeys(names), f"in {inputs.level_text} interval, %"]
    return [PageTable("Backtest: mean absolute error on larger runs, in points", columns, rows, headers=2)]
