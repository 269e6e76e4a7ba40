"""Section: what accuracy the fit predicts for the target, beside what could be said without any proxy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from rbridge_tasks.charts.line_charts import Series, line_chart
from rbridge_tasks.report.cells import Cell, count, number, percent
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import Line, by_look, room, thinned
from rbridge_tasks.report.sections import Panel, Remark, Section, Table
from rbridge_tasks.report.without_proxy import WithoutProxy
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

if TYPE_CHECKING:
    from rbridge_tasks.decisions.fit_file import Fit, FittedGroup
    from rbridge_tasks.decisions.prediction import Predicted

KEY, TITLE = "accuracy", "Predicted target accuracy"
NOT_FITTED = (
    "No fit was given. Past runs whose target accuracy is known fill this section: rbridge fit … -o fit.json, then "
    "rbridge report SCORES fit.json."
)


class Latest(NamedTuple):
    """What is predicted of the last checkpoint of a line on a benchmark, in percent; for the head of the page."""

    benchmark: str
    line: str
    tokens: float
    predicted: float
    low: float
    high: float
    outside: bool


def prediction_section(inputs: Inputs, lines: Sequence[Line]) -> tuple[Section, list[Latest]]:
    """Predicted accuracies over training with intervals, the fit's errors beside its baselines', and its verdict."""
    from rbridge_tasks.decisions.prediction import PredictionError

    fit = inputs.fit
    if fit is None:
        return Section(KEY, TITLE, missing=NOT_FITTED), []
    remarks = [_verdict(group) for group in fit.groups]
    tables = [_errors(fit)] if any(group.cross_validation for group in fit.groups) else []
    notes = [f"{group.name}: {text}" for group in fit.groups for text in group.notes]
    notes += fit.notes
    try:
        # Settings were compared as the inputs were read; what differs stands in the head.
        predictions = fit.predict(inputs.scores, level=inputs.level, allow_incomparable=True)
        found, more = predictions.groups, [text for text in predictions.notes if text not in inputs.doubts]
    except PredictionError as error:
        section = Section(KEY, TITLE, _lede(fit), remarks, (), tables, f"No prediction for this table: {error}.", notes)
        return section, []
    more = [text for text in more if "of another metric" not in text]  # a score table holds others, as it should
    panels, latest = [], []
    rows: list[list[Cell]] = []
    for at, one in enumerate(found):
        without = WithoutProxy(fit, one.group.key)
        parts = _parts(one, lines)
        panel = _panel(f"accuracy-{at}", one, parts, without, inputs, len(found))
        panels += [panel] if panel else []
        for line, part in parts:
            last = part.iloc[-1]
            predicted, low, high = (float(last[name]) for name in ("predicted_accuracy_pct", "low_pct", "high_pct"))
            outside = bool(last["outside_fitted_range"])
            latest.append(Latest(one.name, line.name, float(last["tokens"]), predicted, low, high, outside))
            rows.append(_row(one, line, last, without))
    columns = ["benchmark", "run", "tokens", "proxy score", "predicted %", f"{inputs.level_text} interval"]
    columns += ["log tokens alone %", "last known %", "in fitted range"]
    caption = "Predicted accuracy of the target at the last checkpoint of each run, in per cent"
    tables.insert(0, Table(caption, columns, rows, headers=2))
    return Section(KEY, TITLE, _lede(fit), remarks, panels, tables, "", notes + sorted(more)), latest


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


def _errors(fit: Fit) -> Table:
    names = fit.baselines
    rows = []
    for group in fit.groups:
        if (validation := group.cross_validation) is None:
            continue
        without = validation.baseline_mae_pct
        rows.append(
            [
                Cell(group.name),
                Cell(f"{len(group.points)}", repr(len(group.points))),
                _points(validation.test_mae_pct),
                *(_points(without[name]) if name in without else Cell("–", None, "h") for name in names),
                number(validation.train_r2),
                percent(100 * validation.coverage),
            ]
        )
    columns = ["benchmark", "checkpoints", "proxy", *names, "R² on fitted", f"in {fit.level:.0%} interval, %"]
    caption = (
        f"Mean absolute error on checkpoints left out ({fit.cv} folds), in percentage points of accuracy; "
        "the smallest of a row is best"
    )
    return Table(caption, columns, rows)


def _points(value: float) -> Cell:
    return Cell(f"{value:.3f}", repr(float(value)))


def _parts(one: Predicted, lines: Sequence[Line]) -> list[tuple[Line, pd.DataFrame]]:
    rows = one.rows.assign(proxy_score=one.scores)
    if "run" not in rows.columns or "tokens" not in rows.columns:
        return []
    known = by_look(lines)
    there = rows[["run", "params"]].drop_duplicates()
    keys = {(run, repr(float(params))) for run, params in there.itertuples(index=False)}
    return [(line, line.along(rows)) for key, line in known.items() if key in keys]


def _panel(
    key: str,
    one: Predicted,
    parts: Sequence[tuple[Line, pd.DataFrame]],
    without: WithoutProxy,
    inputs: Inputs,
    charts: int,
) -> Panel | None:
    series = []
    rows = []
    for line, whole in parts:
        part = thinned(whole[whole["tokens"].notna()], room(len(parts), charts))
        if not len(part):
            continue
        x, y, low, high = (
            part[name].to_numpy(np.float64) for name in ("tokens", "predicted_accuracy_pct", "low_pct", "high_pct")
        )
        series.append(Series(line.name, line.look, x, y, low, high, measured=without.measured(line.run)))
        if line.look is not None:
            for tokens, score, *values in zip(x, part["proxy_score"], y, low, high, strict=True):
                cells = [count(tokens), number(score), *map(percent, values)]
                rows.append([Cell(line.name), *cells, percent(without.by_tokens(tokens))])
    if not series:
        return None
    xs = np.unique(np.concatenate([drawn.x for drawn in series]))
    along = xs[xs > 0]
    if without.curve is not None and len(along) > 1:
        at = np.geomspace(along[0], along[-1], 24)
        nothing = np.full(len(at), np.nan)
        series.append(Series("log tokens", None, at, without.curve.predict(np.log(at)), nothing, nothing, True))
    words = [f"{drawn.name}: {drawn.y[-1]:.1f} % at {count_text(drawn.x[-1])} tokens." for drawn in series]
    chart = line_chart(
        key,
        series,
        title=f"Predicted accuracy of the target on {one.name}",
        description=" ".join(words),
        bounds=(0.0, 100.0),
    )
    columns = ["run", "tokens", "proxy score", "predicted %", "low %", "high %", "log tokens alone %"]
    table = Table(f"Predicted accuracy on {one.name}", columns, rows, headers=2, folded="Numbers of this chart")
    return Panel(one.name, f"accuracy of the target, %, with {inputs.level_text} intervals", chart, table)


def _row(one: Predicted, line: Line, last: pd.Series, without: WithoutProxy) -> list[Cell]:
    tokens = float(last["tokens"])
    return [
        Cell(one.name),
        Cell(line.name),
        count(tokens),
        number(float(last["proxy_score"])),
        percent(float(last["predicted_accuracy_pct"])),
        Cell(f"{last['low_pct']:.1f} to {last['high_pct']:.1f}"),
        percent(without.by_tokens(tokens)),
        percent(without.last_known(line.run, tokens)),
        Cell("no, beyond it" if last["outside_fitted_range"] else "yes"),
    ]
