"""The inputs of a report: a score table, optionally a fit, targets and samples, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from rbridge_metrics.errors import RBridgeError
from rbridge_metrics.noise import TrainingNoise
from rbridge_tasks.decisions.decision import check_draws
from rbridge_tasks.decisions.fit_file import Fit, load_fit
from rbridge_tasks.decisions.ladder_rungs import check_reach
from rbridge_tasks.tables.averaging import NoiseKey, noise_by_size
from rbridge_tasks.tables.averaging import average_last as mean_of_last
from rbridge_tasks.tables.comparable import Measured, check_comparable
from rbridge_tasks.tables.directions import DirectionError, Metric, metric_called, split_direction
from rbridge_tasks.tables.lm_eval_results import Score
from rbridge_tasks.tables.names import check_metrics, listed
from rbridge_tasks.tables.score_table import as_scores
from rbridge_tasks.tables.settings import settings_of
from rbridge_tasks.tables.sizes import Size, parse_size
from rbridge_tasks.tables.table_settings import check_rows
from rbridge_tasks.tables.trace_samples import Evaluation, evaluations

#: What the page leads with, the first that a table has.
HEADLINES = ("rbridge_nll", "rbridge_span_nll", "trace_nll", "rbridge_bits_per_byte", "trace_bits_per_byte")


class ReportError(RBridgeError):
    """A benchmark or metric that the score table does not have."""


@dataclass(frozen=True)
class Inputs:
    """Everything that the page shows is taken from here: the arguments of ``read_inputs``, read and checked.

    Attributes:
        name: of the score table, for people.
        measured: a checked score table, of the benchmarks asked for.
        scores: the same, each a mean over checkpoints if that was asked for.
        counts: checkpoints in a mean, by benchmark, metric and size.
        target_metrics: of the targets, in order of preference.
        target_at: the targets' size, where their table holds several.
        evaluations: samples of lm-eval, if there are any.
        doubts: settings in which the scores differ, a line each.
    """

    name: str
    measured: pd.DataFrame
    scores: pd.DataFrame
    counts: Mapping[NoiseKey, int]
    average_last: int | str | None
    metric: Metric
    fit: Fit | None
    targets: pd.DataFrame | None
    target_metrics: tuple[Metric, ...]
    target_at: Size | None
    evaluations: Sequence[Evaluation]
    traces: int
    predict: tuple[Size, ...]
    reach: tuple[float, ...]
    level: float
    title: str
    date: str | None
    doubts: tuple[str, ...]

    @cached_property
    def noise(self) -> dict[NoiseKey, TrainingNoise]:
        """Training noise of the scores as they were measured, before any averaging."""
        return noise_by_size(self.measured)

    @property
    def benchmarks(self) -> list[str]:
        """Of the table, in its order."""
        return [*dict.fromkeys(self.scores["benchmark"])]

    @property
    def headline(self) -> pd.DataFrame:
        """Rows of the metric that the page leads with."""
        return self.scores[self.scores["metric"] == self.metric.name]

    @property
    def way(self) -> str:
        """Which values of the metric are better, in words."""
        return f"{self.metric.better} is better"

    @property
    def level_text(self) -> str:
        """The level of intervals, for people."""
        return f"{100 * self.level:g}\N{NO-BREAK SPACE}%"


def read_inputs(
    scores: pd.DataFrame | str | Path,
    fit: str | Path | None = None,
    *,
    metric: str | None = None,
    benchmarks: Sequence[str] = (),
    target: pd.DataFrame | str | Path | None = None,
    target_metrics: Sequence[str] = (),
    target_at: str | None = None,
    samples: Sequence[str | Path] = (),
    traces: int = 3,
    average_last: int | str | None = None,
    predict: Sequence[str] = (),
    reach: Sequence[float] = (),
    level: float = 0.9,
    title: str | None = None,
    date: str | None = None,
    allow_incomparable: bool = False,
) -> Inputs:
    """Read everything that a report is asked to show.

    Args:
        scores: score table, as a DataFrame or a file.
        fit: file of ``rbridge fit``.
        metric: what the page leads with, ``METRIC``, ``METRIC:lower`` or ``METRIC:higher``; by default the first of
            ``HEADLINES`` that the table has, else its first metric whose direction is known.
        benchmarks: only these; all where empty.
        target, target_metrics, target_at: what the target models scored, as in ``rbridge rank``.
        samples: samples files of our tasks and folders of them.
        traces: how many to show of each benchmark.
        average_last: score every checkpoint by the mean of it and the ones before it: their number, or ``auto``.
        predict: sizes ``PARAMS:TOKENS`` to forecast from the ladder of sizes in the table, see ``ladder``.
        reach: accuracies, fractions, whose cheapest size and tokens on this ladder are wanted.
        level: of the intervals.
        title, date: for the head.
        allow_incomparable: show scores of different settings together; the page says so.

    Raises:
        IncomparableError: scores of one benchmark and metric had different settings, such as other shots.
        ReportError: no such benchmark or metric in the table.
        RBridgeError: a file cannot be read, or a direction is not known.
    """
    check_reach(reach)
    check_draws(level=level)
    name = "a score table" if isinstance(scores, pd.DataFrame) else str(scores)
    table = as_scores(scores)
    known = [*dict.fromkeys(table["benchmark"])]
    if lacking := [name for name in benchmarks if name not in known]:
        raise ReportError(f"{name} has no benchmark {', '.join(lacking)}; it has {', '.join(known[:12])}")
    if benchmarks:
        table = table[table["benchmark"].isin(benchmarks)].reset_index(drop=True)
    curves = None if fit is None else load_fit(fit)
    targets = None if target is None else as_scores(target)
    evaluated = [group for group in evaluations(samples) if group.benchmark in (benchmarks or {group.benchmark})]
    headline = _headline(table, metric, name)
    truths = tuple(metric_called(name) for name in target_metrics or ["acc"])
    names = [truth.name for truth in truths]
    averaged, counts, lines = mean_of_last(table, average_last, shared_trend=True)
    return Inputs(
        name=Path(name).name,
        scores=averaged,
        measured=table,
        counts=counts,
        metric=headline,
        fit=curves,
        targets=targets,
        target_metrics=truths,
        target_at=parse_size(target_at) if target_at else None,
        evaluations=evaluated,
        traces=traces,
        predict=tuple(parse_size(size) for size in predict),
        reach=tuple(reach),
        average_last=average_last,
        level=level,
        title=title or "rBridge report",
        date=date,
        doubts=(*lines, *_doubts(table, headline, curves, targets, names, evaluated, allow=allow_incomparable)),
    )


def _doubts(
    table: pd.DataFrame,
    headline: Metric,
    fit: Fit | None,
    targets: pd.DataFrame | None,
    truths: Sequence[str],
    evaluated: Sequence[Evaluation],
    *,
    allow: bool,
) -> tuple[str, ...]:
    """Settings in which scores of one benchmark and metric differ: in table and fit, in targets, and in samples."""
    lines = check_rows(table, allow=allow, beside=fit.measured if fit else ())
    if targets is not None:
        lines += check_rows(targets[targets["metric"].isin(truths)], allow=allow)
    measured = [
        Measured(
            group.benchmark,
            headline.name,
            group.results.model.label,
            settings_of(Score(task, headline.name, math.nan, math.nan, math.nan), group.results),
        )
        for group in evaluated
        for task in group.files
    ]
    lines += check_comparable(measured, allow=allow)
    return tuple(dict.fromkeys(lines))


def _headline(table: pd.DataFrame, wanted: str | None, name: str) -> Metric:
    if wanted is not None:
        check_metrics(table, [split_direction(wanted)[0]], where=name)
        return metric_called(wanted)
    names = [*dict.fromkeys(table["metric"])]
    for choice in (*HEADLINES, *names):
        if choice in names and (known := known_metric(choice)) is not None:
            return known
    raise ReportError(
        f"nothing is known of the metrics of {name}, {listed(names)}: is lower or higher better? Write "
        f"--metric {names[0]}:lower or --metric {names[0]}:higher"
    )


def known_metric(name: str) -> Metric | None:
    """The metric of a name, or None where its direction is unknown."""
    try:
        return metric_called(name)
    except DirectionError:
        return None
