"""Step 2: accuracy from a loss, by a rising curve between about chance and 1.

``f + (100 - f) / (1 + exp(-(a + b u)))`` in per cent above chance, u the standardised loss, better to the right. The
floor f has a prior at chance with a spread of a few points: models that have learnt little often score a little below
chance, where the longest or the most frequent choice is wrong more often than not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rbridge_metrics.alignment import FloatArray, IntArray
from rbridge_metrics.levenberg_marquardt import descend, in_batches

CurveName = Literal["loss", "log loss"]
CURVES: tuple[CurveName, ...] = ("loss", "log loss")

#: Standard deviation of the floor around chance, in per cent of the range from chance to 1; and its limits.
FLOOR_SPREAD, FLOOR_LIMITS = 4.0, (-25.0, 15.0)
_LIMITS = np.array([[-20.0, 0.0, FLOOR_LIMITS[0]], [20.0, 20.0, FLOOR_LIMITS[1]]])
_NOISE_PCT = 1.0
_STEPS = 40


@dataclass(frozen=True)
class Curve:
    """A fitted curve.

    Attributes:
        name: what the logit of the accuracy is straight in.
        centre, scale: of the loss, or of its logarithm, over the points fitted.
        params: a, b and f, shape (fits, 3).
    """

    name: CurveName
    centre: float
    scale: float
    params: FloatArray

    @property
    def limits(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest value of each parameter."""
        return _LIMITS[0], _LIMITS[1]

    def __call__(self, u: FloatArray, params: FloatArray) -> FloatArray:
        """Accuracy above chance in per cent.

        Args:
            u: standardised losses, shape (fits, points), or (1, points) for all fits.
            params: a, b and f of each fit, shape (fits, 3).

        Returns:
            Shape (fits, points).
        """
        return above_floor(params[..., 2:3], params[..., :1] + params[..., 1:2] * u)

    def slopes(self, u: FloatArray, params: FloatArray, fitted: FloatArray) -> FloatArray:
        """Derivatives by the parameters, shape (fits, 3, points)."""
        steep, by_floor = above_floor_slopes(params[:, 2:3], fitted)
        return np.stack([steep, steep * u, by_floor], axis=1)

    def predict(self, loss: FloatArray) -> FloatArray:
        """Accuracy above chance in per cent, (fits or 1, points) to (fits, points)."""
        return self(self.scaled(loss), self.params)

    def refitted(self, loss: FloatArray, above_chance_pct: FloatArray, weights: FloatArray, start: IntArray) -> Curve:
        """The curve fitted to other weights, shape (fits, points), each from the row ``start`` of its parameters."""
        u = self.scaled(loss)[None]
        precision = np.array([0.0, 0.0, (_NOISE_PCT / FLOOR_SPREAD) ** 2])

        def fit(rows: slice) -> FloatArray:
            return descend(
                self, u, above_chance_pct, weights[rows], self.params[start[rows]],
                noise=_NOISE_PCT, precision=precision, steps=_STEPS,
            )  # fmt: skip

        return replace(self, params=in_batches(fit, len(start)))

    def of_rows(self, rows: slice) -> Curve:
        """The curve with some of its fits."""
        return replace(self, params=self.params[rows])

    def scaled(self, loss: FloatArray) -> FloatArray:
        """u, higher is better."""
        return (self.centre - (np.log(loss) if self.name == "log loss" else loss)) / self.scale


def fit_curve(name: CurveName, loss: FloatArray, above_chance_pct: FloatArray, weights: FloatArray) -> Curve:
    """Fit a curve to points under each row of weights.

    Args:
        name: which curve.
        loss: shape (points,), above 0.
        above_chance_pct: accuracies with chance at 0, shape (points,).
        weights: shape (fits, points).

    >>> loss = np.linspace(0.8, 1.2, 9)
    >>> above = 100 / (1 + np.exp(8 * (loss - 1)))
    >>> fit_curve("loss", loss, above, np.ones((1, 9))).predict(np.array([[0.7]])).round(1)
    array([[91.7]])
    """
    x = np.log(loss) if name == "log loss" else loss
    centre, scale = float(x.mean()), max(float(x.std()), 1e-12)
    share = np.clip(above_chance_pct / 100.0, 0.02, 0.98)
    middle = float(np.log(share / (1.0 - share)).mean())
    start = np.tile([middle, 0.5, 0.0], (len(weights), 1))
    return Curve(name, centre, scale, start).refitted(loss, above_chance_pct, weights, np.arange(len(weights)))


def above_floor(floor: FloatArray, z: FloatArray) -> FloatArray:
    """``f + (100 - f) / (1 + exp(-z))`` for floors f, shape (fits, 1), and z, shape (fits, points)."""
    return np.asarray(floor + (100.0 - floor) * (0.5 * (1.0 + np.tanh(0.5 * z))))


def above_floor_slopes(floor: FloatArray, fitted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Derivatives of ``above_floor`` by z and by f, given its values, shape (fits, points) each."""
    share = (fitted - floor) / (100.0 - floor)
    return (fitted - floor) * (1.0 - share), 1.0 - share
