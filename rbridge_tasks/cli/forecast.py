"""``rbridge forecast``: where a metric is going, from the first part of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    from rbridge_metrics.forecast import Backtest
    from rbridge_tasks.decisions.accuracy_forecasts import AccuracyFits
    from rbridge_tasks.decisions.run_forecasts import RunForecast
    from rbridge_tasks.decisions.training_runs import TrainingRun


class ForecastUsageError(RBridgeError):
    """The command's arguments do not fit together."""


def forecast(
    scores: Annotated[str, typer.Argument(help="Score table of rbridge collect: .csv, .tsv or .parquet.")],
    metric: Annotated[str, typer.Option("--metric", "-m", help="Metric to forecast.")] = "rbridge_nll",
    run: Annotated[list[str] | None, typer.Option("--run", "-r", help="Only this run. Repeatable.")] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help="Only this benchmark. Repeatable.")
    ] = None,
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
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Probability that intervals are made for.")] = 0.9,
    allow_incomparable: AllowIncomparable = False,
    plot: Annotated[str | None, typer.Option(help="Draw the forecast of one run: .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Forecast a metric later in training by a - b t^(-c), with intervals; nothing in it is random.

    Example: rbridge forecast scores.csv --metric rbridge_nll --run dclm --use-first 0.5 --at 4T --backtest
    """
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.decisions.accuracy_forecasts import AccuracyFits
    from rbridge_tasks.decisions.fit_file import read_fit
    from rbridge_tasks.decisions.run_forecasts import Part, backtest_runs, doubts, forecast_runs
    from rbridge_tasks.decisions.training_runs import rows_of_runs, training_runs
    from rbridge_tasks.tables.score_table import read_scores
    from rbridge_tasks.tables.sizes import parse_count
    from rbridge_tasks.tables.table_settings import check_rows

    if plot:
        check_plot_path(plot)
    if until is not None and use_first is not None:
        raise ForecastUsageError("--until and --use-first both say what to fit; give one of them")
    if not at and not backtest:
        raise ForecastUsageError("nothing to forecast; give --at TOKENS, or --backtest")
    if backtest and until is None and use_first is None:
        use_first = 0.5
    part = Part(parse_count(until) if until else None, use_first, "huber" if robust else "squared")
    times = sorted({parse_count(text) for text in at or []})
    table = read_scores(scores)
    runs, notes = training_runs(
        table,
        metric,
        runs=run or [],
        benchmarks=benchmark or [],
        params=parse_count(params) if params else None,
        start=parse_count(start) if start else 0.0,
    )
    if plot and len(runs) > 1:
        raise ForecastUsageError(f"--plot draws one run, not {len(runs)}; choose with --run, --benchmark and --params")
    found, skipped = forecast_runs(runs, part)
    notes += skipped + doubts(found, times)
    fits = AccuracyFits.of(read_fit(fit), metric) if fit else None
    rows = rows_of_runs(table, runs)
    notes += check_rows(rows, allow=allow_incomparable, within=("run", "params"))
    if fits:
        for _, part in rows.groupby(["run", "params"], dropna=False):
            lines = check_rows(part, allow=allow_incomparable, beside=fits.file.measured)
            notes += [line for line in lines if line not in notes]
    notes += fits.doubts(found, times) if fits else []
    entries = [_entry(one, times, level, fits) for one in found]
    tested, untested = backtest_runs(found, part, level) if backtest else ([], [])
    notes += untested
    if as_json:
        print_json(_payload(metric, entries, tested, level, notes))
    else:
        _show(metric, entries, level)
        _show_backtest(tested, level)
        for text in notes:
            note(text)
    if plot:
        from rbridge_tasks.charts.forecast import draw_forecast

        one = found[0]
        end = max([*times, float(one.run.tokens[-1])])
        draw_forecast(one.law, one.hidden, plot, title=one.run.name, metric=metric, until=end, level=level)


def _entry(one: RunForecast, times: Sequence[float], level: float, fits: AccuracyFits | None) -> dict[str, Any]:
    """A run, its curve, and what it says of later times."""
    from rbridge_tasks.decisions.run_forecasts import later

    run, law = one.run, one.law
    return {
        "benchmark": run.benchmark,
        "run": run.run,
        "params": run.params,
        "checkpoints": law.tokens.size,
        "from_tokens": law.tokens[0],
        "until_tokens": law.tokens[-1],
        "a": law.a,
        "b": law.b,
        "c": law.c,
        "exponent_at_limit": law.at_limit,
        "later": [point._asdict() for point in later(one, times, level)],
        "accuracy_pct": [point._asdict() for point in fits.later(one, times, level)] if fits else [],
    }


def _show(metric: str, entries: Sequence[dict[str, Any]], level: float) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.tables.sizes import count_text

    rows = [
        [
            entry["benchmark"], entry["run"], count_text(entry["params"]), str(entry["checkpoints"]),
            count_text(entry["until_tokens"]), f"{entry['a']:.4g}", f"{entry['c']:.3g}", count_text(point["tokens"]),
            f"{point['value']:.4f}", f"{point['low']:.4f} to {point['high']:.4f}",
        ]
        for entry in entries
        for point in entry["later"]
    ]  # fmt: skip
    if rows:
        columns = [
            "benchmark",
            "run",
            "params",
            "checkpoints",
            "up to",
            "a",
            "c",
            "at",
            "forecast",
            f"{100 * level:g} %",
        ]
        print_table(f"{metric} by a - b t^(-c)", columns, rows)
    through = [
        [
            entry["benchmark"], entry["run"], count_text(entry["params"]), count_text(point["tokens"]),
            f"{point['value']:.2f}", f"{point['low']:.2f} to {point['high']:.2f}",
        ]
        for entry in entries
        for point in entry["accuracy_pct"]
    ]  # fmt: skip
    if through:
        columns = ["benchmark", "run", "params", "at", "accuracy, %", f"{100 * level:g} %"]
        print_table(f"Accuracy of the target, through {metric}", columns, through)


def _show_backtest(tested: Sequence[tuple[TrainingRun, Backtest]], level: float) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.decisions.run_forecasts import verdict
    from rbridge_tasks.tables.sizes import count_text

    if not tested:
        return
    rows = [
        [
            run.benchmark, run.run, count_text(run.params), str(test.shown), str(test.tokens.size),
            *(f"{error:.4g}" for error in test.mean_absolute_error.values()), f"{100 * test.coverage:.0f} %",
        ]
        for run, test in tested
    ]  # fmt: skip
    methods = [name.replace("_", " ") for name in tested[0][1].forecast]
    columns = ["benchmark", "run", "params", "shown", "hidden", *methods, f"in {100 * level:g} % interval"]
    print_table("Mean absolute error on the checkpoints left out", columns, rows)
    typer.echo(verdict(tested))


def _payload(
    metric: str,
    entries: Sequence[dict[str, Any]],
    tested: Sequence[tuple[TrainingRun, Backtest]],
    level: float,
    notes: Sequence[str],
) -> dict[str, Any]:
    from rbridge_tasks.decisions.run_forecasts import summary

    tests = [
        {
            "benchmark": run.benchmark, "run": run.run, "params": run.params, "shown": test.shown,
            "tokens": test.tokens, "actual": test.actual, "forecast": test.forecast, "interval": list(test.interval),
            "mean_absolute_error": test.mean_absolute_error, "coverage": test.coverage,
            "beats_baselines": test.beats_baselines,
        }
        for run, test in tested
    ]  # fmt: skip
    return {
        "metric": metric,
        "level": level,
        "forecasts": list(entries),
        "backtest": {"runs": tests, "summary": summary(tested)} if tested else None,
        "notes": list(notes),
    }
