"""``rbridge fit``: accuracy of a large model as a function of a small one's score, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options

if TYPE_CHECKING:
    from rbridge_tasks.decisions.fit_file import Fit, Validation


def fit(
    table: Annotated[
        str,
        typer.Argument(
            metavar="PAIRS", help="Table of pairs, or score table of rbridge collect: .csv, .tsv, .parquet."
        ),
    ],
    x: Annotated[str | None, typer.Option("--x", help="Table of pairs: column of the proxy score.")] = None,
    y: Annotated[str | None, typer.Option("--y", help="Table of pairs: column of the target's accuracy.")] = None,
    group: Annotated[
        str, typer.Option(help="Table of pairs: columns that define the groups, separated by commas.")
    ] = "",
    order: Annotated[
        str | None, typer.Option(help="Table of pairs: column of the checkpoints' training tokens.")
    ] = None,
    proxy_metric: Annotated[str, typer.Option(help="Score table: metric of the proxy.")] = "rbridge_nll",
    target_metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Score table: accuracy of the target, default acc. Repeatable: each benchmark takes its first."
        ),
    ] = None,
    proxy: Annotated[str | None, typer.Option(help="Score table: the proxy's size, model or run, e.g. 1b.")] = None,
    target: Annotated[str | None, typer.Option(help="Score table: the target's size, model or run, e.g. 13b.")] = None,
    recipe: Annotated[str, typer.Option(help="robust, or paper: the published recipe.")] = "robust",
    cv: Annotated[
        str, typer.Option(help="Folds: blocked (neighbours), forward (the next), shuffled (the paper's).")
    ] = "blocked",
    folds: options.Folds = 5,
    min_train: options.MinTrain = 4,
    level: options.Level = 0.9,
    seed: options.Seed = 42,
    direction: Annotated[
        str | None,
        typer.Option(help="How accuracy should change with the score: rising or falling. Default: by its name."),
    ] = None,
    unit: options.Unit = "auto",
    average_last: options.AverageLast = None,
    allow_incomparable: options.AllowIncomparable = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the fits here: fit.json.")] = None,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
) -> None:
    """Fit the accuracy of a target model to the score of a proxy, and cross-validate it beside baselines.

    Example: rbridge fit pairs.csv --x score --y accuracy --group benchmark --order tokens -o fit.json

    Example: rbridge fit scores.csv --proxy-metric rbridge_nll --target-metric acc --proxy 1b --target 13b -o fit.json
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.decisions.fit import fit as fit_table
    from rbridge_traces.files import check_suffix

    if output is not None:
        check_suffix(output, (".json",), "a fit")
    check_outputs(plot=plot)
    result = fit_table(
        table, x=x, y=y, group=group, order=order, proxy_metric=proxy_metric, target_metric=target_metric or "acc",
        proxy=proxy, target=target, recipe=recipe, cv=cv, folds=folds, min_train=min_train, level=level, seed=seed,
        direction=direction, unit=unit, average_last=average_last, allow_incomparable=allow_incomparable,
    )  # fmt: skip
    if output:
        result.save(output)
    deliver(result, _show, as_json=as_json, plot=plot)


def _show(result: Fit) -> None:
    """Print a table of all groups and their means, the verdicts, and on stderr the notes of groups."""
    from rbridge_tasks.cli.output import note, print_table, say
    from rbridge_tasks.decisions.pairing import group_name

    baselines = result.baselines
    rows: list[list[str]] = []
    alike: dict[tuple[str, ...], list[Validation]] = {}  # by the values of the key but the first
    for group in result.groups:
        values, validations = [*group.key.values()], [group.cross_validation] if group.cross_validation else []
        rows.append([*values, str(len(group.points)), group.model.function_, *_figures(validations, baselines)])
        alike.setdefault(tuple(values[1:]), []).extend(validations)
    for shared, validations in alike.items() if result.columns else ():
        if len(validations) > 1:
            rows.append([f"mean of {len(validations)}", *shared, "", "", *_figures(validations, baselines)])
    title = f"recipe {result.recipe}, {result.cv} folds; test errors in percentage points of accuracy"
    heads = [
        *result.columns,
        "points",
        "function",
        "train R2",
        "test MAE",
        f"in {result.level:.0%} interval",
        *baselines,
    ]
    print_table(title, heads, rows)
    for group in result.groups:
        if group.cross_validation:
            say(f"{group.name}: {group.cross_validation.verdict}")
        for text in group.notes:
            note(f"{group.name}: {text}")
    for skipped in result.skipped:
        note(f"{group_name(skipped.group)} skipped: {skipped.reason}")


def _figures(validations: Sequence[Validation], baselines: Sequence[str]) -> list[str]:
    """Means over validations; ``-`` without any, and for a baseline that one of them lacks."""
    if not validations:
        return ["-"] * (3 + len(baselines))
    r2, error, coverage = (
        fmean(getattr(row, name) for row in validations) for name in ("train_r2", "test_mae_pct", "coverage")
    )
    without_proxy = [fmean(row.baseline_mae_pct.get(name, math.nan) for row in validations) for name in baselines]
    errors = ("-" if math.isnan(value) else f"{value:.3f}" for value in without_proxy)
    return [f"{r2:.3f}", f"{error:.3f}", f"{coverage:.0%}", *errors]
