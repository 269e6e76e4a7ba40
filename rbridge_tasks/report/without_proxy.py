"""Accuracies predicted without the proxy: from the training tokens alone, or as the last known value."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rbridge_metrics.errors import FitError
from rbridge_metrics.regression import ProxyRegressor
from rbridge_tasks.decisions.fit_file import FittedGroup
from rbridge_tasks.report.run_lines import thinned

_SHOWN = 12  # accuracies of a run on a chart


class WithoutProxy:
    """Predictions from a group's points without the proxy.

    Attributes:
        points: tokens, accuracy in percent and run of what was fitted; empty where tokens are not known.
        curve: accuracy as a function of the logarithm of tokens; None where it cannot be fitted.
    """

    def __init__(self, group: FittedGroup, recipe: str) -> None:
        known = [(point.order, point.y, point.run) for point in group.points if point.order is not None]
        points = pd.DataFrame(known, columns=["tokens", "accuracy", "run"])
        self.points = points.astype({"tokens": np.float64, "accuracy": np.float64})
        self.curve: ProxyRegressor | None = None
        trained = self.points[self.points["tokens"] > 0]
        if len(trained):
            try:
                curve = ProxyRegressor(recipe=recipe)
                self.curve = curve.fit(np.log(trained["tokens"].to_numpy()), trained["accuracy"].to_numpy())
            except FitError:
                pass  # too few points, or all of one size: the cells of the column are dashes

    def by_tokens(self, tokens: float) -> float:
        """Accuracy by the tokens alone, NaN where there is no curve."""
        if self.curve is None or not tokens > 0:
            return math.nan
        return float(self.curve.predict(np.log([tokens]))[0])

    def measured(self, run: str) -> list[tuple[float, float]]:
        """Tokens and accuracies of a run, a dozen at most."""
        rows = thinned(self.points[self.points["run"] == run].sort_values("tokens", kind="stable"), _SHOWN)
        return [*zip(rows["tokens"], rows["accuracy"], strict=True)]

    def last_known(self, run: str, tokens: float) -> float:
        """The latest accuracy of the run that was known up to these tokens."""
        rows = self.points[(self.points["run"] == run) & (self.points["tokens"] <= tokens)]
        return float(rows.sort_values("tokens")["accuracy"].iloc[-1]) if len(rows) else math.nan
