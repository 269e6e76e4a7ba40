"""``rbridge fit``: accuracy of a large model as a function of a small one's score, and how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    from rbridge_tasks.decisions.pairing import Pairs


class FitUsageError(RBridgeError):
    """The command's arguments do not fit together."""


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
        str | None, typer.Option(help="Table of pairs: columns that tell fits apart, with commas between.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Table of pairs: column of the checkpoints' training tokens.")
    ] = None,
    proxy_metric: Annotated[
        str | None, typer.Option(help="Score table: metric of the proxy, e.g. rbridge_nll.")
    ] = None,
    target_metric: Annotated[
        list[str] | None,
        typer.Option(help="Score table: accuracy of the target, e.g. acc. Repeatable: the first a benchmark has."),
    ] = None,
    proxy: Annotated[str | None, typer.Option(help="Score table: the proxy's size, model or run, e.g. 1b.")] = None,
    target: Annotated[str | None, typer.Option(help="Score table: the target's size, model or run, e.g. 13b.")] = None,
    recipe: Annotated[str, typer.Option(help="robust, or paper: the published recipe.")] = "robust",
    cv: Annotated[
        str, typer.Option(help="Folds: blocked (neighbours), forward (the next), shuffled (the paper's).")
    ] = "blocked",
    folds: Annotated[int, typer.Option(min=2, help="Folds of blocked and shuffled.")] = 5,
    min_train: Annotated[int, typer.Option(min=3, help="Points before the first prediction of forward.")] = 4,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Of the intervals.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Of shuffled folds.")] = 42,
    direction: Annotated[
        str | None, typer.Option(help="How accuracy should go with the score: rising or falling. Default: by its name.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Of the accuracies: percent, fraction, or auto.")] = "auto",
    allow_incomparable: AllowIncomparable = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the fits here: fit.json.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw the fits with their intervals: .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Fit the accuracy of a target model to the score of a proxy, and cross-validate it beside baselines.

    Example: rbridge fit pairs.csv --x score --y accuracy --group benchmark --order tokens -o fit.json

    Example: rbridge fit scores.csv --proxy-metric rbridge_nll --target-metric acc --proxy 1b --target 13b -o fit.json
    """
    from rbridge_metrics.folds import SCHEMES
    from rbridge_metrics.regression import RECIPES
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.cli.output import print_json
    from rbridge_tasks.decisions.fit_file import write_fit
    from rbridge_tasks.decisions.fit_report import Settings, fit_report
    from rbridge_traces.files import check_suffix

    _one_of("--recipe", recipe, RECIPES)
    _one_of("--cv", cv, SCHEMES)
    if direction is not None:
        _one_of("--direction", direction, ("rising", "falling"))
    if output:
        check_suffix(output, (".json",), "a fit")
    if plot:
        check_plot_path(plot)
    pairs = _pairs(
        table, x, y, group, order, proxy_metric, target_metric or [], proxy, target, unit, allow=allow_incomparable
    )
    if plot:
        from rbridge_tasks.charts.fit import check_panels

        check_panels(len(pairs.groups), plot)
    report = fit_report(pairs, Settings(recipe, cv, folds, min_train, level, seed, direction))
    if output:
        write_fit(report, output)
    if plot:
        from rbridge_tasks.charts.fit import draw_fits

        draw_fits(report, plot)
    if as_json:
        print_json(report)
    else:
        _show(report)


def _one_of(option: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise FitUsageError(f"{option} {value!r} is not known; expected one of {', '.join(values)}")


def _pairs(
    path: str,
    x: str | None,
    y: str | None,
    group: str | None,
    order: str | None,
    proxy_metric: str | None,
    target_metrics: list[str],
    proxy: str | None,
    target: str | None,
    unit: str,
    *,
    allow: bool,
) -> Pairs:
    of_pairs = {"--x": x, "--y": y}
    of_scores = {
        "--proxy-metric": proxy_metric,
        "--target-metric": target_metrics or None,
        "--proxy": proxy,
        "--target": target,
    }
    from_scores = any(value is not None for value in of_scores.values())
    if from_scores and any((x, y, group, order)):
        raise FitUsageError(
            "--x, --y, --group and --order are for a table of pairs; --proxy-metric, --target-metric, --proxy and "
            "--target for a score table; give one set of them"
        )
    missing = [name for name, value in (of_scores if from_scores else of_pairs).items() if value is None]
    if missing:
        raise FitUsageError(
            f"{', '.join(missing)} missing; give --x and --y for a table of pairs, or --proxy-metric, --target-metric, "
            "--proxy and --target for a score table"
        )
    from rbridge_tasks.tables.score_table import read_scores, read_table

    if from_scores:
        from rbridge_tasks.decisions.score_pairs import pairs_from_scores

        return pairs_from_scores(
            read_scores(path),
            str(proxy_metric),
            target_metrics,
            str(proxy),
            str(target),
            unit,
            allow_incomparable=allow,
        )
    from rbridge_tasks.decisions.pairing import pairs_from_table

    names = [name.strip() for name in (group or "").split(",") if name.strip()]
    return pairs_from_table(read_table(path, text=names), str(x), str(y), names, order, unit)


def _show(report: dict[str, Any]) -> None:
    """Print a table of all groups and their means, the verdicts in words, and on stderr what to know beside."""
    from rbridge_tasks.cli.output import note, print_table
    from rbridge_tasks.decisions.fit_report import means

    fits, averages = report["fits"], means(report["fits"])
    validations = [fit["cross_validation"] for fit in fits if fit["cross_validation"]]
    baselines = [*dict.fromkeys(name for one in validations for name in one["baseline_mae_pct"])]
    keys = [*fits[0]["group"]]
    title = f"recipe {report['recipe']}, {report['cv']} folds; test errors in percentage points of accuracy"
    columns = [*keys, "points", "function", "train R2", "test MAE", f"in {report['level']:.0%} interval", *baselines]
    rows = [
        [*fit["group"].values(), str(len(fit["points"])), fit["model"]["function"], *_figures(fit, baselines)]
        for fit in fits
    ]
    for mean in averages:
        named = [f"mean of {mean['count']}", *mean["group"].values()]
        rows.append([*named, "", "", *_figures({"cross_validation": mean}, baselines)])
    print_table(title, columns, rows)
    for fit in fits:
        name = ", ".join(fit["group"].values()) or "all rows"
        if fit["cross_validation"]:
            typer.echo(f"{name}: {fit['cross_validation']['verdict']}")
        for text in fit["notes"]:
            note(f"{name}: {text}")
    for one in report["skipped"]:
        note(f"{', '.join(one['group'].values()) or 'all rows'} skipped: {one['reason']}")
    for text in report["notes"]:
        note(text)


def _figures(fit: dict[str, Any], baselines: list[str]) -> list[str]:
    found = fit["cross_validation"]
    if found is None:
        return ["-"] * (3 + len(baselines))
    errors = [found["baseline_mae_pct"].get(name) for name in baselines]
    return [
        f"{found['train_r2']:.3f}",
        f"{found['test_mae_pct']:.3f}",
        f"{found['coverage']:.0%}",
        *("-" if error is None else f"{error:.3f}" for error in errors),
    ]
