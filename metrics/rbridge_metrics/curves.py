"""A fitted curve: from proxy scores to accuracies, with the scores it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbridge_metrics.functions import Floats, Function
from rbridge_metrics.paper_recipe import FORMULAS, NAMES, evaluate


@dataclass(frozen=True)
class RobustCurve:
    """A function of ``u = (x - centre) / scale``, cut to 0..100 and no steeper outside its range than at its end.

    Attributes:
        function: the family.
        params: shape (n_params,).
        centre, scale: of the scores; the scale is negative where accuracy falls as the score rises.
        range: lowest and highest score fitted.
    """

    function: Function
    params: Floats
    centre: float
    scale: float
    range: tuple[float, float]

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def names(self) -> tuple[str, ...]:
        return self.function.names

    @property
    def formula(self) -> str:
        return self.function.formula

    def __call__(self, x: Floats) -> Floats:
        """Accuracy in percent: (points,) to (points,)."""
        low, high = sorted((end - self.centre) / self.scale for end in self.range)
        with np.errstate(over="ignore"):  # any score beyond a million deviations gives the same limit
            u = np.clip((x - self.centre) / self.scale, -1e6, 1e6)
        accuracy = self.function.beyond(u, self.params, np.array([low]), np.array([high]))
        return np.clip(accuracy, 0.0, 100.0)


@dataclass(frozen=True)
class PaperCurve:
    """A function of the published recipe: of the score itself, unbounded, NaN where it is not defined."""

    name: str
    params: Floats
    range: tuple[float, float]

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES[self.name]

    @property
    def formula(self) -> str:
        return FORMULAS[self.name]

    def __call__(self, x: Floats) -> Floats:
        """Accuracy in percent: (points,) to (points,)."""
        return evaluate(self.name, self.params, x)


Curve = RobustCurve | PaperCurve
