"""Results of ``ladder``: forecasts, their backtest, the grid and the value of another rung."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rbridge_tasks.decisions.decision import Decision
from rbridge_tasks.decisions.training_runs import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LadderForecast:
    """The forecast of one target on one benchmark; accuracies in per cent.

    Attributes:
        params, tokens, flops: of the target.
        accuracy_pct, low_pct, high_pct: forecast and the interval of its measurement.
        compute_ratio: its compute over the largest of the ladder.
        measured_pct: what a run of this size and length in the table scored; NaN if there is none.
        next_rung_width: width of the interval with one more rung, over its width now.
    """

    params: float
    tokens: float
    flops: float
    accuracy_pct: float
    low_pct: float
    high_pct: float
    compute_ratio: float
    measured_pct: float
    next_rung_width: float


@dataclass(frozen=True)
class LadderFold:
    """A backtest: fitted to a part of the runs, compared with those beyond it; errors in points of accuracy.

    Attributes:
        by_size: the limit is a size; otherwise a compute in FLOPs.
        limit: largest size or compute fitted.
        fitted, held: numbers of runs.
        error: mean absolute error of the ladder, with weights from the other folds.
        baselines: those of the baselines, by name.
        coverage: fraction of the runs held out inside their interval, whose width comes from the other folds.
    """

    by_size: bool
    limit: float
    fitted: int
    held: int
    error: float
    baselines: dict[str, float]
    coverage: float


@dataclass(frozen=True)
class LadderGrid:
    """Forecasts over sizes and tokens: params (sizes,), tokens (lengths,), accuracy_pct (sizes, lengths)."""

    params: Array
    tokens: Array
    accuracy_pct: Array


@dataclass(frozen=True)
class Reach:
    """The cheapest size and tokens on a fine grid with this accuracy; NaN where the grid does not reach it."""

    accuracy_pct: float
    params: float
    tokens: float
    flops: float


@dataclass(frozen=True)
class LadderBenchmark:
    """Everything on one benchmark.

    Attributes:
        benchmark: name.
        chance_pct: accuracy of chance.
        runs, params, tokens, accuracy_pct: names, sizes, lengths and accuracies of the runs fitted.
        weights: of each method in the forecast, by name, from the backtest.
        law: ``E``, ``A``, ``B``, ``a`` and ``b`` of the law of N and D.
        forecasts: a target each.
        folds: of the backtest.
        grid: for the contour.
        reaches: an accuracy each.
    """

    benchmark: str
    chance_pct: float
    runs: tuple[str, ...]
    params: Array
    tokens: Array
    accuracy_pct: Array
    weights: dict[str, float]
    law: dict[str, float]
    forecasts: tuple[LadderForecast, ...]
    folds: tuple[LadderFold, ...]
    grid: LadderGrid
    reaches: tuple[Reach, ...]

    @property
    def errors(self) -> dict[str, float]:
        """Mean absolute error over folds by method, ``ladder`` first; empty without folds."""
        if not self.folds:
            return {}
        names = self.folds[0].baselines
        means = {name: float(np.mean([fold.baselines[name] for fold in self.folds])) for name in names}
        return {"ladder": float(np.mean([fold.error for fold in self.folds])), **means}

    @property
    def coverage(self) -> float:
        """Fraction of all runs held out inside their interval; NaN without folds."""
        if not self.folds:
            return float("nan")
        held = [fold.held for fold in self.folds]
        return float(np.average([fold.coverage for fold in self.folds], weights=held))

    @property
    def beats_baselines(self) -> bool:
        """Whether its mean error in the backtest is below that of every baseline; False without a backtest."""
        errors = self.errors
        return bool(errors) and errors["ladder"] < min(errors[name] for name in errors if name != "ladder")

    @property
    def verdict(self) -> str:
        """Whether the ladder beats its baselines in the backtest, in words."""
        errors = self.errors
        if not errors:
            return f"{self.benchmark}: too few runs for a backtest; nothing says how far to trust the forecast"
        best = min((name for name in errors if name != "ladder"), key=errors.__getitem__)
        verb = "beats its baselines" if self.beats_baselines else f"does NOT beat the baseline {best}"
        return (
            f"{self.benchmark}: the ladder {verb} in the backtest (mean absolute error {errors['ladder']:.2f} points, "
            f"{best} {errors[best]:.2f})"
        )


@dataclass(frozen=True)
class Ladder(Decision):
    """Forecasts of large models from a ladder of small ones.

    Attributes:
        metric, target_metric: names.
        level: of the intervals.
        benchmarks: a result each.
        notes: what the ladder cannot know, and what was assumed or left out.
    """

    metric: str
    target_metric: str
    level: float
    benchmarks: tuple[LadderBenchmark, ...]
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row per benchmark and target."""
        rows = [
            {"benchmark": result.benchmark, **vars(forecast), **{f"mae_{k}": v for k, v in result.errors.items()},
             "coverage": result.coverage}
            for result in self.benchmarks
            for forecast in result.forecasts
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def grid_frame(self) -> pd.DataFrame:
        """The grid as rows of benchmark, params, tokens and accuracy_pct."""
        parts = []
        for result in self.benchmarks:
            params, tokens = np.meshgrid(result.grid.params, result.grid.tokens, indexing="ij")
            values = {
                "params": params.ravel(),
                "tokens": tokens.ravel(),
                "accuracy_pct": result.grid.accuracy_pct.ravel(),
            }
            parts.append(pd.DataFrame({"benchmark": result.benchmark, **values}))
        return pd.concat(parts, ignore_index=True)

    def _content(self) -> dict[str, Any]:
        content = super()._content()
        for entry, result in zip(content["benchmarks"], self.benchmarks, strict=True):
            entry |= {"errors": result.errors, "coverage": result.coverage, "verdict": result.verdict}
        return content

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the contours of every benchmark; with a path, also write the figure as ``.svg`` or ``.png``."""
        from rbridge_tasks.charts.ladder import draw_ladder

        return draw_ladder(self, path)
