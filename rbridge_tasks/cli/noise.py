"""``rbridge noise``: training noise and signal of every metric, and the checkpoints to average."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options

if TYPE_CHECKING:
    from rbridge_tasks.decisions.noise import MetricNoise, Noise


def noise(
    scores: options.ScoreTable,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Only this metric; METRIC:lower or METRIC:higher. Repeatable."),
    ] = None,
    benchmark: options.Benchmarks = None,
    last: Annotated[int, typer.Option(min=5, help="Final checkpoints of a run to estimate noise from.")] = 10,
    target: Annotated[
        str | None, typer.Option(help="Score table of the target model, for the decision accuracy observed.")
    ] = None,
    target_metric: options.TargetMetrics = None,
    target_at: Annotated[
        str | None, typer.Option(metavar="PARAMS:TOKENS", help="The target's size, if --target holds several.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Drop a metric if noise alone spreads candidates as far with a higher probability.")
    ] = 0.1,
    everything: Annotated[bool, typer.Option("--all", help="Show every size.")] = False,
    allow_incomparable: options.AllowIncomparable = False,
    output: options.TableOutput = None,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
) -> None:
    """Noise of a metric over the last checkpoints, signal over candidates, and what they mean for decisions.

    Example: rbridge noise scores.csv --target targets.csv -o noise.csv
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.decisions.noise import noise as measure_noise

    check_outputs("training noise", table=output, plot=plot)
    result = measure_noise(
        scores, metrics=metric or (), benchmarks=benchmark or (), last=last, target=target,
        target_metric=target_metric or "acc", target_at=target_at, alpha=alpha, allow_incomparable=allow_incomparable,
    )  # fmt: skip
    deliver(result, partial(_show, everything=everything), as_json=as_json, table=output, plot=plot)


def _show(result: Noise, *, everything: bool) -> None:
    from rbridge_tasks.cli.output import note, print_table, say
    from rbridge_tasks.decisions.noise import summary

    rows = result.rows if everything else result.shown
    pooled = result.relative_noise()
    columns = [
        "metric", "benchmark", "params", "runs", "checkpoints", "score", "noise", "noise, %", "all sizes, %",
        "over seeds", "candidates", "signal", "SNR", "implied", "average", "implied then", "observed",
        "observed then", "drop",
    ]  # fmt: skip
    table = [_cells(row, pooled[row.benchmark, row.metric]) for row in rows]
    kept = [at for at, name in enumerate(columns) if name not in _OPTIONAL or any(cells[at] != "-" for cells in table)]
    title = f"Noise of the last {result.last} checkpoints about their trend; implied, observed: decision accuracy"
    print_table(title, [columns[at] for at in kept], [[cells[at] for at in kept] for cells in table])
    for text in summary(result):
        say(text)
    if hidden := len(result.rows) - len(rows):
        note(f"{hidden} smaller sizes not shown; --all prints them")


_OPTIONAL = (
    "over seeds",
    "candidates",
    "signal",
    "SNR",
    "implied",
    "implied then",
    "observed",
    "observed then",
    "drop",
)


def _cells(row: MetricNoise, pooled: float) -> list[str]:
    from rbridge_tasks.tables.sizes import count_text

    return [
        row.metric, row.benchmark, count_text(row.params), str(row.runs), str(row.checkpoints), f"{row.level:.4f}",
        f"{row.noise:.2g}", _figure(100 * row.relative_noise, ".2f"), _figure(100 * pooled, ".2f"),
        _figure(row.seed_noise, ".2g"), str(row.candidates) if row.candidates else "-", _figure(row.signal, ".3g"),
        _figure(row.snr, ".1f"), _figure(row.implied_decision_accuracy, ".3f"), str(row.average_last),
        _figure(row.implied_averaged, ".3f"), _figure(row.observed_decision_accuracy, ".3f"),
        _figure(row.observed_averaged, ".3f"), "drop" if row.drop else "-",
    ]  # fmt: skip


def _figure(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
