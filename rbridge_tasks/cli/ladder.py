"""``rbridge ladder``: what a larger model will score, from runs of several sizes and lengths."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options

if TYPE_CHECKING:
    from rbridge_tasks.decisions.ladder_result import Ladder


def ladder(
    scores: options.ScoreTable,
    metric: Annotated[str, typer.Option("--metric", "-m", help="Metric between size and accuracy.")] = "rbridge_nll",
    target_metric: Annotated[str, typer.Option(metavar="METRIC", help="The accuracy to forecast.")] = "acc",
    predict: Annotated[
        list[str] | None, typer.Option("--predict", metavar="PARAMS:TOKENS", help="Target, e.g. 7B:4T. Repeatable.")
    ] = None,
    benchmark: options.Benchmarks = None,
    up_to: Annotated[
        str | None, typer.Option(metavar="PARAMS", help="Fit sizes up to this one; default: all below the targets.")
    ] = None,
    least_ratio: Annotated[float, typer.Option(min=0.0, help="Fit runs of at least so many tokens per parameter.")] = 0,
    chance: Annotated[
        list[str] | None,
        typer.Option(metavar="[BENCHMARK=]FRACTION", help="Accuracy of chance, e.g. arc_easy=0.25. Repeatable."),
    ] = None,
    reach: options.Reach = None,
    average_last: options.AverageLast = None,
    level: options.Level = 0.9,
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
    allow_incomparable: options.AllowIncomparable = False,
    plot: options.Plot = None,
    output: options.TableOutput = None,
    as_json: options.AsJson = False,
) -> None:
    """Forecast the accuracy of a larger model from a ladder of small ones, after a backtest on the ladder itself.

    Example: rbridge ladder scores.csv --metric bits_per_byte --target-metric acc_norm --predict 7B:4T --reach 0.6
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.decisions.ladder import ladder as forecast_ladder
    from rbridge_tasks.tables.score_table import write_table

    check_outputs("forecasts", table=output, plot=plot)
    result = forecast_ladder(
        scores, metric, target_metric=target_metric, predict=predict or [], benchmarks=benchmark or [], up_to=up_to,
        least_ratio=least_ratio, chance=_chances(chance or []), reach=reach or [], average_last=average_last,
        level=level, resamples=resamples, seed=seed, allow_incomparable=allow_incomparable,
    )  # fmt: skip
    if output:
        write_table(result.to_frame() if predict else result.grid_frame(), output, "forecasts")
    deliver(result, _show, as_json=as_json, plot=plot)


def _chances(texts: list[str]) -> float | dict[str, float] | None:
    """One chance for all benchmarks, or a chance by name."""
    chances: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name in chances or (chances and "" in (name, *chances)):
            raise typer.BadParameter(f"--chance {text}: give one fraction for all benchmarks, or one for each by name")
        try:
            chances[name] = float(number)
        except ValueError as error:
            raise typer.BadParameter(f"--chance {text}: write a fraction, or BENCHMARK=FRACTION") from error
    return chances.get("", chances or None)


def _show(result: Ladder) -> None:
    """Print the backtest first, then the forecasts."""
    from rbridge_tasks.cli.output import note, print_table, say, shortened
    from rbridge_tasks.tables.sizes import count_text

    interval, tests, forecasts, reaches = f"{100 * result.level:g} %", [], [], []
    names = [name for part in result.benchmarks[:1] for name in part.errors]
    for part in result.benchmarks:
        for fold in part.folds:
            limit = f"{count_text(fold.limit)} params" if fold.by_size else f"{fold.limit:.2g} FLOPs"
            errors = [f"{error:.2f}" for error in (fold.error, *fold.baselines.values())]
            counts = [str(fold.fitted), str(fold.held)]
            tests.append([part.benchmark, f"up to {limit}", *counts, *errors, f"{100 * fold.coverage:.0f} %"])
        for row in part.forecasts:
            measured = "" if math.isnan(row.measured_pct) else f"{row.measured_pct:.1f}"
            forecasts.append(
                [
                    part.benchmark, count_text(row.params), count_text(row.tokens), f"{row.accuracy_pct:.1f}",
                    f"{row.low_pct:.1f} to {row.high_pct:.1f}", f"{row.compute_ratio:.3g}", measured,
                    f"{100 * (1 - row.next_rung_width):.0f} %",
                ]
            )  # fmt: skip
        for reached in part.reaches:
            cost = "beyond the grid" if math.isnan(reached.flops) else f"{reached.flops:.2g}"
            place = [count_text(reached.params), count_text(reached.tokens), cost]
            reaches.append([part.benchmark, f"{reached.accuracy_pct:g}", *place])
    if tests:
        columns = ["benchmark", "fitted", "runs", "held out", *names, f"in {interval} interval"]
        print_table("Backtest: mean absolute error on larger runs, in points of accuracy", columns, tests)
    for part in result.benchmarks:
        say(part.verdict)
    if forecasts:
        columns = ["benchmark", "params", "tokens", f"{result.target_metric}, %", interval, "times the compute"]
        columns += ["measured", "narrower by one more size"]
        shown, hidden = shortened(forecasts, whole=False)
        title = f"Forecast through {result.metric}" + (f"; {len(forecasts)} forecasts" if hidden else "")
        print_table(title, columns, shown)
        if hidden:
            note(f"{hidden} forecasts amid a long list not shown; --json or -o FILE gives all")
    if reaches:
        columns = ["benchmark", "accuracy, %", "params", "tokens", "FLOPs"]
        print_table("Cheapest model for an accuracy", columns, reaches)
