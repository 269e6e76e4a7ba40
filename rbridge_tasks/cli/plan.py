"""``rbridge plan``: cost of a search in stages with small models, and the chance that it keeps the best candidate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli import options

if TYPE_CHECKING:
    from rbridge_tasks.decisions.plan import SearchPlan
    from rbridge_tasks.decisions.plan_ladder import LadderPlan


def plan(
    candidates: Annotated[int, typer.Option("--candidates", "-n", help="Number of candidate data sets.")],
    stage: Annotated[
        list[str],
        typer.Option(metavar="PARAMS:TOKENS", help="Size of a stage, e.g. 16M:1.6B. Repeatable, in order."),
    ],
    target: Annotated[str, typer.Option(metavar="PARAMS:TOKENS", help="Size of the target.")],
    keep: Annotated[
        list[int] | None,
        typer.Option("--keep", "-k", help="Candidates kept after a stage. Repeatable; one after the last by default."),
    ] = None,
    peak_flops: Annotated[
        float, typer.Option(help="Peak of one GPU in FLOP/s: 989e12 is an H100, bfloat16, dense.")
    ] = 989e12,
    utilisation: Annotated[float, typer.Option(help="Fraction of the peak that training reaches.")] = 0.4,
    decision_accuracy: Annotated[
        list[float] | None,
        typer.Option(help="Of the first stage's proxy, 0 to 1, or one for each stage (repeat it)."),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Simulations, if each stage has its own decision accuracy.")
    ] = 100_000,
    seed: options.Seed = 0,
    ladder: Annotated[
        str | None, typer.Option(metavar="FILE", help="rbridge ladder --predict TARGET --json: cost and intervals.")
    ] = None,
    spread: Annotated[
        float | None, typer.Option(help="With --ladder: standard deviation of the candidates at the target, in points.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Plan a search in stages: FLOPs and GPU-hours against training every candidate at the target's size.

    Example: rbridge plan -n 25 -k 3 --stage 16M:1.6B --stage 98M:9.8B --target 1.2B:98B --decision-accuracy 0.8
    """
    from rbridge_tasks.cli.output import deliver
    from rbridge_tasks.decisions.plan import plan as plan_search

    search = plan_search(
        candidates,
        stage,
        target,
        keep=keep or (),
        peak_flops=peak_flops,
        utilisation=utilisation,
        decision_accuracy=decision_accuracy or (),
        trials=trials,
        seed=seed,
        ladder=ladder,
        spread=math.nan if spread is None else spread,
    )
    deliver(search, _show, as_json=as_json)


def _show(search: SearchPlan) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.tables.sizes import count_text

    rows = [
        [
            name, str(stage.models), count_text(stage.params), count_text(stage.tokens), f"{stage.flops_each:.3g}",
            f"{stage.flops:.3g}", f"{stage.gpu_hours:.2f}",
        ]
        for name, stage in zip(search.names, search.stages, strict=True)
    ]  # fmt: skip
    without = f"{search.flops_without:.3g}", f"{search.gpu_hours_without:.2f}"
    rows.append(["in all", "", "", "", "", f"{search.flops:.3g}", f"{search.gpu_hours:.2f}"])
    rows.append(["all at target size", str(search.candidates), "", "", "", *without])
    print_table("", ["", "models", "params", "tokens", "FLOPs each", "FLOPs", "GPU-hours"], rows)
    percent = 100 * search.saving
    verdict = f"saves {percent:.1f} %" if percent >= 0 else f"costs {-percent:.1f} % more"
    typer.echo(f"The plan {verdict}: {search.ratio:.2f} times cheaper than every candidate at the target's size.")
    for chance in search.chances:
        typer.echo(
            f"After stage {chance.stage} the best candidate is among the {chance.kept} kept with probability "
            f"{chance.chance_best_is_kept:.3f}, where the proxy orders {100 * chance.decision_accuracy:g} % of pairs "
            "right."
        )
    if search.chances:
        typer.echo("(Model: values and errors normal and independent, see docs/planning.md.)")
    if search.ladder:
        _show_ladder(search.ladder)


def _show_ladder(ladder: LadderPlan) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.tables.sizes import count_text

    rows = [
        [
            row.benchmark, f"{row.width:.1f}", f"{row.next_width:.1f}",
            *("-" if math.isnan(chance) else f"{chance:.3f}" for chance in (row.chance_best_is_kept, row.next_chance)),
        ]
        for row in ladder.benchmarks
    ]  # fmt: skip
    typer.echo(
        f"The ladder's {ladder.runs} runs take {ladder.flops:.3g} FLOPs for each candidate; one more size, "
        f"{count_text(ladder.next_params)} params, takes {ladder.next_flops:.3g} more."
    )
    columns = ["benchmark", "width, points", "with one more size", "best kept", "with one more size"]
    print_table(f"{100 * ladder.level:g} % intervals of the target's accuracy from the ladder", columns, rows)
