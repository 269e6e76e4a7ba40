"""Test whether a checkpoint is worse than its run's history predicts.

The past is a curve with a predictive distribution (``predictive``): what a further checkpoint would score if the run
went on as it went. Its spread is the scatter of the run's own checkpoints about the curve. All of them were scored on
the same items, so how hard those are is in the curve and not in the spread; the standard error over items, which says
how far a score would move with other items, has no place in this comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbridge_metrics.errors import ForecastError
from rbridge_metrics.power_law import PowerLaw


@dataclass(frozen=True)
class ForecastChange:
    """How a checkpoint differs from the forecast of it; positive is worse.

    Attributes:
        baseline: the forecast.
        current: the score.
        change: from one to the other in the direction of worse, in the score's own unit.
        low, high: interval of the change: the score against both ends of the prediction interval.
        p_value: probability that a run that went on as it went would come out so much worse than is tolerated, or more.
        checkpoints: that the forecast was made from.
    """

    baseline: float
    current: float
    change: float
    low: float
    high: float
    p_value: float
    checkpoints: int

    @property
    def relative(self) -> float:
        """The change as a share of the forecast; NaN where that is 0."""
        return self.change / abs(self.baseline) if self.baseline else float("nan")


def forecast_change(
    law: PowerLaw, tokens: float, score: float, *, lower_is_better: bool, tolerated: float = 0.0, level: float = 0.9
) -> ForecastChange:
    """Compare a checkpoint with the forecast that its run's earlier checkpoints give.

    Args:
        law: fitted to the checkpoints before this one.
        tokens: of this checkpoint, after all of those.
        score: what it scored.
        lower_is_better: True for an NLL, False for an accuracy.
        tolerated: change for the worse that is no regression, as a share of the forecast.
        level: of the interval.

    Raises:
        ForecastError: a score that is not finite, a tolerance below 0, or a time that is not after the run's past.

    >>> from rbridge_metrics import fit_power_law
    >>> t = np.arange(1.0, 13.0)
    >>> nll = 0.8 + 0.4 * t**-0.5 + 0.001 * np.cos(t**2)
    >>> law = fit_power_law(t[:-1], nll[:-1], bounds=(0, np.inf))
    >>> went_on = forecast_change(law, 12.0, nll[-1], lower_is_better=True)
    >>> worse = forecast_change(law, 12.0, 1.02 * nll[-1], lower_is_better=True)
    >>> went_on.p_value > 0.1, worse.p_value < 0.001
    (True, True)
    """
    if not np.isfinite(score) or tolerated < 0 or not 0 < level < 1:
        raise ForecastError(
            f"a score of {score:g}, a tolerance of {tolerated:g}, level {level:g}; expected a finite score, a "
            "tolerance of 0 or more, and 0 < level < 1"
        )
    if tokens <= law.tokens[-1]:
        raise ForecastError(
            f"a checkpoint at {tokens:g} tokens and a past up to {law.tokens[-1]:g}; fit what came before it"
        )
    sign = 1.0 if lower_is_better else -1.0
    forecast = float(law.predict(tokens))
    unusual = score - sign * tolerated * abs(forecast)
    below = law.probability_below(tokens, unusual)
    ends = law.interval([tokens], level=level)
    low, high = sorted(sign * (score - float(end[0])) for end in ends)
    return ForecastChange(
        baseline=forecast,
        current=float(score),
        change=sign * (score - forecast),
        low=low,
        high=high,
        p_value=1.0 - below if lower_is_better else below,
        checkpoints=law.tokens.size,
    )


def detectable_forecast_change(
    law: PowerLaw, tokens: float, *, lower_is_better: bool, alpha: float, power: float, tests: int = 1
) -> float:
    """The change for the worse, beyond what is tolerated, that ``forecast_change`` finds with a given probability.

    The distance from the score at which an alarm is raised, at ``alpha / tests``, to the one that the forecast exceeds
    with probability ``power``: shifted by so much, a checkpoint that went on as the run went is found that often.

    Args:
        law: fitted to the checkpoints before.
        tokens: of the checkpoint.
        lower_is_better: True for an NLL.
        alpha: false-alarm rate of the whole family.
        power: probability to find it.
        tests: number of benchmarks.

    Raises:
        ForecastError: probabilities outside (0, 1), or no test.
    """
    if not (0 < alpha < 1 and 0 < power < 1 and tests >= 1):
        raise ForecastError(f"alpha {alpha:g}, power {power:g}, {tests} tests; expected probabilities, 1 test or more")
    tail = alpha / tests
    limit, usual = law.quantiles(tokens, [1 - tail, 1 - power] if lower_is_better else [tail, power])
    return max(float(limit - usual if lower_is_better else usual - limit), 0.0)
