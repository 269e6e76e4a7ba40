"""The target's accuracy later in training: a proxy's forecast put through the curves of ``fit.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rbridge_metrics.forecast import accuracy_through_proxy
from rbridge_tasks.decisions.fit_file import FitFile, FitFileError, FittedGroup
from rbridge_tasks.decisions.run_forecasts import Later, RunForecast
from rbridge_tasks.tables.sizes import count_text

_SAME_SIZE = 0.05  # relative


@dataclass(frozen=True)
class AccuracyFits:
    """The curves of a file that turn one metric into accuracies."""

    file: FitFile
    metric: str

    @classmethod
    def of(cls, file: FitFile, metric: str) -> AccuracyFits:
        """Check that the file is about this metric.

        Raises:
            FitFileError: it is about another one, or tells groups apart by something that a run does not have.
        """
        fitted = file.source.get("proxy_metric")
        if fitted is not None and fitted != metric:
            raise FitFileError(f"{file.path} was fitted to {fitted}, not to {metric}; forecast with --metric {fitted}")
        strange = [name for name in file.columns if name not in ("benchmark", "metric")]
        if strange:
            raise FitFileError(
                f"{file.path} has fits by {', '.join(file.columns)}; a forecast knows only benchmark and metric: "
                "fit with --group benchmark, or to a score table"
            )
        return cls(file, metric)

    def fitted(self, benchmark: str) -> FittedGroup | None:
        """The curve of a benchmark: its own, or the only one of a file that has no benchmarks; None without one."""
        known = {"benchmark": benchmark, "metric": self.metric}
        matching = (
            group for group in self.file.groups if all(known[name] == value for name, value in group.key.items())
        )
        return next(matching, None)

    def later(self, forecast: RunForecast, times: Sequence[float], level: float) -> list[Later]:
        """Accuracies in percent at these tokens; none where the benchmark has no curve."""
        group = self.fitted(forecast.run.benchmark)
        if group is None or not times:
            return []
        value, (low, high) = accuracy_through_proxy(forecast.law, group.model, times, level=level)
        return [Later(*row) for row in np.stack([np.asarray(times), value, low, high], axis=1).tolist()]

    def doubts(self, forecasts: Sequence[RunForecast], times: Sequence[float]) -> list[str]:
        """What lacks a curve, lies outside those fitted, or is of another size.

        Raises:
            FitFileError: no run's benchmark has a curve; names those that do.
        """
        with_curve = [(one, group) for one in forecasts if (group := self.fitted(one.run.benchmark)) is not None]
        if not with_curve:
            missing = {"benchmark": forecasts[0].run.benchmark, "metric": self.metric}
            self.file.group(*(missing[name] for name in self.file.columns))
        notes = []
        lacking = sorted({one.run.benchmark for one in forecasts if self.fitted(one.run.benchmark) is None})
        if lacking:
            notes.append(f"{self.file.path} has no fit of {', '.join(lacking)}: no accuracy there")
        outside = sum(
            int(group.model.outside_range(one.law.predict(times)).sum()) for one, group in with_curve if times
        )
        if outside:
            notes.append(
                f"{outside} of {len(with_curve) * len(times)} forecasts of {self.metric} lie outside the scores "
                "fitted; the accuracy there rests on the shape of the curve alone"
            )
        sizes = self.file.source.get("proxy_params") or []
        others = {
            one.run.params for one in forecasts if sizes and not np.isclose(one.run.params, sizes, _SAME_SIZE).any()
        }
        if others:
            notes.append(
                f"the fit is to proxies of {', '.join(map(count_text, sizes))} params, and runs of "
                f"{', '.join(map(count_text, sorted(others)))} are put through it"
            )
        return notes
