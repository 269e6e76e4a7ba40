"""``gate``: test whether a checkpoint is worse than a baseline, or than its run's history predicts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rbridge_metrics.gate import (
    MIN_ITEMS,
    PairedChange,
    minimum_detectable_change,
    paired_change,
    with_training_noise,
)
from rbridge_metrics.noise import MIN_CHECKPOINTS, TrainingNoise
from rbridge_tasks.decisions.candidates import as_names
from rbridge_tasks.decisions.decision import check_draws
from rbridge_tasks.decisions.forecast_gate import gate_by_forecast
from rbridge_tasks.decisions.gate_result import GateError, GateResult, GateSettings, tested
from rbridge_tasks.tables.averaging import checked_count, noise_by_size
from rbridge_tasks.tables.directions import Metric, metric_called
from rbridge_tasks.tables.joined_items import JoinedItems, join_items
from rbridge_tasks.tables.names import check_metrics
from rbridge_tasks.tables.sample_settings import SamplesFile, check_samples
from rbridge_tasks.tables.samples import find_samples, read_items, sampled_benchmarks
from rbridge_tasks.tables.score_table import as_scores, is_score_table


def gate(
    current: pd.DataFrame | str | Path,
    baseline: str | Path | None = None,
    *,
    forecast: pd.DataFrame | str | Path | None = None,
    metric: str = "rbridge_nll",
    benchmarks: Sequence[str] = (),
    run: str | None = None,
    params: float | str | None = None,
    tokens: float | str | None = None,
    max_regression: float | str = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
    level: float = 0.9,
    resamples: int = 10_000,
    seed: int = 0,
    average_last: int | str | None = None,
    noise: pd.DataFrame | str | Path | None = None,
    allow_incomparable: bool = False,
) -> GateResult:
    """Test whether a checkpoint is worse than a baseline, item by item, or than the forecast of its own run.

    Args:
        current: the checkpoint: a folder or samples file of ``lm_eval --log_samples``. With ``forecast`` also any
            results of lm-eval, or a score table, whose last checkpoint is tested.
        baseline: the same of an earlier checkpoint or of another run.
        forecast: in place of a baseline, the run so far: a score table or results of lm-eval.
        metric: to compare; ``METRIC:lower`` or ``METRIC:higher`` if its direction is not known by name.
        benchmarks: only these; by default all of the baseline or of the past.
        run, params, tokens: with ``forecast``: the checkpoint's run, size and training tokens, if names do not say.
        max_regression: how much worse is tolerated, as a share of the baseline or forecast: 0.005 or ``"0.5%"``.
        alpha: probability of a false alarm, over all benchmarks.
        power: of the regression stated as detectable.
        level: probability of the intervals.
        resamples, seed: of the bootstrap; a forecast needs none.
        average_last: with ``forecast``: compare means of successive checkpoints: their number, or ``auto``.
        noise: with ``baseline``: score table with several checkpoints of the run, or of runs of its size, from which
            the noise between checkpoints is estimated and joined to the error over items.
        allow_incomparable: compare scores of different settings, and note it.

    Raises:
        GateError: contradictory arguments; a benchmark that the checkpoint lacks; too few items or other items.
        IncomparableError: the two sides had different settings, such as other shots.
        ForecastError, CandidatesError: the past is too short, or holds no such run.
        SamplesError, ResultsError, ScoreTableError: a file that cannot be read.
    """
    if (baseline is None) == (forecast is None):
        given = "neither" if baseline is None else "both"
        raise GateError(
            f"{given} of BASELINE and --forecast; give what the checkpoint is compared with: an earlier evaluation, or "
            "--forecast and the scores of the run so far"
        )
    if forecast is None and not (run is params is tokens is None):
        raise GateError("--run, --params and --tokens say which checkpoint of a run is forecast; give --forecast")
    if forecast is None and checked_count(average_last) != 1:
        raise GateError(
            "--average-last averages checkpoints of one run, a baseline is compared item by item; give --forecast"
        )
    check_draws(seed=seed)
    chosen, benchmarks = metric_called(metric), [*dict.fromkeys(as_names(benchmarks))]
    settings = GateSettings(as_share(max_regression), alpha, power, level, resamples, seed)
    if forecast is not None and noise is not None:
        raise GateError("--noise is for a baseline: a forecast estimates training noise from the run itself")
    if forecast is not None:
        return gate_by_forecast(
            current, forecast, chosen, settings, benchmarks, run=run, params=params, tokens=tokens,
            average_last=average_last, allow_incomparable=allow_incomparable,
        )  # fmt: skip
    for side in (current, baseline):
        if isinstance(side, pd.DataFrame) or is_score_table(str(side)):
            name = "a DataFrame" if isinstance(side, pd.DataFrame) else side
            raise GateError(
                f"{name} is a table, and a baseline is compared item by item; give folders of lm_eval --log_samples, "
                "or compare with a forecast: rbridge gate CURRENT --forecast TABLE"
            )
    known = None if noise is None else _noise_by_benchmark(noise, chosen)
    sides = (str(baseline), str(current))
    items, notes = _joined_items(sides, chosen, benchmarks, allow=allow_incomparable)
    return gate_items(items, chosen, settings, noise=known, current=sides[1], baseline=sides[0], notes=notes)


def _noise_by_benchmark(table: pd.DataFrame | str | Path, metric: Metric) -> dict[str, TrainingNoise]:
    """Noise of a metric on each benchmark, from a table with runs of one size."""
    scores = as_scores(table)
    check_metrics(scores, [metric.name], where="the table of --noise")
    known = noise_by_size(scores[scores["metric"] == metric.name])
    if len({key.params for key in known}) > 1:
        raise GateError("the table of --noise holds runs of several sizes; give one with runs of the checkpoint's size")
    return {key.benchmark: part for key, part in known.items()}


def as_share(value: float | str) -> float:
    """A share of a score: ``"0.5%"``, ``"0.005"`` or 0.005.

    Raises:
        GateError: it is not a share.
    """
    text = str(value)
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise GateError(f"--max-regression {text!r} is no share from 0 to 1; write for example 0.5% or 0.005")
    return share


def _joined_items(
    sides: tuple[str, str], metric: Metric, benchmarks: Sequence[str], *, allow: bool
) -> tuple[dict[str, JoinedItems], list[str]]:
    """The item scores of baseline and checkpoint on every benchmark of the baseline, and notes."""
    names = [*benchmarks] or sampled_benchmarks(sides[0], metric.name)
    if not names:
        raise GateError(f"{sides[0]} holds no samples with {metric.name}; give a folder of lm_eval --log_samples")
    files = []
    for name in names:
        for path, side in zip(sides, ("the baseline", "the checkpoint"), strict=True):
            file = find_samples(path, name, metric.name)
            if file is None:
                raise GateError(
                    f"{path} holds no samples of {name}, which {side} needs; score it there too, or name the "
                    "benchmarks to compare with --benchmark"
                )
            files.append(SamplesFile(name, path, file))
    notes, prompts = check_samples(files, metric.name, allow=allow)
    items = {}
    for name, before, after in zip(names, files[::2], files[1::2], strict=True):
        scores = {
            "the baseline": read_items(before.path, metric.name),
            "the checkpoint": read_items(after.path, metric.name),
        }
        items[name] = join_items(scores, allow=allow, prompts=prompts)
        notes += [f"{name}: {text}" for text in items[name].notes]
    return items, notes


def gate_items(
    items: Mapping[str, JoinedItems],
    metric: Metric,
    settings: GateSettings,
    *,
    current: str,
    baseline: str,
    noise: Mapping[str, TrainingNoise] | None = None,
    notes: Sequence[str] = (),
) -> GateResult:
    """Test whether a checkpoint is worse than a baseline, from the item scores of both.

    Args:
        items: by benchmark, at least one; the baseline's scores are the first row.
        metric, settings, notes: kept in the result.
        current, baseline: names of the two.
        noise: of training, by benchmark, joined to the error over items; None for items alone.

    Raises:
        GateError: too few items, or other denominators on the two sides.
    """
    changes = {benchmark: _paired(benchmark, joined, metric, settings) for benchmark, joined in items.items()}
    if noise is not None:
        changes = {benchmark: _with_noise(benchmark, change, noise, settings) for benchmark, change in changes.items()}
        notes = [*notes]
        for benchmark, change in changes.items():
            share = f"training noise has {change.noise_share:.0%} of the variance, items the rest"
            notes.append(f"{benchmark}: {share}")
    spreads = np.array([change.stderr for change in changes.values()])
    detectable = minimum_detectable_change(
        np.where(spreads > 0, spreads, np.nan), alpha=settings.alpha, power=settings.power, tests=len(changes)
    )
    rows = tested([*changes], [*changes.values()], detectable.tolist(), settings)
    return GateResult(rows, metric, current, baseline, "baseline", settings, tuple(notes))


def _with_noise(
    benchmark: str, change: PairedChange, noise: Mapping[str, TrainingNoise], settings: GateSettings
) -> PairedChange:
    if benchmark not in noise:
        raise GateError(
            f"the table of --noise has no run with {MIN_CHECKPOINTS} checkpoints scored on {benchmark}; score them "
            "there, or name the benchmarks to compare with --benchmark"
        )
    part = noise[benchmark]
    return with_training_noise(
        change, part.noise, part.freedom, tolerated=settings.max_regression, level=settings.level
    )


def _paired(benchmark: str, joined: JoinedItems, metric: Metric, settings: GateSettings) -> PairedChange:
    items = joined.numerator.shape[1]
    if items < MIN_ITEMS:
        raise GateError(
            f"{benchmark} has {items} item{'s' if items > 1 else ''} on both sides; at least {MIN_ITEMS} are needed to "
            "separate a change from chance: score more (a larger --limit), or name other benchmarks with --benchmark"
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
        seed=(settings.seed, zlib.crc32(benchmark.encode())),  # each benchmark has different items
    )
