"""The verdict of a gate: each benchmark of a checkpoint, corrected for their number, with its detectable change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.forecast_gate import ForecastChange
from rbridge_metrics.gate import PairedChange, holm
from rbridge_tasks.decisions.decision import Decision
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.rows import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GateError(RBridgeError):
    """A checkpoint that cannot be compared, or arguments that contradict each other."""


@dataclass(frozen=True)
class GateSettings:
    """Settings of the test.

    Attributes:
        max_regression: share of the baseline's score by which a checkpoint may be worse.
        alpha: probability of an alarm about a checkpoint that is not worse than that, over all benchmarks together.
        power: probability to find a regression of the size stated as detectable.
        level: of the intervals.
        resamples, seed: of the bootstrap.
    """

    max_regression: float = 0.0
    alpha: float = 0.05
    power: float = 0.8
    level: float = 0.9
    resamples: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class BenchmarkChange:
    """One benchmark.

    Attributes:
        benchmark: its name.
        change: from the baseline, or from the forecast, to the checkpoint.
        p_value: corrected over benchmarks.
        detectable: regression that is found with ``power``, tolerance included, as a share of the score compared with;
            NaN if that score is 0, or the change is the same on every item.
        regressed: significantly worse by more than is tolerated.
    """

    benchmark: str
    change: PairedChange | ForecastChange
    p_value: float
    detectable: float
    regressed: bool

    @property
    def count(self) -> int:
        """Items, or checkpoints of the past, that were compared."""
        return self.change.checkpoints if isinstance(self.change, ForecastChange) else self.change.items


@dataclass(frozen=True)
class GateResult(Decision):
    """Whether a checkpoint is significantly worse than a baseline, or than the forecast of its own run.

    Attributes:
        benchmarks: one by one.
        metric: compared.
        current: name of the checkpoint.
        against: name of what it was compared with.
        reference: kind of what it was compared with.
        settings: of the test.
        notes: what was left out or is in doubt.
    """

    benchmarks: tuple[BenchmarkChange, ...]
    metric: Metric
    current: str
    against: str
    reference: Literal["baseline", "forecast"]
    settings: GateSettings
    notes: tuple[str, ...] = ()

    @property
    def regressed(self) -> list[str]:
        """The benchmarks that got significantly worse."""
        return [benchmark.benchmark for benchmark in self.benchmarks if benchmark.regressed]

    @property
    def passed(self) -> bool:
        """Whether no benchmark got significantly worse."""
        return not self.regressed

    @property
    def verdict(self) -> str:
        """One sentence on all benchmarks."""
        tolerated = self.settings.max_regression
        beyond = f" by more than {tolerated:.2%}" if tolerated else ""
        if self.regressed:
            return f"failed: significantly worse than the {self.reference}{beyond}: {', '.join(self.regressed)}"
        compared = counted(len(self.benchmarks), "benchmark")
        return f"passed: none of {compared} is significantly worse than the {self.reference}{beyond}"

    def to_frame(self) -> pd.DataFrame:
        """A row per benchmark: both scores, the change for the worse with its interval, and the test."""
        return pd.DataFrame(
            {"benchmark": row.benchmark, **asdict(row.change), "relative": row.change.relative}
            | {"p_value": row.p_value, "detectable": row.detectable, "regressed": row.regressed}
            for row in self.benchmarks
        )

    def _content(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "metric": self.metric.name,
            "current": self.current,
            "against": self.against,
            "settings": asdict(self.settings),
            "benchmarks": [asdict(row) | {"relative": row.change.relative} for row in self.benchmarks],
            "notes": self.notes,
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the change of each benchmark with its interval; with a path, also write it as ``.svg`` or ``.png``."""
        from rbridge_tasks.charts.gate import draw_gate

        return draw_gate(self, path)


def tested(
    names: Sequence[str],
    changes: Sequence[PairedChange | ForecastChange],
    detectable: Sequence[float],
    settings: GateSettings,
) -> tuple[BenchmarkChange, ...]:
    """Each benchmark tested by its p-value, which is corrected for the number of benchmarks (Holm).

    ``detectable`` holds the change beyond the tolerance that would be found on each, in the unit of the score.
    """
    p_values = holm([change.p_value for change in changes])
    return tuple(
        BenchmarkChange(
            benchmark=name,
            change=change,
            p_value=float(p),
            detectable=settings.max_regression + (size / abs(change.baseline) if change.baseline else math.nan),
            regressed=bool(p <= settings.alpha),
        )
        for name, change, p, size in zip(names, changes, p_values, detectable, strict=True)
    )
