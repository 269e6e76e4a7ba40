"""``rbridge plan``: what it costs to sift candidates with small models, and the chance to keep the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_metrics.errors import RBridgeError

if TYPE_CHECKING:
    from rbridge_metrics.planning import Plan


class PlanUsageError(RBridgeError):
    """The command's arguments do not fit together."""


def plan(
    candidates: Annotated[int, typer.Option("--candidates", "-n", help="Candidate data sets.")],
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
        int, typer.Option(min=1, help="Simulated choices, where each stage has its own accuracy.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Plan a search in stages: FLOPs and GPU-hours against training every candidate at the target's size.

    Example: rbridge plan -n 25 -k 3 --stage 16M:1.6B --stage 98M:9.8B --target 1.2B:98B --decision-accuracy 0.8
    """
    from rbridge_metrics.planning import gpu_hours, make_plan
    from rbridge_tasks.cli.output import print_json
    from rbridge_tasks.tables.sizes import parse_size

    found = make_plan(candidates, keep or [], [parse_size(text) for text in stage], parse_size(target))
    rate = {"peak_flops": peak_flops, "utilisation": utilisation}
    hours = [gpu_hours(part.flops, **rate) for part in (*found.stages, found.target)]
    chances = _chances(found, decision_accuracy or [], trials, seed)
    result = {
        "candidates": candidates,
        "stages": [
            {
                "params": part.params, "tokens": part.tokens, "models": part.models, "flops_each": part.flops_each,
                "flops": part.flops, "gpu_hours": spent,
            }
            for part, spent in zip((*found.stages, found.target), hours, strict=True)
        ],
        "flops": found.flops,
        "gpu_hours": sum(hours),
        "flops_without": found.flops_without,
        "gpu_hours_without": gpu_hours(found.flops_without, **rate),
        "saving": found.saving,
        "ratio": found.flops_without / found.flops,
        "chances": chances,
        "peak_flops": peak_flops,
        "utilisation": utilisation,
        "seed": seed,
    }  # fmt: skip
    print_json(result) if as_json else _show(result)


def _chances(found: Plan, accuracies: list[float], trials: int, seed: int) -> list[dict[str, Any]]:
    """The chance that the best candidate is among those kept, after each stage whose proxy has a known accuracy."""
    from rbridge_metrics.planning import chance_to_find_best, chance_to_keep_best

    if len(accuracies) not in (0, 1, len(found.stages)):
        raise PlanUsageError(
            f"{len(accuracies)} decision accuracies for {len(found.stages)} stages; give that of the first, or one each"
        )
    kept = [part.models for part in (*found.stages[1:], found.target)]
    if len(accuracies) == 1:
        exact = chance_to_keep_best(found.stages[0].models, kept[0], accuracies[0])
        return [{"stage": 1, "kept": kept[0], "decision_accuracy": accuracies[0], "chance_best_is_kept": exact}]
    if not accuracies:
        return []
    simulated = chance_to_find_best(found, accuracies, trials=trials, seed=seed)
    return [
        {"stage": at + 1, "kept": kept[at], "decision_accuracy": accuracies[at], "chance_best_is_kept": float(chance)}
        for at, chance in enumerate(simulated)
    ]


def _show(result: dict[str, Any]) -> None:
    from rbridge_tasks.cli.output import print_table
    from rbridge_tasks.tables.sizes import count_text

    names = [f"stage {at + 1}" for at in range(len(result["stages"]) - 1)] + ["target"]
    rows = [
        [
            name, str(part["models"]), count_text(part["params"]), count_text(part["tokens"]),
            f"{part['flops_each']:.3g}", f"{part['flops']:.3g}", f"{part['gpu_hours']:.2f}",
        ]
        for name, part in zip(names, result["stages"], strict=True)
    ]  # fmt: skip
    rows.append(["in all", "", "", "", "", f"{result['flops']:.3g}", f"{result['gpu_hours']:.2f}"])
    everything = f"{result['flops_without']:.3g}", f"{result['gpu_hours_without']:.2f}"
    rows.append(["all at target size", str(result["candidates"]), "", "", "", *everything])
    print_table("", ["", "models", "params", "tokens", "FLOPs each", "FLOPs", "GPU-hours"], rows)
    share = 100 * result["saving"]
    verdict = f"saves {share:.1f} %" if share >= 0 else f"costs {-share:.1f} % more"
    typer.echo(f"The plan {verdict}: {result['ratio']:.2f} times cheaper than every candidate at the target's size.")
    for chance in result["chances"]:
        typer.echo(
            f"After stage {chance['stage']} the best candidate is among the {chance['kept']} kept with probability "
            f"{chance['chance_best_is_kept']:.3f}, where the proxy orders {100 * chance['decision_accuracy']:g} % of "
            "pairs right."
        )
    if result["chances"]:
        typer.echo("(Model: values and errors normal and independent, see docs/planning.md.)")
