"""``rbridge select``: models of different families ranked by the combination of proxies that held up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.options import AllowIncomparable

if TYPE_CHECKING:
    import pandas as pd

    from rbridge_metrics.selection.population import Population
    from rbridge_metrics.selection.results import Selection
    from rbridge_tasks.decisions.model_table import ModelTable


class SelectUsageError(RBridgeError):
    """The command's arguments do not fit together."""


def select(
    table: Annotated[str, typer.Argument(help="Score table with the proxies of the models: .csv, .tsv or .parquet.")],
    target: Annotated[
        str | None, typer.Option(help="Score table with accuracies of the same models. Default: the same table.")
    ] = None,
    target_metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="The accuracy, default acc. Repeatable: the first a benchmark has."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="Proxies to combine, with commas between. Default: those of rbridge proxies, else all."),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help="Only this benchmark. Repeatable.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(metavar="FILE", help="Rank by this scorer of --save; no accuracies are needed.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Rank by univariate, sparse_linear, linear_ranksvm or rbf_ranksvm, better than chance or not.",
        ),
    ] = None,
    permutations: Annotated[int, typer.Option(min=1, help="Permutations of the models for the level of chance.")] = 199,
    alpha: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Probability of a false alarm, over all scorers.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations.")] = 0,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the scorer that the models are ranked by: .json.")
    ] = None,
    allow_incomparable: AllowIncomparable = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the ranking: .csv or .parquet.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw scorers and ranking: .svg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Learn which proxies order models rightly on benchmarks left out, and rank a population of models by them.

    Example: rbridge select proxies.csv --target accuracies.csv --save scorer.json

    Example: rbridge select new_models.csv --scorer scorer.json
    """
    from rbridge_tasks.atomic import check_suffix
    from rbridge_tasks.charts.style import check_plot_path
    from rbridge_tasks.tables.score_table import WRITTEN

    if output:
        check_suffix(output, WRITTEN, "a ranking")
    if plot:
        check_plot_path(plot)
    if save:
        check_suffix(save, (".json",), "a scorer")
    given = {"--target": target, "--target-metric": target_metric, "--metrics": metrics, "--by": by, "--save": save}
    if scorer and (clash := [name for name, value in given.items() if value]):
        raise SelectUsageError(f"--scorer ranks by what was learnt before, {', '.join(clash)} learns anew; give one")
    if scorer:
        _apply(table, scorer, benchmark or [], output, plot, as_json, allow=allow_incomparable)
        return
    models, population, targets = _population(
        table, target, target_metric or ["acc"], metrics or [], benchmark or [], allow=allow_incomparable
    )

    from rbridge_metrics.selection.scorers import SCORERS
    from rbridge_metrics.selection.select import select as select_scorer

    if by is not None and by not in SCORERS:
        raise SelectUsageError(f"--by {by!r} is no scorer; expected one of {', '.join(SCORERS)}")
    selection = select_scorer(population, permutations=permutations, alpha=alpha, seed=seed)
    chosen = by or selection.trusted
    ranking = None
    if chosen:
        from rbridge_tasks.decisions.ranked_models import ranked_population

        ranking = ranked_population(models, population, selection.trial(chosen).scorer)
    if ranking is None and (lost := [name for name, path in (("--save", save), ("-o", output)) if path]):
        models.notes.append(
            f"no scorer is better than chance, so nothing is written for {', '.join(lost)}; --by NAME ranks anyway"
        )
    if save and chosen:
        from rbridge_tasks.decisions.scorer_file import write_scorer

        names = [models.metrics[at] for at in population.proxies]
        benchmarks = [models.benchmarks[at] for at in population.tasks]
        write_scorer(selection.trial(chosen), names, benchmarks, targets, save)
    _report(models, population, selection, chosen, ranking, output, plot, as_json)


def _population(
    path: str, target: str | None, target_metrics: list[str], metrics: list[str], benchmarks: list[str], *, allow: bool
) -> tuple[ModelTable, Population, list[str]]:
    from rbridge_metrics.selection.population import make_population
    from rbridge_tasks.decisions.model_table import (
        accuracies_of,
        check_models,
        default_metrics,
        model_table,
        without,
    )
    from rbridge_tasks.tables.directions import metric_called
    from rbridge_tasks.tables.names import split_names
    from rbridge_tasks.tables.score_table import read_scores

    truths = [metric_called(name) for name in target_metrics]
    names = [truth.name for truth in truths]
    scores = read_scores(path)
    wanted = split_names(metrics, set(scores["metric"])) if metrics else default_metrics(scores, names)
    if twice := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise SelectUsageError(f"--metrics names {', '.join(twice)} more than once; name each once")
    if both := [name for name in wanted if name in names and target is None]:
        raise SelectUsageError(f"{', '.join(both)} is the accuracy itself; leave it out of --metrics")
    models = model_table(scores, wanted, benchmarks=benchmarks)
    targets = read_scores(target) if target else scores
    accuracies = accuracies_of(models, targets, truths)
    for rows, chosen in ((scores, models.metrics), (targets, names)):
        lines = check_models(rows, chosen, models.benchmarks, allow=allow)
        models.notes.extend(line for line in lines if line not in models.notes)
    population = make_population(models.features, accuracies)
    models.notes.extend(without(models, population.left_out))
    return models, population, names


def _report(
    models: ModelTable,
    population: Population,
    selection: Selection,
    chosen: str | None,
    ranking: pd.DataFrame | None,
    output: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.cli.select_output import payload, show_ranking, show_trials

    metrics = [models.metrics[at] for at in population.proxies]
    benchmarks = [models.benchmarks[at] for at in population.tasks]
    if ranking is not None and output:
        from rbridge_tasks.tables.score_table import write_table

        write_table(ranking, output, "a ranking")
    if plot:
        from rbridge_tasks.charts.select import draw_selection

        draw_selection(selection, benchmarks, ranking, chosen, plot)
    if as_json:
        print_json(payload(selection, metrics, benchmarks, len(population.judged), chosen, ranking, models.notes))
        return
    show_trials(selection, metrics, benchmarks, len(population.judged))
    if ranking is not None:
        show_ranking(ranking, f"ranked by {chosen}")
    for text in models.notes:
        note(text)


def _apply(
    table: str,
    scorer: str,
    benchmarks: list[str],
    output: str | None,
    plot: str | None,
    as_json: bool,
    *,
    allow: bool,
) -> None:
    from rbridge_tasks.cli.output import note, print_json
    from rbridge_tasks.cli.select_output import ranking_rows, show_ranking
    from rbridge_tasks.decisions.model_table import check_models, model_table
    from rbridge_tasks.decisions.ranked_models import ranked_by_saved
    from rbridge_tasks.decisions.scorer_file import read_scorer
    from rbridge_tasks.tables.score_table import read_scores, write_table

    saved = read_scorer(scorer)
    scores = read_scores(table)
    models = model_table(scores, saved.metrics, benchmarks=benchmarks)
    ranking, notes = ranked_by_saved(models, saved)
    notes += check_models(scores, models.metrics, models.benchmarks, allow=allow)
    if output:
        write_table(ranking, output, "a ranking")
    if plot:
        from rbridge_tasks.charts.select import draw_ranking

        draw_ranking(ranking, saved.scorer.name, plot)
    if as_json:
        print_json({"scorer": scorer, "name": saved.scorer.name, "ranking": ranking_rows(ranking), "notes": notes})
        return
    show_ranking(ranking, f"ranked by {saved.scorer.name} of {scorer}")
    for text in notes:
        note(text)
