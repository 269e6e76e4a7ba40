"""Accuracy at a size and tokens, in one step or in two, by several forms: what a backtest compares.

Two steps: a law gives the loss at the target, a curve fitted along the runs turns that into an accuracy. One step: a
law of the logit of the accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from rbridge_metrics.alignment import FloatArray, IntArray
from rbridge_metrics.ladder.curves import CURVES, Curve, CurveName, fit_curve
from rbridge_metrics.ladder.laws import FORMS, Form, Law, fit_law
from rbridge_metrics.ladder.rungs import Rungs

_EDGE = 1e-6  # accuracies stay this far from chance and from 1, in per cent


@dataclass(frozen=True)
class Method:
    """A way from size and tokens to accuracy.

    Attributes:
        form: of the law.
        curve: what the logit of the accuracy above chance is straight in; None for one step.
    """

    form: Form
    curve: CurveName | None = None

    @property
    def steps(self) -> str:
        return "one step" if self.curve is None else "two steps"

    @property
    def name(self) -> str:
        return f"{self.steps}, {self.form.name}" + (f", {self.curve}" if self.curve else "")


METHODS = (*(Method(*pair) for pair in product(FORMS, CURVES)), *(Method(form) for form in FORMS))


@dataclass(frozen=True)
class Fitted:
    """Every law and curve of a ladder, under each row of weights.

    Attributes:
        rungs: what they were fitted to.
        losses: laws of the loss by the name of their form.
        logits: laws of the accuracy by the name of their form.
        curves: by name.
    """

    rungs: Rungs
    losses: dict[str, Law]
    logits: dict[str, Law]
    curves: dict[str, Curve]

    def predict(self, params: FloatArray, tokens: FloatArray, *, rows: slice = slice(None)) -> FloatArray:
        """Accuracies, fractions, by every method and row of the fits: (points,) each to (methods, rows, points)."""
        loss = {name: law.of_rows(rows).predict(params, tokens) for name, law in self.losses.items()}
        above = [
            self.logits[method.form.name].of_rows(rows).predict(params, tokens)
            if method.curve is None
            else self.curves[method.curve].of_rows(rows).predict(loss[method.form.name])
            for method in METHODS
        ]
        return self.rungs.as_fraction(np.clip(np.stack(above), _EDGE, 100.0 - _EDGE))

    def refitted(self, weights: FloatArray, start: IntArray) -> Fitted:
        """The same fitted to other run weights, shape (fits, runs), each from row ``start``, shape (fits,)."""
        rungs, place = self.rungs, (self.rungs.params, self.rungs.tokens)
        above, points = map(rungs.above_chance_pct, (rungs.accuracy, rungs.point_accuracy))
        point_weights = rungs.point_weights(weights)
        return Fitted(
            rungs,
            {name: law.refitted(*place, rungs.loss, weights, start) for name, law in self.losses.items()},
            {name: law.refitted(*place, above, weights, start) for name, law in self.logits.items()},
            {name: fit.refitted(rungs.point_loss, points, point_weights, start) for name, fit in self.curves.items()},
        )


def fit_all(rungs: Rungs, weights: FloatArray) -> Fitted:
    """Fit every law and curve under each row of run weights, shape (fits, runs)."""
    place = rungs.params, rungs.tokens
    above, points = map(rungs.above_chance_pct, (rungs.accuracy, rungs.point_accuracy))
    return Fitted(
        rungs,
        {form.name: fit_law(form, *place, rungs.loss, weights, of_accuracy=False) for form in FORMS},
        {form.name: fit_law(form, *place, above, weights, of_accuracy=True) for form in FORMS},
        {name: fit_curve(name, rungs.point_loss, points, rungs.point_weights(weights)) for name in CURVES},
    )
