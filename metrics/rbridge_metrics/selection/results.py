"""Results of the scorers tried on a population, of single proxies, and the scorer to use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.bootstrap import tails
from rbridge_metrics.errors import SelectionError
from rbridge_metrics.selection.scorers import Scorer


class Gain(NamedTuple):
    """Gain in rho over the best single proxy, on new models and left-out tasks.

    Attributes:
        mean: over tasks.
        stderr: standard error of the mean.
        clear: the mean is significant by one-sided t tests, corrected for the number of scorers.
    """

    mean: float
    stderr: float
    clear: bool


@dataclass(frozen=True)
class Trial:
    """Results of one scorer, as Spearman's rho.

    Attributes:
        name: of the scorer.
        by_split: shape (splits, 2), on both tasks of each pair left out.
        by_task: shape (tasks,), mean over the splits that leave the task out.
        new_models_by_task: the same with models left out as well, in folds.
        chance: shape (permutations,), mean rho after permuting the models' accuracies and repeating everything.
        p: share of the permutations and the observation with at least the observed rho.
        p_corrected: the same for the best of all scorers tried (max-statistic).
        gain: over the best single proxy; None for the univariate scorer.
        scorer: trained on all tasks.
        chosen: shape (splits, proxies chosen), for a scorer of few proxies; else None.
    """

    name: str
    by_split: FloatArray
    by_task: FloatArray
    new_models_by_task: FloatArray
    chance: FloatArray
    p: float
    p_corrected: float
    gain: Gain | None
    scorer: Scorer
    chosen: npt.NDArray[np.intp] | None

    @property
    def mean(self) -> float:
        """Mean over splits and their tasks."""
        return float(self.by_split.mean())

    @property
    def spread(self) -> float:
        """Standard deviation over splits and their tasks."""
        return float(self.by_split.std(ddof=1))

    @property
    def stderr(self) -> float:
        """Standard error over tasks, since splits overlap. All tasks share the models."""
        return float(self.by_task.std(ddof=1) / math.sqrt(len(self.by_task)))

    @property
    def new_models(self) -> float:
        """Mean on left-out models and tasks."""
        return float(self.new_models_by_task.mean())

    def chance_interval(self, level: float = 0.9) -> tuple[float, float]:
        """The middle of the distribution under chance."""
        low, high = np.quantile(self.chance, tails(level))
        return float(low), float(high)


@dataclass(frozen=True)
class Single:
    """Every single proxy, its sign learnt on the other tasks.

    Attributes:
        by_task: shape (proxies, tasks), rho on tasks left out.
        best: position of the proxy with the highest mean, chosen with hindsight.
        p_corrected: p value of that mean, corrected for the number of proxies (max-statistic).
    """

    by_task: FloatArray
    best: int
    p_corrected: float


@dataclass(frozen=True)
class ScorerTrials:
    """Results of all scorers.

    Attributes:
        trials: one for each scorer tried.
        single: the single proxies.
        trusted: name of the scorer to rank by; None if none is better than chance.
        alpha: probability of calling a scorer better than chance if none is.
        skipped: scorers that could not be tried, with the reason.
    """

    trials: tuple[Trial, ...]
    single: Single
    trusted: str | None
    alpha: float
    skipped: dict[str, str]

    def trial(self, name: str) -> Trial:
        """The trial of a scorer.

        Raises:
            SelectionError: it was not tried.
        """
        trials = {trial.name: trial for trial in self.trials}
        if name not in trials:
            raise SelectionError(f"no scorer {name!r} was tried; expected one of {', '.join(trials)}")
        return trials[name]
