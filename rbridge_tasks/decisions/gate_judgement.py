"""Each benchmark of a checkpoint against a baseline, corrected over benchmarks, with what could have been found."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rbridge_metrics import RBridgeError
from rbridge_metrics.forecast_gate import ForecastChange
from rbridge_metrics.gate import MIN_ITEMS, PairedChange, holm, minimum_detectable_change, paired_change
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.joined_items import JoinedItems, join_items
from rbridge_tasks.tables.sample_settings import SamplesFile, check_samples
from rbridge_tasks.tables.samples import find_samples, read_items, sampled_benchmarks


class GateError(RBridgeError):
    """A checkpoint that cannot be compared with what it should be compared with."""


@dataclass(frozen=True)
class Settings:
    """Of the test.

    Attributes:
        max_regression: share of the baseline's score by which a checkpoint may be worse.
        alpha: probability of an alarm about a checkpoint that is not worse than that, over all benchmarks together.
        power: at which the detectable regression is stated.
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
class Judged:
    """One benchmark.

    Attributes:
        benchmark: its name.
        change: from the baseline, or from the forecast, to the checkpoint.
        p_value: corrected over benchmarks.
        detectable: share of the score compared with, what is tolerated included, that would be found with ``power``;
            NaN where that score is 0, or where the change is the same on every item.
        regressed: significantly worse by more than is tolerated.
    """

    benchmark: str
    change: PairedChange | ForecastChange
    p_value: float
    detectable: float
    regressed: bool


@dataclass(frozen=True)
class Judgement:
    """All benchmarks of a checkpoint.

    Attributes:
        benchmarks: one by one.
        current: the checkpoint, in words.
        against: what it was compared with, in words.
        reference: ``baseline`` or ``forecast``.
        unit: what was counted on each benchmark: ``items`` of both, or ``checkpoints`` of the past.
        notes: what was left out or is in doubt, a line each.
    """

    benchmarks: tuple[Judged, ...]
    current: str
    against: str
    reference: str
    unit: str
    notes: tuple[str, ...] = ()

    @property
    def regressed(self) -> list[str]:
        """The benchmarks that got significantly worse."""
        return [one.benchmark for one in self.benchmarks if one.regressed]


def judge(
    current: str | Path,
    baseline: str | Path,
    metric: Metric,
    settings: Settings,
    benchmarks: Sequence[str] = (),
    *,
    allow_incomparable: bool = False,
) -> Judgement:
    """Compare two evaluations item by item on every benchmark of the baseline.

    Args:
        current, baseline: folders or samples files of ``lm_eval --log_samples``.
        metric: a mean over items, or bits per byte.
        settings: of the test.
        benchmarks: compare these alone; all of the baseline's where empty.
        allow_incomparable: compare evaluations of different settings, on the items that both have, and note it.

    Raises:
        GateError: a benchmark is missing on either side: what was not scored cannot pass; or has too few items.
        IncomparableError: the evaluations had different settings, such as other shots or other confidences.
        SamplesError: files that cannot be read, or were scored on other items.
    """
    names = [*benchmarks] or sampled_benchmarks(baseline, metric.name)
    if not names:
        raise GateError(f"{baseline} holds no samples with {metric.name}; give a folder of lm_eval --log_samples")
    files = [file for name in names for file in _files(name, current, baseline, metric)]
    notes, prompts = check_samples(files, metric.name, allow=allow_incomparable)
    changes = []
    for before, after in zip(files[::2], files[1::2], strict=True):
        sides = (("the baseline", before), ("the checkpoint", after))
        items = {side: read_items(file.path, metric.name) for side, file in sides}
        joined = join_items(items, allow=allow_incomparable, prompts=prompts)
        notes += [f"{before.benchmark}: {text}" for text in joined.notes]
        changes.append(_change(before.benchmark, joined, metric, settings))
    spreads = np.array([change.stderr for change in changes])
    detectable = minimum_detectable_change(
        np.where(spreads > 0, spreads, np.nan), alpha=settings.alpha, power=settings.power, tests=len(changes)
    )
    judged = corrected(names, changes, detectable.tolist(), settings)
    return Judgement(judged, str(current), str(baseline), "baseline", "items", tuple(notes))


def corrected(
    names: Sequence[str],
    changes: Sequence[PairedChange | ForecastChange],
    detectable: Sequence[float],
    settings: Settings,
) -> tuple[Judged, ...]:
    """Every benchmark with its p-value corrected for the number of benchmarks (Holm), and judged by it.

    Args:
        names: of the benchmarks.
        changes: on each.
        detectable: change beyond what is tolerated that would be found, in the unit of the score.
        settings: of the test.
    """
    p_values = holm([change.p_value for change in changes])
    return tuple(
        Judged(
            benchmark=name,
            change=change,
            p_value=float(p),
            detectable=settings.max_regression + (size / abs(change.baseline) if change.baseline else np.nan),
            regressed=bool(p <= settings.alpha),
        )
        for name, change, p, size in zip(names, changes, p_values, detectable, strict=True)
    )


def _files(benchmark: str, current: str | Path, baseline: str | Path, metric: Metric) -> list[SamplesFile]:
    """The samples files of a benchmark, the baseline's first."""
    found = []
    for side, path in (("the baseline", baseline), ("the checkpoint", current)):
        file = find_samples(path, benchmark, metric.name)
        if file is None:
            raise GateError(
                f"{path} holds no samples of {benchmark}, which {side} needs; score it there too, or name the "
                "benchmarks to compare with --benchmark"
            )
        found.append(SamplesFile(benchmark, str(path), file))
    return found


def _change(benchmark: str, joined: JoinedItems, metric: Metric, settings: Settings) -> PairedChange:
    items = joined.numerator.shape[1]
    if items < MIN_ITEMS:
        raise GateError(
            f"{benchmark} has {items} item{'s' if items > 1 else ''} on both sides; at least {MIN_ITEMS} are needed to "
            "tell a change from chance: score more (a larger --limit), or name other benchmarks with --benchmark"
        )
    if not np.array_equal(*joined.denominator):
        raise GateError(f"{benchmark}: {metric.name} has other sizes on the two sides; score both with the same traces")
    return paired_change(
        joined.numerator[0],
        joined.numerator[1],
        joined.denominator[0],
        lower_is_better=metric.lower_is_better,
        tolerated=settings.max_regression,
        level=settings.level,
        resamples=settings.resamples,
        seed=(settings.seed, zlib.crc32(benchmark.encode())),  # benchmarks have items of their own
    )
