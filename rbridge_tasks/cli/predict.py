"""``rbridge predict``: accuracies from the scores of a proxy, through the curves of ``rbridge fit``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options

if TYPE_CHECKING:
    from rbridge_tasks.decisions.prediction import Predictions

_SHOWN = ("run", "model", "params", "tokens")  # of the table's columns, beside those of the groups
_MOST_TEXT_COLUMNS = 3


def predict(
    fit: Annotated[str, typer.Argument(metavar="FIT", help="fit.json of rbridge fit.")],
    table: Annotated[
        str,
        typer.Argument(metavar="SCORES", help="Table with scores of the same kind of proxy: .csv, .tsv or .parquet."),
    ],
    x: Annotated[str | None, typer.Option("--x", help="Column of the proxy score. Default: as fitted.")] = None,
    y: Annotated[str | None, typer.Option("--y", help="Column of known accuracies, to compare with.")] = None,
    use: Annotated[
        str, typer.Option(help="Use the curve of this group for every row, e.g. gsm8k (commas between values).")
    ] = "",
    level: Annotated[
        float | None, typer.Option(min=0.01, max=0.999, help="Probability of the intervals. Default: as fitted.")
    ] = None,
    unit: options.Unit = "auto",
    allow_incomparable: options.AllowIncomparable = False,
    output: options.TableOutput = None,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
) -> None:
    """Predict the target's accuracy for every row of scores, of the runs that were fitted or of new ones.

    Example: rbridge predict fit.json new_scores.csv -o predicted.csv --plot predicted.svg
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.decisions.fit_file import load_fit

    check_outputs("a table of predictions", table=output, plot=plot)
    predictions = load_fit(fit).predict(
        table, x=x, y=y, use=use, level=level, unit=unit, allow_incomparable=allow_incomparable
    )
    deliver(predictions, _show, as_json=as_json, table=output, plot=plot)


def _show(predictions: Predictions) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.tables.sizes import count_text

    names = _columns(predictions)
    groups, interval = predictions.groups, f"{predictions.level:.0%} interval"
    actual = ["actual %"] * any(group.actual is not None for group in groups)
    rows = []
    for group in groups:
        for place, row in enumerate(group.rows.to_dict("records")):
            rows.append(
                [
                    group.name,
                    *(count_text(row[name]) if name in ("params", "tokens") else _cell(row[name]) for name in names),
                    f"{group.scores[place]:.6g}",
                    f"{row['predicted_accuracy_pct']:.2f}",
                    f"{row['low_pct']:.2f} to {row['high_pct']:.2f}",
                    *([] if group.actual is None else [f"{group.actual[place]:.2f}"]),
                    _cell(row["rank"]),
                    "outside the fitted scores" if row["outside_fitted_range"] else "",
                ]
            )
    columns = ["group", *names, "score", "predicted %", interval, *actual, "rank", ""]
    print_table("predicted accuracy of the target; rank 1 is the highest of its group", columns, rows)
    for group in groups:
        if not math.isnan(group.mae_pct):
            inside = f"{group.coverage:.0%} in the {interval}"
            typer.echo(f"{group.name}: mean absolute error {group.mae_pct:.3f} points, {inside}")


def _columns(predictions: Predictions) -> list[str]:
    """Columns that identify a row: its checkpoint in a score table, else the first columns of text and the order."""
    from pandas.api.types import is_string_dtype

    from rbridge_tasks.tables.settings_columns import SETTINGS

    source, tables = predictions.fit.source, [group.rows for group in predictions.groups]
    available = dict.fromkeys(name for rows in tables for name in rows.columns if name not in predictions.fit.columns)
    names = [name for name in _SHOWN if name in available]
    if source.kind == "pairs":
        texts = [
            name
            for name in available
            if name not in (*names, SETTINGS) and all(is_string_dtype(rows[name]) for rows in tables)
        ]
        names += texts[:_MOST_TEXT_COLUMNS]
        if source.order and source.order not in names and all(source.order in rows.columns for rows in tables):
            names.append(source.order)
    return names


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
