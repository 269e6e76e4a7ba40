"""``rbridge predict``: accuracies from the scores of a proxy, through the curves of ``rbridge fit``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.options import AllowIncomparable, AsJson, Plot, TableOutput, Unit

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
    unit: Unit = "auto",
    allow_incomparable: AllowIncomparable = False,
    output: TableOutput = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Predict the target's accuracy for every row of scores, of the runs that were fitted or of new ones.

    Example: rbridge predict fit.json new_scores.csv -o predicted.csv --plot predicted.svg
    """
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.decisions.fit_file import load_fit
    from rbridge_tasks.tables.score_table import WRITTEN, write_table
    from rbridge_traces.files import check_suffix

    if output:
        check_suffix(output, WRITTEN, "a table of predictions")
    if plot:
        check_plot_path(plot)
    predictions = load_fit(fit).predict(
        table, x=x, y=y, use=use, level=level, unit=unit, allow_incomparable=allow_incomparable
    )
    if output:
        write_table(predictions.to_frame(), output, "a table of predictions")
    if plot:
        predictions.plot(plot)
    if as_json:
        print_json(predictions.to_dict())
        return
    _show(predictions)
    for text in predictions.notes:
        note(text)


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
