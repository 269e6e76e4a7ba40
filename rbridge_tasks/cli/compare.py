"""``rbridge compare``: every proxy and comparator of a score table held against the same targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    import pandas as pd

    from rbridge_tasks.decisions.comparison import Section, Settings
    from rbridge_tasks.tables.directions import Metric


class CompareUsageError(RBridgeError):
    """The command's arguments do not fit together."""


def compare(
    scores: Annotated[str, typer.Argument(metavar="TABLE", help="Score table of the small models.")],
    target: Annotated[
        str | None, typer.Option(help="Score table of the target. With --proxy it may be the same table.")
    ] = None,
    target_metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="Metric of the target, default acc. Repeatable: the first there is."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare these, with commas between; METRIC:lower or METRIC:higher where unknown. Default: all."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help="Only this benchmark. Repeatable.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="PARAMS:TOKENS", help="Candidates: their size. Default: the largest of a benchmark."),
    ] = None,
    target_at: Annotated[
        str | None,
        typer.Option(metavar="PARAMS:TOKENS", help="Candidates: the target's size, if there are several."),
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="Checkpoints: the small model's size, name or run, as in rbridge fit, e.g. 1b.")
    ] = None,
    target_model: Annotated[
        str | None, typer.Option(help="Checkpoints: the large model's size, name or run, e.g. 13b.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Best by mae, decision_accuracy, kendall_tau_b or spearman. Default: mae of checkpoints, "
            "decision_accuracy of candidates."
        ),
    ] = None,
    cv: Annotated[
        str | None,
        typer.Option(
            help="Folds: blocked, forward or shuffled. Default: blocked of checkpoints, shuffled of candidates."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of blocked and shuffled.")] = 5,
    min_train: Annotated[int, typer.Option(min=3, help="Points before the first prediction of forward.")] = 4,
    fits: Annotated[bool, typer.Option("--fits/--no-fits", help="Fit accuracies, the slower half.")] = True,
    unit: Annotated[str, typer.Option(help="Of the accuracies: percent, fraction, or auto.")] = "auto",
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Of intervals, and of all comparisons.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    allow_incomparable: AllowIncomparable = False,
    everything: Annotated[bool, typer.Option("--all", help="Show every metric, not only the best.")] = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write all rows: .csv or .parquet.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw the best metrics with intervals: .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare metrics by how they predict and order a target, with intervals, baselines, and what cannot be told apart.

    Example: rbridge compare scores.csv --target targets.csv --target-metric acc --plot compare.svg

    Example: rbridge compare runs.csv --proxy 1b --target-model 13b --target-metric acc --cv forward
    """
    from rbridge_metrics.folds import SCHEMES
    from rbridge_tasks.atomic import check_suffix
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.decisions.comparison import MEASURES, Settings, compare_metrics
    from rbridge_tasks.decisions.comparison_measures import FitSettings
    from rbridge_tasks.decisions.comparison_points import candidate_points, checkpoint_points
    from rbridge_tasks.decisions.pairing import UNITS
    from rbridge_tasks.tables.directions import metric_called
    from rbridge_tasks.tables.score_table import WRITTEN, read_scores
    from rbridge_tasks.tables.sizes import parse_size

    for option, value, allowed in (("--by", by, MEASURES), ("--cv", cv, SCHEMES), ("--unit", unit, UNITS)):
        if value is not None and value not in allowed:
            raise CompareUsageError(f"{option} {value!r} is not known; expected one of {', '.join(allowed)}")
    if output:
        check_suffix(output, WRITTEN, "a comparison")
    if plot:
        check_plot_path(plot)
    checkpoints = proxy is not None or target_model is not None
    _check_mode(target, proxy, target_model, at, target_at)
    if by == "mae" and not fits:
        raise CompareUsageError("--by mae needs fits; leave out --no-fits")
    table = read_scores(scores)
    truths = [metric_called(name) for name in target_metric or ["acc"]]
    if benchmark:
        table = _only(table, benchmark)
    chosen, notes = _metrics(table, metrics or [])
    if checkpoints:
        both = table if target is None else _joined(table, read_scores(target))
        found, more = checkpoint_points(
            both, chosen, truths, proxy=str(proxy), target=str(target_model), unit=unit, allow=allow_incomparable
        )
    else:
        sizes = [parse_size(size) if size else None for size in (at, target_at)]
        targets = read_scores(str(target))
        found, more = candidate_points(
            table, targets, chosen, truths, at=sizes[0], target_at=sizes[1], unit=unit, allow=allow_incomparable
        )
    accuracies = fits and all(points.is_accuracy for points in found)
    settings = Settings(
        by=by or ("mae" if checkpoints and accuracies else "decision_accuracy"),
        fits=FitSettings(cv or ("blocked" if checkpoints else "shuffled"), folds, min_train) if fits else None,
        resamples=resamples,
        level=level,
        seed=seed,
    )
    sections, doubts = compare_metrics(found, settings)
    notes += [*more, *doubts]
    _report(sections, settings, notes, output, plot, everything=everything, as_json=as_json)


def _check_mode(
    target: str | None, proxy: str | None, target_model: str | None, at: str | None, target_at: str | None
) -> None:
    if (proxy is None) != (target_model is None):
        raise CompareUsageError("--proxy and --target-model name the two models of checkpoints; give both")
    if proxy is not None and (at or target_at):
        raise CompareUsageError("--at and --target-at are for candidates, --proxy for checkpoints; give one of them")
    if proxy is None and target is None:
        raise CompareUsageError(
            "nothing to compare with: give --target TABLE for candidate data sets, or --proxy and --target-model for "
            "checkpoints of one table"
        )


def _metrics(table: pd.DataFrame, named: Sequence[str]) -> tuple[list[Metric], list[str]]:
    """Those named; else all whose direction is known, and a note on the others."""
    from rbridge_tasks.tables.directions import DirectionError, metric_called
    from rbridge_tasks.tables.names import split_names
    from rbridge_tasks.tables.rows import counted

    there = [*dict.fromkeys(table["metric"])]
    if named:
        chosen = [metric_called(name) for name in split_names(named, set(there))]
        names = [metric.name for metric in chosen]
        if lacking := [name for name in names if name not in there]:
            raise CompareUsageError(
                f"the table has no metric {', '.join(lacking)}; it has {', '.join(sorted(there)[:12])}"
            )
        if len(set(names)) < len(names):
            raise CompareUsageError(f"--metrics names one metric twice: {', '.join(names)}; name each once")
        return chosen, []
    chosen, unknown = [], []
    for name in there:
        try:
            chosen.append(metric_called(name))
        except DirectionError:
            unknown.append(name)
    if not chosen:
        raise CompareUsageError(
            f"nothing is known of {', '.join(unknown[:8])}: is lower or higher better? Write --metrics "
            f"{unknown[0]}:lower or {unknown[0]}:higher"
        )
    if not unknown:
        return chosen, []
    return chosen, [
        f"{counted(len(unknown), 'metric')} left out, which way they run is not known: {', '.join(unknown[:8])}; "
        f"name them as {unknown[0]}:lower or {unknown[0]}:higher in --metrics"
    ]


def _only(table: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    lacking = [name for name in benchmarks if name not in set(table["benchmark"])]
    if lacking:
        there = ", ".join(sorted(set(table["benchmark"]))[:12])
        raise CompareUsageError(f"no scores of {', '.join(lacking)}; benchmarks there: {there}")
    return table[table["benchmark"].isin(benchmarks)]


def _joined(scores: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """Both tables as one; a score that both have, once."""
    import pandas as pd

    from rbridge_tasks.tables.score_table import COLUMNS, KEY, checked_scores
    from rbridge_tasks.tables.table_settings import SETTINGS

    parts = [table[[name for name in (*COLUMNS, SETTINGS) if name in table.columns]] for table in (scores, targets)]
    both = pd.concat(parts, ignore_index=True)
    return checked_scores(both.drop_duplicates([*KEY, "value"]), name="scores and targets together")


def _report(
    sections: Sequence[Section],
    settings: Settings,
    notes: list[str],
    output: str | None,
    plot: str | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    from rbridge_tasks.cli.compare_output import comparison_table, payload, show_sections
    from rbridge_tasks.cli.output import note, print_json

    if output:
        from rbridge_tasks.tables.score_table import write_table

        write_table(comparison_table(sections), output, "a comparison")
    if plot:
        from rbridge_tasks.charts.compare import draw_comparison

        draw_comparison(sections, settings, plot)
    if as_json:
        print_json(payload(sections, settings, notes))
        return
    show_sections(sections, settings, everything=everything)
    for text in notes:
        note(text)
