"""Section: the accuracy that the fit predicts for the target, beside predictions without any proxy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rbridge_tasks.charts.lines import Series
from rbridge_tasks.charts.page_charts import line_chart
from rbridge_tasks.decisions.fit_file import Fit, FittedGroup
from rbridge_tasks.decisions.prediction import Predicted, PredictionError
from rbridge_tasks.report.elements import (
    Cell,
    PageSection,
    PageTable,
    Panel,
    Remark,
    count,
    dash,
    interval,
    number,
    percent,
)
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import RunLine, room, thinned
from rbridge_tasks.report.without_proxy import WithoutProxy
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

KEY, TITLE = "accuracy", "Predicted target accuracy"
NOT_FITTED = (
    "No fit was given. Past runs whose target accuracy is known fill this section: rbridge fit … -o fit.json, then "
    "rbridge report SCORES fit.json."
)
_REFERENCE_POINTS = 24
_NUMBERS = ["tokens", "predicted_accuracy_pct", "low_pct", "high_pct"]


class Latest(NamedTuple):
    """The prediction for the last checkpoint of a line on a benchmark, in percent; for the head of the page."""

    benchmark: str
    line: str
    tokens: float
    predicted: float
    low: float
    high: float
    outside: bool


def prediction_section(inputs: Inputs, lines: Sequence[RunLine]) -> tuple[PageSection, list[Latest]]:
    """Predicted accuracies over training with intervals, the fit's errors beside its baselines', and its verdict."""
    fit = inputs.fit
    if fit is None:
        return PageSection(KEY, TITLE, missing=NOT_FITTED), []
    remarks = [_verdict(group) for group in fit.groups]
    tables = [_errors(fit)] if any(group.cross_validation for group in fit.groups) else []
    notes = [f"{group.name}: {text}" for group in fit.groups for text in group.notes] + fit.notes
    try:
        # Settings were compared as the inputs were read; the head names the differences.
        predictions = fit.predict(inputs.scores, level=inputs.level, allow_incomparable=True)
    except PredictionError as error:
        missing = f"No prediction for this table: {error}."
        return PageSection(KEY, TITLE, _lede(fit), remarks, (), tables, missing, notes), []
    # A score table holds other metrics, as it should.
    notes += sorted(text for text in predictions.notes if text not in inputs.doubts and "of another metric" not in text)
    panels, latest, rows = [], [], []
    for place, predicted in enumerate(predictions.groups):
        without = WithoutProxy(predicted.group, fit.recipe)
        scored = predicted.rows.assign(proxy_score=predicted.scores)
        parts = [(line, part) for line in lines if len(part := line.along(scored))]
        panel = _panel(f"accuracy-{place}", predicted, parts, without, inputs, len(predictions.groups))
        panels += [panel] if panel else []
        for line, part in parts:
            last = part.iloc[-1]
            tokens, middle, low, high = (float(last[name]) for name in _NUMBERS)
            outside = bool(last["outside_fitted_range"])
            latest.append(Latest(predicted.name, line.name, tokens, middle, low, high, outside))
            rows.append(
                [
                    Cell(predicted.name), Cell(line.name), count(tokens), number(float(last["proxy_score"])),
                    percent(middle), interval(low, high, "g", ".1f"), percent(without.by_tokens(tokens)),
                    percent(without.last_known(line.run, tokens)), Cell("no, beyond it" if outside else "yes"),
                ]
            )  # fmt: skip
    columns = ["benchmark", "run", "tokens", "proxy score", "predicted %", f"{inputs.level_text} interval"]
    columns += ["log tokens alone %", "last known %", "in fitted range"]
    caption = "Predicted accuracy of the target at the last checkpoint of each run, in per cent"
    tables.insert(0, PageTable(caption, columns, rows, headers=2))
    return PageSection(KEY, TITLE, _lede(fit), remarks, panels, tables, "", notes), latest


def _lede(fit: Fit) -> str:
    source = fit.source
    if source.kind == "scores":
        whose, target = f" of {source.proxy}", f"{' or '.join(source.target_metrics)} of {source.target}"
    else:
        whose, target = "", source.y
    points = sum(len(group.points) for group in fit.groups)
    return (
        f"A curve from {source.score_name}{whose} to {target}, fitted to {counted(points, 'past checkpoint')}, read at "
        "the scores of this table. Crosses are accuracies that were measured, the thin dashed line is what the "
        "logarithm of the training tokens alone would have said. The verdict below holds the proxy against such "
        "baselines on checkpoints that the fit did not see."
    )


def _verdict(group: FittedGroup) -> Remark:
    """The fit's own words, and whether they are good news."""
    if group.cross_validation is None:
        return Remark(group.name, "not cross-validated, so nothing says how far to trust it", "doubt")
    verdict = group.cross_validation.verdict
    return Remark(group.name, verdict, "good" if verdict.startswith("the proxy beats") else "doubt")


