"""The result of one scoring in a training loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.scores import TraceMoments, weighted_nats_over_test_set
from rbridge_tasks.scoring.aggregation import aggregate
from rbridge_tasks.training.loop_items import LoopBenchmark
from rbridge_tasks.training.stratified import Estimate, stratified_estimate

if TYPE_CHECKING:
    import pandas as pd

    from rbridge_tasks.decisions.gate_result import GateResult

#: First part of every name in a log.
PREFIX = "rbridge"


@dataclass(frozen=True)
class ItemValues:
    """What items contribute to a metric, a ratio of two sums; arrays of shape (items,).

    Attributes:
        numerator, denominator: of each item; denominators of a mean are 1.
    """

    numerator: FloatArray
    denominator: FloatArray


@dataclass(frozen=True)
class BenchmarkScores:
    """Scores of one benchmark at one step.

    Attributes:
        benchmark: its name.
        metrics: by name; estimates for all items where a sample was scored.
        stderr: standard errors over items, the sampling included.
        sampling_stderr: standard errors of the difference to the scores of all items; 0 if all were scored.
        item_ids: of the scored items.
        population: number of items of the benchmark.
        values: what each scored item contributes, by metric.
    """

    benchmark: str
    metrics: Mapping[str, float]
    stderr: Mapping[str, float]
    sampling_stderr: Mapping[str, float] = field(repr=False)
    item_ids: tuple[str, ...] = field(repr=False)
    population: int
    values: Mapping[str, ItemValues] = field(repr=False)

    @classmethod
    def of(
        cls, benchmark: LoopBenchmark, items: Mapping[int, dict[str, Any]], *, over_test_set: bool
    ) -> BenchmarkScores:
        """Combine the metrics of items.

        Args:
            benchmark: that the items are of.
            items: metrics of at least one item, as of ``item_metrics``, by the index of its trace.
            over_test_set: weights are normalised over all scored items.
        """
        indices = sorted(items)
        rows = [items[index] for index in indices]
        values = {name: _item_values(name, [row[name] for row in rows]) for name in rows[0]}
        stratum = benchmark.strata.stratum
        sizes = np.bincount(stratum).tolist()
        estimates: dict[str, Estimate] = {
            name: stratified_estimate(each.numerator, each.denominator, stratum[indices], sizes)
            for name, each in values.items()
        }
        metrics = {name: estimate.value for name, estimate in estimates.items()}
        stderr = {name: estimate.stderr for name, estimate in estimates.items()}
        if len(rows) == len(benchmark.traces):  # the same sums as of rb.score, to the last bit
            metrics, stderr = aggregate(rows, over_test_set=over_test_set)
        return cls(
            benchmark.name,
            metrics,
            stderr,
            {name: estimate.sampling_stderr for name, estimate in estimates.items()},
            tuple(benchmark.traces[index].item_id for index in indices),
            len(benchmark.traces),
            values,
        )


def _item_values(name: str, values: Sequence[Any]) -> ItemValues:
    if isinstance(values[0], TraceMoments):
        nats = weighted_nats_over_test_set(values)
        in_bytes = name.endswith("bits_per_byte")
        sizes = [moments.n_bytes if in_bytes else moments.tokens for moments in values]
        pairs = list(zip(nats.tolist(), sizes, strict=True))
        values = pairs if in_bytes else [total / tokens for total, tokens in pairs]
    if isinstance(values[0], tuple):
        nats_and_bytes = np.asarray(values, dtype=np.float64)
        return ItemValues(nats_and_bytes[:, 0], math.log(2) * nats_and_bytes[:, 1])
    return ItemValues(np.asarray(values, dtype=np.float64), np.ones(len(values)))


@dataclass(frozen=True)
class LoopScores:
    """Scores at one step of a training run.

    Attributes:
        step: of the training.
        tokens: trained on so far; NaN if unknown.
        benchmarks: scores of each benchmark of which an item was scored.
        left_out: number of planned items that the time budget did not allow, by benchmark.
        seconds: time of this scoring, on the slowest rank.
        share_of_time: time of all scorings so far, as a share of the time since the first call.
        gate: test for an alarm; None without one.
        alarm: whether a benchmark got significantly worse, or the model cannot be scored.
        stop: why the training should stop; empty if it should not.
        notes: what was left out and why, and why a model could not be scored.
    """

    step: int
    tokens: float
    benchmarks: tuple[BenchmarkScores, ...]
    left_out: Mapping[str, int]
    seconds: float
    share_of_time: float
    gate: GateResult | None = None
    alarm: bool = False
    stop: str = ""
    notes: tuple[str, ...] = ()

    def __getitem__(self, benchmark: str) -> BenchmarkScores:
        """The scores of a benchmark.

        Raises:
            KeyError: none of its items was scored.
        """
        return {scores.benchmark: scores for scores in self.benchmarks}[benchmark]

    def to_logs(self) -> dict[str, float]:
        """Numbers for a logger: ``rbridge/<benchmark>/<metric>``, ``..._stderr``, ``rbridge/<benchmark>/items``, ...

        What is not known has no entry.
        """
        logs: dict[str, float] = {}
        for scores in self.benchmarks:
            for metric, value in scores.metrics.items():
                name = f"{PREFIX}/{scores.benchmark}/{metric}"
                logs |= {name: value, f"{name}_stderr": scores.stderr[metric]}
            logs[f"{PREFIX}/{scores.benchmark}/items"] = len(scores.item_ids)
        logs |= {f"{PREFIX}/seconds": self.seconds, f"{PREFIX}/share_of_time": self.share_of_time}
        if self.gate is not None or self.alarm:
            logs[f"{PREFIX}/alarm"] = int(self.alarm)
        return {name: value for name, value in logs.items() if math.isfinite(value)}

    def to_frame(self, *, run: str, model: str = "", params: float = math.nan) -> pd.DataFrame:
        """Rows of a score table, as ``rbridge collect`` writes them.

        Args:
            run: name of the training run.
            model: name of the checkpoint; empty for ``step<N>``.
            params: number of parameters.
        """
        import pandas as pd

        tables = [
            pd.DataFrame(
                {
                    "run": run,
                    "model": model or f"step{self.step}",
                    "params": params,
                    "tokens": self.tokens,
                    "benchmark": scores.benchmark,
                    "metric": [*scores.metrics],
                    "value": [*scores.metrics.values()],
                    "stderr": [*scores.stderr.values()],
                    "n": len(scores.item_ids),
                }
            )
            for scores in self.benchmarks
        ]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
