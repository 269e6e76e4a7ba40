"""``plan``: cost of a search in stages with small models, and the chance that it keeps the best candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rbridge_metrics.errors import PlanError
from rbridge_metrics.planning import StagedSearch, chance_to_find_best, chance_to_keep_best, gpu_hours, make_plan
from rbridge_tasks.decisions.decision import Decision, check_draws
from rbridge_tasks.decisions.ladder_result import Ladder
from rbridge_tasks.decisions.plan_ladder import LadderPlan, plan_ladder
from rbridge_tasks.tables.sizes import Size, parse_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlannedStage:
    """Models trained at one size.

    Attributes:
        params, tokens: of each model (counts).
        models: number of models.
        flops_each, flops: compute of one model and of all.
        gpu_hours: of all.
    """

    params: float
    tokens: float
    models: int
    flops_each: float
    flops: float
    gpu_hours: float


@dataclass(frozen=True)
class StageChance:
    """Chance that the best candidate is among the ``kept`` ones after a stage, counted from 1."""

    stage: int
    kept: int
    decision_accuracy: float
    chance_best_is_kept: float


@dataclass(frozen=True)
class SearchPlan(Decision):
    """A search in stages, against training every candidate at the target's size.

    Attributes:
        candidates: number of candidates.
        stages: the stages in order; the last is the target.
        flops, gpu_hours: of all stages together.
        flops_without, gpu_hours_without: of every candidate at the target's size.
        saving: fraction of ``flops_without`` that the search does not spend; negative if it costs more.
        ratio: ``flops_without / flops``.
        chances: after each stage whose proxy has a known decision accuracy.
        peak_flops, utilisation, seed: as given.
        ladder: cost and intervals of a ladder, if one was given.
    """

    candidates: int
    stages: tuple[PlannedStage, ...]
    flops: float
    gpu_hours: float
    flops_without: float
    gpu_hours_without: float
    saving: float
    ratio: float
    chances: tuple[StageChance, ...]
    peak_flops: float
    utilisation: float
    seed: int
    ladder: LadderPlan | None = None

    @property
    def names(self) -> list[str]:
        """Names of the stages: ``stage 1``, ..., ``target``."""
        return [f"stage {number}" for number in range(1, len(self.stages))] + ["target"]

    def to_frame(self) -> pd.DataFrame:
        """One row for each stage, the target last."""
        return pd.DataFrame(
            [{"stage": name, **asdict(stage)} for name, stage in zip(self.names, self.stages, strict=True)]
        )

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the compute of each stage beside that of every candidate at the target's size."""
        from rbridge_tasks.charts.plan import draw_plan

        return draw_plan(self, path)


def plan(
    candidates: int,
    stages: Sequence[Size | str],
    target: Size | str,
    *,
    keep: Sequence[int] = (),
    peak_flops: float = 989e12,
    utilisation: float = 0.4,
    decision_accuracy: float | Sequence[float] = (),
    trials: int = 100_000,
    seed: int = 0,
    ladder: Ladder | str | Path | None = None,
    spread: float = math.nan,
) -> SearchPlan:
    """Plan a search in stages: FLOPs and GPU-hours against training every candidate at the target's size.

    Args:
        candidates: number of candidate data sets.
        stages: size of each stage, ``PARAMS:TOKENS``, in order.
        target: size of the target, ``PARAMS:TOKENS``.
        keep: candidates kept after each stage; after the last, 1 by default.
        peak_flops: peak of one GPU in FLOP/s: 989e12 is an H100, bfloat16, dense.
        utilisation: fraction of the peak that training reaches.
        decision_accuracy: of the first stage's proxy, or one for each stage. One gives an exact chance, several are
            simulated.
        trials: number of simulations.
        seed: seed of the simulation.
        ladder: result of ``ladder`` with a forecast of the target, or a file of ``rbridge ladder --json``.
        spread: with a ladder: standard deviation of the candidates' accuracies at the target, points of accuracy.

    Raises:
        PlanError, SizeError: numbers out of range or that do not fit together.
    """
    check_draws(seed=seed)
    sizes = [parse_size(size) if isinstance(size, str) else size for size in (*stages, target)]
    search = make_plan(candidates, keep, sizes[:-1], sizes[-1])
    planned = [
        PlannedStage(
            stage.params, stage.tokens, stage.models, stage.flops_each, stage.flops,
            gpu_hours(stage.flops, peak_flops=peak_flops, utilisation=utilisation),
        )
        for stage in (*search.stages, search.target)
    ]  # fmt: skip
    if ladder is None and not math.isnan(spread):
        raise PlanError("a spread is used with a ladder only; give --ladder, a file of rbridge ladder --json")
    accuracies = [decision_accuracy] if isinstance(decision_accuracy, (int, float)) else [*decision_accuracy]
    return SearchPlan(
        candidates=candidates,
        stages=tuple(planned),
        flops=search.flops,
        gpu_hours=sum(stage.gpu_hours for stage in planned),
        flops_without=search.flops_without,
        gpu_hours_without=gpu_hours(search.flops_without, peak_flops=peak_flops, utilisation=utilisation),
        saving=search.saving,
        ratio=search.flops_without / search.flops,
        chances=tuple(_chances(search, accuracies, trials, seed)),
        peak_flops=peak_flops,
        utilisation=utilisation,
        seed=seed,
        ladder=None if ladder is None else plan_ladder(ladder, sizes[-1], candidates, search.target.models, spread),
    )


def _chances(search: StagedSearch, accuracies: Sequence[float], trials: int, seed: int) -> list[StageChance]:
    if len(accuracies) not in (0, 1, len(search.stages)):
        raise PlanError(
            f"{len(accuracies)} decision accuracies for {len(search.stages)} stages; give that of the first, or one "
            "for each"
        )
    if not accuracies:
        return []
    kept = [stage.models for stage in (*search.stages[1:], search.target)]
    if len(accuracies) == 1:
        chances = [chance_to_keep_best(search.stages[0].models, kept[0], accuracies[0])]
    else:
        chances = chance_to_find_best(search, accuracies, trials=trials, seed=seed).tolist()
    return [
        StageChance(number, count, accuracy, chance)
        for number, (count, accuracy, chance) in enumerate(zip(kept, accuracies, chances, strict=False), 1)
    ]
