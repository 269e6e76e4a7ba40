"""Alarms and early stopping: the gate's paired test between steps of one training run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.gate import MIN_ITEMS
from rbridge_metrics.power_law import FEWEST_POINTS
from rbridge_tasks.decisions.gate import as_share, gate, gate_items
from rbridge_tasks.decisions.gate_result import GateError, GateResult, GateSettings
from rbridge_tasks.tables.directions import Metric, metric_called
from rbridge_tasks.tables.joined_items import JoinedItems
from rbridge_tasks.training.loop_scores import LoopScores
from rbridge_tasks.training.packed_scores import packed, unpacked
from rbridge_tasks.training.settings import LoopSettings

logger = logging.getLogger(__name__)


@dataclass
class Watch:
    """Compares each scoring with earlier ones, on the items that both have.

    Attributes:
        settings: which test, and when to stop.
    """

    settings: LoopSettings
    _past: list[LoopScores] = field(default_factory=list, init=False)
    _alarms: int = field(default=0, init=False)

    def judge(self, scores: LoopScores) -> LoopScores:
        """Add the verdict to a scoring, and remember it for the next."""
        settings, failed = self.settings, not scores.benchmarks and not scores.left_out
        result = None if failed else self._test(scores)
        alarm = failed or (result is not None and not result.passed)
        self._alarms = self._alarms + 1 if alarm else 0
        stop = ""
        if settings.stop_after_alarms is not None and self._alarms >= settings.stop_after_alarms:
            stop = f"{self._alarms} alarms in a row" + (f"; {result.verdict}" if result else "")
        elif not failed and self._without_gain(scores):
            stop = f"no benchmark is significantly better than {settings.stop_without_gain} scorings ago"
        if scores.benchmarks:
            self._past.append(scores)
            self._forget()
        return replace(scores, gate=result, alarm=alarm, stop=stop)

    def state_dict(self) -> dict[str, Any]:
        """Earlier scorings as far as tests need them, and the alarms in a row, as JSON can hold them."""
        metric = self.settings.metric
        return {"metric": metric, "alarms": self._alarms, "past": [packed(past, metric) for past in self._past]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what ``state_dict`` returned, to the last bit; nothing if it is empty or of another metric."""
        metric = state.get("metric")
        if metric not in (None, self.settings.metric):
            logger.warning("alarms start anew: the checkpoint has scores of %s", metric)
            state = {}
        self._alarms = state.get("alarms", 0)
        self._past = [unpacked(scoring, self.settings.metric) for scoring in state.get("past", [])]
        self._forget()

    def _forget(self) -> None:
        """Drop scorings that no later test needs."""
        if self.settings.alarm in ("best", "forecast"):
            return
        needed = max(int(self.settings.alarm is not None), self.settings.stop_without_gain or 0)
        del self._past[: max(0, len(self._past) - needed)]

    @property
    def _metric(self) -> Metric:
        return metric_called(self.settings.metric)

    @property
    def _gate(self) -> GateSettings:
        return GateSettings(as_share(self.settings.max_regression), self.settings.alpha)

    def _test(self, scores: LoopScores) -> GateResult | None:
        if self.settings.alarm is None or not self._past:
            return None
        if self.settings.alarm == "forecast":
            return self._against_forecast(scores)
        baseline = self._past[-1] if self.settings.alarm == "previous" else self._best(scores)
        return self._compare(baseline, scores)

    def _compare(
        self, baseline: LoopScores, current: LoopScores, settings: GateSettings | None = None
    ) -> GateResult | None:
        """The gate on the items that two scorings share; None if no benchmark has enough of them."""
        shared = self._joined([baseline, current])
        if not shared:
            return None
        names = [f"step {side.step}" for side in (current, baseline)]
        return gate_items(shared, self._metric, settings or self._gate, current=names[0], baseline=names[1])

    def _best(self, current: LoopScores) -> LoopScores:
        """The earlier scoring with the best score, on average over benchmarks, on the items that all share."""
        names = {scores.benchmark for scores in current.benchmarks}
        complete = [past for past in self._past if names <= {scores.benchmark for scores in past.benchmarks}]
        if not complete:
            return self._past[-1]
        ratios = [_ratios(joined) for joined in self._joined([*complete, current]).values()]
        sign = 1 if self._metric.lower_is_better else -1
        return complete[int(np.argmin(sign * np.sum(ratios, axis=0)[:-1]))] if ratios else complete[-1]

    def _without_gain(self, scores: LoopScores) -> bool:
        """Whether the gate finds no benchmark of an earlier scoring to be worse than this one."""
        ago = self.settings.stop_without_gain
        if ago is None or len(self._past) < ago:
            return False
        result = self._compare(scores, self._past[-ago], replace(self._gate, max_regression=0.0))
        return result is not None and result.passed

    def _against_forecast(self, scores: LoopScores) -> GateResult | None:
        """The gate against a power law fitted to all earlier scorings; None while there are too few."""
        runs = [run for run in (*self._past, scores) if _time(run) > 0]
        if len(runs) <= FEWEST_POINTS:
            return None
        times = [_time(run) for run in runs]
        rows = [
            {"run": "training", "tokens": time, "benchmark": benchmark, "metric": self._metric.name, "value": value}
            for benchmark, joined in self._joined(runs).items()
            for time, value in zip(times, _ratios(joined), strict=True)
        ]
        if not rows:
            return None
        table = pd.DataFrame(rows)
        try:
            return gate(
                table, forecast=table, metric=self.settings.metric, run="training",
                max_regression=self.settings.max_regression, alpha=self.settings.alpha,
            )  # fmt: skip
        except GateError as error:  # for example a step that was scored twice; training goes on without a verdict
            logger.warning("step %d: %s", scores.step, error)
            return None

    def _joined(self, runs: Sequence[LoopScores]) -> dict[str, JoinedItems]:
        """The items that all scorings share, by benchmark, where they are enough for a test."""
        metric, shared = self._metric.name, {}
        for name in [scores.benchmark for scores in runs[-1].benchmarks if metric in scores.values]:
            sides = [scores for run in runs for scores in run.benchmarks if scores.benchmark == name]
            ids = set.intersection(*({*scores.item_ids} for scores in sides))
            if len(sides) < len(runs) or len(ids) < MIN_ITEMS:
                continue
            rows = [[i for i, item in enumerate(scores.item_ids) if item in ids] for scores in sides]
            pairs = list(zip(sides, rows, strict=True))
            shared[name] = JoinedItems(
                np.stack([scores.values[metric].numerator[row] for scores, row in pairs]),
                np.stack([scores.values[metric].denominator[row] for scores, row in pairs]),
            )
        return shared


def _time(scores: LoopScores) -> float:
    """Tokens trained on, or steps where these are unknown."""
    return float(scores.step if np.isnan(scores.tokens) else scores.tokens)


def _ratios(joined: JoinedItems) -> FloatArray:
    """Score of each side, shape (sides,)."""
    ratios: FloatArray = joined.numerator.sum(axis=1) / joined.denominator.sum(axis=1)
    return ratios
