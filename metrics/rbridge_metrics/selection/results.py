"""What trying scorers found: how each did, the proxies by themselves, and which scorer to trust."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.alignment import FloatArray
from rbridge_metrics.errors import SelectionError
from rbridge_metrics.selection.scorers import Scorer


class Gain(NamedTuple):
    """How much better than the best single proxy on new models of tasks left out, over tasks.

    Attributes:
        mean: of the differences of rho.
        stderr: its standard error over the tasks.
        clear: the mean is beyond the quantile of Student's t for a family of ``comparisons`` one-sided tests.
    """

    mean: float
    stderr: float
    clear: bool


@dataclass(frozen=True)
class Trial:
    """How one scorer did. Spearman's rho throughout.

    Attributes:
        name: of the scorer.
        by_split: shape (splits, 2), on both tasks of each pair left out.
        by_task: shape (tasks,), mean over the splits that leave the task out.
        new_models_by_task: the same with the models left out as well, in folds.
        chance: shape (permutations,), mean rho with the models' accuracies permuted and all else done again.
        p: share of the permutations, with the observation, that do as well or better.
        p_corrected: the same for the best of all scorers tried (max-statistic).
        gain: over the best single proxy; None for the univariate scorer.
        scorer: fitted on all tasks.
        chosen: shape (splits, proxies taken), where the scorer takes few.
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
        """Standard error over tasks. Splits overlap, so they are not counted; nor are the models ever others."""
        return float(self.by_task.std(ddof=1) / math.sqrt(len(self.by_task)))

    @property
    def new_models(self) -> float:
        """Mean on models that were left out as well as tasks."""
        return float(self.new_models_by_task.mean())

    def chance_interval(self, level: float = 0.9) -> tuple[float, float]:
        """The middle of what chance gives."""
        low, high = np.quantile(self.chance, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


@dataclass(frozen=True)
class Single:
    """Every proxy by itself, its sign taken from the other tasks.

    Attributes:
        by_task: shape (proxies, tasks), rho on tasks left out.
        best: place of the proxy with the highest mean: chosen with hindsight.
        p_corrected: of that mean, for the best of all proxies (max-statistic).
    """

    by_task: FloatArray
    best: int
    p_corrected: float


@dataclass(frozen=True)
class ScorerTrials:
    """All scorers side by side.

    Attributes:
        trials: one for each scorer tried.
        single: the proxies by themselves.
        trusted: name of the scorer to rank with, None where none is better than chance.
        alpha: probability of calling anything better than chance where nothing is.
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
        for one in self.trials:
            if one.name == name:
                return one
        raise SelectionError(
            f"no scorer {name!r} was tried; expected one of {', '.join(one.name for one in self.trials)}"
        )
