"""A ladder in a plan: cost of its rungs, width of its intervals, chance that forecasts keep the best candidate."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from rbridge_metrics.compute import training_flops
from rbridge_metrics.errors import PlanError
from rbridge_metrics.planning import chance_to_keep_best
from rbridge_tasks.decisions.ladder_result import Ladder
from rbridge_tasks.tables.sizes import Size, count_text

_SAME = 5e-3  # relative tolerance of a size as people write it


@dataclass(frozen=True)
class LadderWidth:
    """The interval of the target's accuracy on one benchmark, with the ladder as it is and with one more size.

    Attributes:
        benchmark: name.
        width, next_width: from end to end, points of accuracy.
        chance_best_is_kept, next_chance: that forecasts of all candidates from ladders of their own keep the best; NaN
            without a spread of the candidates.
    """

    benchmark: str
    width: float
    next_width: float
    chance_best_is_kept: float
    next_chance: float


@dataclass(frozen=True)
class LadderPlan:
    """A ladder in a plan.

    Attributes:
        runs: of the ladder.
        flops: compute of all its runs.
        next_params: one more size, as far above the largest as the largest two are apart.
        next_flops: compute of runs of that size, at the tokens per parameter of the largest size.
        level: of the intervals.
        benchmarks: a width each.
    """

    runs: int
    flops: float
    next_params: float
    next_flops: float
    level: float
    benchmarks: tuple[LadderWidth, ...]


class _Forecast(BaseModel):
    params: float
    tokens: float
    low_pct: float
    high_pct: float
    next_rung_width: float


class _Benchmark(BaseModel):
    benchmark: str
    params: list[float]
    tokens: list[float]
    forecasts: list[_Forecast]


class _Ladder(BaseModel):
    """What is read of ``rbridge ladder --json``."""

    level: Annotated[float, Field(gt=0, lt=1)]
    benchmarks: Annotated[list[_Benchmark], Field(min_length=1)]


def plan_ladder(ladder: Ladder | str | Path, target: Size, candidates: int, kept: int, spread: float) -> LadderPlan:
    """Cost and use of a ladder for a choice of ``kept`` among the candidates, see ``plan``; ``spread`` NaN if unknown.

    Raises:
        PlanError: no ladder in the file, no forecast of the target, or a spread that is not above 0.
    """
    if spread <= 0:
        raise PlanError(f"a spread of {spread:g} points; it is the standard deviation over candidates, above 0")
    saved = _Ladder.model_validate(ladder.to_dict()) if isinstance(ladder, Ladder) else _read(Path(ladder))
    params, tokens = (np.array(counts) for counts in (saved.benchmarks[0].params, saved.benchmarks[0].tokens))
    sizes = np.unique(params)
    if len(params) != len(tokens) or len(sizes) < 2:
        raise PlanError(
            f"a ladder has runs of several sizes, each with its tokens, but not {len(params)} params and "
            f"{len(tokens)} tokens; write it with rbridge ladder ... --json"
        )
    step, largest = float(sizes[-1] / sizes[-2]), params == sizes[-1]
    widths = []
    for part in saved.benchmarks:
        matching = (row for row in part.forecasts if np.isclose([row.params, row.tokens], target, rtol=_SAME).all())
        forecast = next(matching, None)
        if forecast is None:
            name = f"{count_text(target.params)}:{count_text(target.tokens)}"
            raise PlanError(
                f"the ladder has no forecast of {name}; make it with rbridge ladder --predict {name} --json"
            )
        width = forecast.high_pct - forecast.low_pct
        both = [width, width * forecast.next_rung_width]
        chances = (_chance(each, saved.level, spread, candidates, kept) for each in both)
        widths.append(LadderWidth(part.benchmark, *both, *chances))
    flops = training_flops(params, tokens)
    return LadderPlan(
        len(params), float(flops.sum()), float(sizes[-1] * step), float(flops[largest].sum() * step**2), saved.level,
        tuple(widths),
    )  # fmt: skip


def _chance(width: float, level: float, spread: float, candidates: int, kept: int) -> float:
    """With the interval's width as the error of a forecast: candidates and errors normal and independent."""
    if math.isnan(spread):
        return math.nan
    error = width / 2 / NormalDist().inv_cdf((1 + level) / 2)
    return chance_to_keep_best(candidates, kept, 0.5 + math.atan2(spread, error) / math.pi)


def _read(path: Path) -> _Ladder:
    try:
        return _Ladder.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise PlanError(
            f"{path} cannot be read: {error.strerror}; write it with rbridge ladder ... --json > {path}"
        ) from error
    except ValidationError as error:
        raise PlanError(f"{path} holds no ladder; write it with rbridge ladder ... --json > {path}") from error
    except ValueError as error:
        raise PlanError(f"{path} is no JSON; write it with rbridge ladder ... --json > {path}") from error
