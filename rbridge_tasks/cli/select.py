"""``rbridge select``: models of different families ranked by proxies that order benchmarks left out of training."""

from __future__ import annotations

from typing import Annotated

import typer

from rbridge_tasks.cli import options


def select(
    table: Annotated[str, typer.Argument(help="Score table with the proxies of the models: .csv, .tsv or .parquet.")],
    target: Annotated[
        str | None, typer.Option(help="Score table with accuracies of the same models. Default: the same table.")
    ] = None,
    target_metric: options.TargetMetrics = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="Proxies to combine, separated by commas. Default: those of rbridge proxies, else all."),
    ] = None,
    benchmark: options.Benchmarks = None,
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
    permutations: Annotated[int, typer.Option(min=1, help="Permutations of the models, to measure chance.")] = 199,
    alpha: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Probability of a false alarm, over all scorers.")
    ] = 0.05,
    seed: options.Seed = 0,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the scorer that the models are ranked by: .json.")
    ] = None,
    allow_incomparable: options.AllowIncomparable = False,
    output: options.TableOutput = None,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
) -> None:
    """Learn which proxies order models on benchmarks left out of training, and rank a population of models by them.

    Example: rbridge select proxies.csv --target accuracies.csv --save scorer.json

    Example: rbridge select new_models.csv --scorer scorer.json
    """
    from rbridge_tasks.cli.output import check_outputs, deliver
    from rbridge_tasks.cli.select_output import noted_files, show_selection
    from rbridge_tasks.decisions.select import SelectError
    from rbridge_tasks.decisions.select import select as select_models
    from rbridge_traces.files import check_suffix

    check_outputs("a ranking", table=output, plot=plot)
    if save is not None:
        check_suffix(save, (".json",), "a scorer")
    if save and scorer:
        raise SelectError("--save writes a new scorer, --scorer ranks by one trained before; give one of them")
    selection = select_models(
        table,
        target=target,
        target_metric=target_metric or (),
        metrics=metrics or (),
        benchmarks=benchmark or (),
        scorer=scorer,
        by=by,
        permutations=permutations,
        alpha=alpha,
        seed=seed,
        allow_incomparable=allow_incomparable,
    )
    selection = noted_files(selection, {"--save": save, "-o": output})
    if save and selection.ranked_by:
        selection.save(save)
    deliver(selection, show_selection, as_json=as_json, table=output if selection.ranked_by else None, plot=plot)