def _errors(fit: Fit) -> PageTable:
    names = fit.baselines
    rows = []
    for group in fit.groups:
        if (validation := group.cross_validation) is None:
            continue
        baselines, size = validation.baseline_mae_pct, len(group.points)
        rows.append(
            [
                Cell(group.name),
                Cell(str(size), repr(size)),
                _points(validation.test_mae_pct),
                *(_points(baselines[name]) if name in baselines else dash("h") for name in names),
                number(validation.train_r2),
                percent(100 * validation.coverage),
            ]
        )
    columns = ["benchmark", "checkpoints", "proxy", *names, "R² on fitted", f"in {fit.level:.0%} interval, %"]
    caption = (
        f"Mean absolute error on checkpoints left out ({fit.cv} folds), in percentage points of accuracy; "
        "the smallest of a row is best"
    )
    return PageTable(caption, columns, rows)


def _points(value: float) -> Cell:
    return Cell(f"{value:.3f}", repr(float(value)))


def _panel(
    key: str,
    predicted: Predicted,
    parts: Sequence[tuple[RunLine, pd.DataFrame]],
    without: WithoutProxy,
    inputs: Inputs,
    charts: int,
) -> Panel | None:
    drawn, rows = [], []
    for line, whole in parts:
        part = thinned(whole[whole["tokens"].notna()], room(len(parts), charts))
        if not len(part):
            continue
        numbers = part[_NUMBERS].to_numpy(np.float64)
        drawn.append(Series.of_rows(line.name, line.look, numbers, measured=without.measured(line.run)))
        if line.look is not None:
            for score, (tokens, *values) in zip(part["proxy_score"], numbers.tolist(), strict=True):
                cells = [count(tokens), number(score), *map(percent, values), percent(without.by_tokens(tokens))]
                rows.append([Cell(line.name), *cells])
    if not drawn:
        return None
    tokens = np.unique(np.concatenate([line.x for line in drawn]))
    tokens = tokens[tokens > 0]
    if without.curve is not None and len(tokens) > 1:
        along = np.geomspace(tokens[0], tokens[-1], _REFERENCE_POINTS)
        unknown = np.full(len(along), np.nan)
        accuracy = without.curve.predict(np.log(along))
        drawn.append(Series("log tokens", None, along, accuracy, unknown, unknown, reference=True))
    chart = line_chart(
        key,
        drawn,
        title=f"Predicted accuracy of the target on {predicted.name}",
        description=" ".join(f"{line.name}: {line.y[-1]:.1f} % at {count_text(line.x[-1])} tokens." for line in drawn),
        bounds=(0.0, 100.0),
    )
    columns = ["run", "tokens", "proxy score", "predicted %", "low %", "high %", "log tokens alone %"]
    caption = f"Predicted accuracy on {predicted.name}"
    table = PageTable(caption, columns, rows, headers=2, folded="Numbers of this chart")
    return Panel(predicted.name, f"accuracy of the target, %, with {inputs.level_text} intervals", chart, table)
