"""``rbridge forecast``: a metric later in training, from the first part of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options

if TYPE_CHECKING:
    from rbridge_tasks.decisions.forecast import Forecasts


def forecast(
    scores: options.ScoreTable,
    metric: Annotated[str, typer.Option("--metric", "-m", help="Metric to forecast.")] = "rbridge_nll",
    run: Annotated[list[str] | None, typer.Option("--run", "-r", help="Only this run. Repeatable.")] = None,
    benchmark: options.Benchmarks = None,
    params: Annotated[str | None, typer.Option(metavar="PARAMS", help="Only this size, e.g. 98M.")] = None,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="TOKENS", help="Forecast at these tokens, e.g. 4T. Repeatable.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TOKENS", help="Fit checkpoints up to these tokens only.")
    ] = None,
    use_first: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Fit this part of each run's tokens only, e.g. 0.5.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TOKENS", help="Leave out checkpoints before these tokens (warm-up)."),
    ] = None,
    robust: Annotated[bool, typer.Option("--robust", help="Give less weight to checkpoints off the curve.")] = False,
    fit: Annotated[
        str | None, typer.Option(help="fit.json of rbridge fit: forecast the target's accuracy through the proxy too.")
    ] = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Forecast the checkpoints left out and compare with them and baselines.")
    ] = False,
    level: options.Level = 0.9,
    allow_incomparable: options.AllowIncomparable = False,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
) -> None:
    """Forecast a metric later in training by a - b t^(-c), with intervals; nothing in it is random.

    Example: rbridge forecast scores.csv --metric rbridge_nll --run dclm --use-first 0.5 --at 4T --backtest
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.decisions.forecast import forecast as forecast_table

    check_outputs(plot=plot)
    forecasts = forecast_table(
        scores, metric, at=at or [], runs=run or [], benchmarks=benchmark or [], params=params, until=until,
        use_first=use_first, start=start or 0.0, robust=robust, fit=fit, backtest=backtest, level=level,
        allow_incomparable=allow_incomparable,
    )  # fmt: skip
    deliver(forecasts, _show, as_json=as_json, plot=plot)


def _show(forecasts: Forecasts) -> None:
    """Print forecasts, accuracies and backtests as tables."""
    from rbridge_tasks.cli.output import print_table, say
    from rbridge_tasks.tables.sizes import count_text

    interval = f"{100 * forecasts.level:g} %"
    metric_rows, accuracy_rows = [], []
    for forecast in forecasts.runs:
        run, law = forecast.run, forecast.law
        names = [run.benchmark, run.run, count_text(run.params)]
        curve = [str(law.tokens.size), count_text(law.tokens[-1]), f"{law.a:.4g}", f"{law.c:.3g}"]
        for tokens, value, low, high in forecast.later:
            metric_rows.append([*names, *curve, count_text(tokens), f"{value:.4f}", f"{low:.4f} to {high:.4f}"])
        for tokens, value, low, high in forecast.accuracy:
            accuracy_rows.append([*names, count_text(tokens), f"{value:.2f}", f"{low:.2f} to {high:.2f}"])
    if metric_rows:
        columns = ["benchmark", "run", "params", "checkpoints", "up to", "a", "c", "at", "forecast", interval]
        print_table(f"{forecasts.metric} by a - b t^(-c)", columns, metric_rows)
    if accuracy_rows:
        columns = ["benchmark", "run", "params", "at", "accuracy, %", interval]
        print_table(f"Accuracy of the target, through {forecasts.metric}", columns, accuracy_rows)
    if summary := forecasts.summary:
        rows = [
            [
                run.benchmark, run.run, count_text(run.params), str(test.shown), str(test.tokens.size),
                *(f"{error:.4g}" for error in test.mean_absolute_error.values()), f"{100 * test.coverage:.0f} %",
            ]
            for run, test in forecasts.tested
        ]  # fmt: skip
        methods = [name.replace("_", " ") for name in summary.mean_absolute_error]
        columns = ["benchmark", "run", "params", "shown", "hidden", *methods, f"in {interval} interval"]
        print_table("Mean absolute error on the checkpoints left out", columns, rows)
        say(summary.verdict)
