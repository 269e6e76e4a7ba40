"""``rbridge predict``: accuracies from the scores of a proxy, through the curves of ``rbridge fit``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    from rbridge_tasks.decisions.fit_file import FitFile
    from rbridge_tasks.decisions.prediction import Predicted

_SHOWN = ("run", "model", "params", "tokens")  # of the table's own columns, beside those of the groups
_MOST_TEXT = 3


def predict(
    fit: Annotated[str, typer.Argument(metavar="FIT", help="fit.json of rbridge fit.")],
    table: Annotated[
        str,
        typer.Argument(metavar="SCORES", help="Table with scores of the same kind of proxy: .csv, .tsv or .parquet."),
    ],
    x: Annotated[str | None, typer.Option("--x", help="Column of the proxy score. Default: as fitted.")] = None,
    y: Annotated[str | None, typer.Option("--y", help="Column of known accuracies, to compare with.")] = None,
    use: Annotated[
        str | None, typer.Option(help="Use this one group's curve for every row, e.g. gsm8k (commas between values).")
    ] = None,
    level: Annotated[
        float | None, typer.Option(min=0.01, max=0.999, help="Of the intervals. Default: as fitted.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Of the accuracies of --y: percent, fraction, or auto.")] = "auto",
    allow_incomparable: AllowIncomparable = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the table: .csv or .parquet.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw predictions on their curves: .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Predict the target's accuracy for every row of scores, of the runs that were fitted or of new ones.

    Example: rbridge predict fit.json new_scores.csv -o predicted.csv --plot predicted.svg
    """
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.decisions.fit_file import read_fit
    from rbridge_tasks.decisions.prediction import predict_table, write_predictions
    from rbridge_tasks.tables.score_table import TEXT, WRITTEN, read_table
    from rbridge_traces.files import check_suffix

    if output:
        check_suffix(output, WRITTEN, "a table of predictions")
    if plot:
        check_plot_path(plot)
    curves = read_fit(fit)
    groups = [part.strip() for part in use.split(",")] if use else []
    rows = read_table(table, text=[*TEXT, *curves.columns])
    found, notes = predict_table(
        curves, rows, x=x, y=y, use=groups, level=level, unit=unit, allow_incomparable=allow_incomparable
    )
    level = curves.level if level is None else level
    if output:
        write_predictions(found, output)
    if plot:
        _draw(found, curves, level, plot)
    if as_json:
        print_json({"fit": curves.path, "level": level, "groups": [_payload(one) for one in found], "notes": notes})
        return
    _show(found, curves, level)
    for text in notes:
        note(text)


def _show(found: Sequence[Predicted], curves: FitFile, level: float) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.tables.sizes import count_text

    there = dict.fromkeys(name for one in found for name in one.rows.columns if name not in curves.columns)
    own = [name for name in _SHOWN if name in there]
    if curves.source["kind"] != "scores":
        own += _text_columns(found, [name for name in there if name not in own])
    order = curves.source.get("order")
    if order and order not in own and all(order in one.rows.columns for one in found):
        own.append(order)
    with_actual = any(one.actual is not None for one in found)
    columns = ["group", *own, "score", "predicted %", f"{level:.0%} interval", *["actual %"] * with_actual, "rank", ""]
    rows = []
    for one in found:
        for place, row in enumerate(one.rows.to_dict("records")):
            cells = [count_text(row[name]) if name in ("params", "tokens") else _cell(row[name]) for name in own]
            rows.append(
                [
                    one.name,
                    *cells,
                    f"{one.scores[place]:.6g}",
                    f"{row['predicted_accuracy_pct']:.2f}",
                    f"{row['low_pct']:.2f} to {row['high_pct']:.2f}",
                    *([] if one.actual is None else [f"{one.actual[place]:.2f}"]),
                    _cell(row["rank"]),
                    "outside the fitted scores" if row["outside_fitted_range"] else "",
                ]
            )
    print_table("predicted accuracy of the target; rank 1 is the highest of its group", columns, rows)
    for one in found:
        if not math.isnan(one.mae_pct):
            inside = f"{one.coverage:.0%} in the {level:.0%} interval"
            typer.echo(f"{one.name}: mean absolute error {one.mae_pct:.3f} points, {inside}")


def _text_columns(found: Sequence[Predicted], names: Iterable[str]) -> list[str]:
    """The first columns of text: what tells rows apart in a table that is not a score table."""
    from pandas.api.types import is_string_dtype

    from rbridge_tasks.tables.table_settings import SETTINGS

    texts = [name for name in names if all(is_string_dtype(one.rows[name]) for one in found)]
    return [name for name in texts if name != SETTINGS][:_MOST_TEXT]


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _payload(one: Predicted) -> dict[str, Any]:
    return {
        "group": one.group.key,
        "rows_of": one.name,
        "function": one.group.model.function_,
        "mae_pct": one.mae_pct,
        "coverage": one.coverage,
        "new_runs": _new_runs(one),
        "rows": one.rows.astype(object).where(one.rows.notna(), None).to_dict("records"),
    }


def _new_runs(one: Predicted) -> list[str] | None:
    """Runs that the curve has not seen: their predictions are carried over from other data. None where unknown."""
    if "run" not in one.rows.columns or not one.group.runs:
        return None
    return sorted({str(run) for run in one.rows["run"]} - one.group.runs)


def _draw(found: Sequence[Predicted], curves: FitFile, level: float, path: str) -> None:
    from rbridge_tasks.charts.fit import draw_predictions

    groups = []
    for one in found:
        rows = [
            {
                "x": float(score),
                "predicted": row["predicted_accuracy_pct"],
                "low": row["low_pct"],
                "high": row["high_pct"],
                "outside": bool(row["outside_fitted_range"]),
                "actual": None if one.actual is None or math.isnan(one.actual[i]) else float(one.actual[i]),
            }
            for i, (score, row) in enumerate(zip(one.scores, one.rows.to_dict("records"), strict=True))
        ]
        groups.append({"key": one.group.key, "model": one.group.model, "rows": rows})
    draw_predictions(groups, curves.source, level, path)
