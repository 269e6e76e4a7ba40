"""The runs of a ladder on one benchmark: their ends, and points along their training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbridge_metrics.alignment import FloatArray, IntArray
from rbridge_metrics.compute import training_flops

_END = 0.1  # part of a run's tokens whose trend gives its end
_WARM_UP = 0.1  # part of a run's tokens that says nothing on the relation of loss and accuracy
_STAGES = 5
_FEWEST = 3  # checkpoints for a trend


@dataclass(frozen=True)
class Rungs:
    """A ladder on one benchmark. Losses are above 0 and lower is better; accuracies are fractions.

    Attributes:
        params, tokens: size and training tokens of each run, shape (runs,).
        loss, accuracy: at the end of each run, shape (runs,).
        run: of each point, the index of its run, shape (points,).
        point_loss, point_accuracy: smoothed points along the runs, shape (points,).
        floor: accuracy of chance.
        scatter: standard deviation of the accuracy of one checkpoint around its run, a fraction; NaN if unknown.
    """

    params: FloatArray
    tokens: FloatArray
    loss: FloatArray
    accuracy: FloatArray
    run: IntArray
    point_loss: FloatArray
    point_accuracy: FloatArray
    floor: float
    scatter: float = np.nan

    @property
    def flops(self) -> FloatArray:
        """Training compute of each run, shape (runs,)."""
        return training_flops(self.params, self.tokens)

    def above_chance_pct(self, accuracy: FloatArray) -> FloatArray:
        """Accuracies with chance at 0 and 1 at 100, any shape."""
        return 100.0 * (accuracy - self.floor) / (1.0 - self.floor)

    def as_fraction(self, above_chance_pct: FloatArray) -> FloatArray:
        """The inverse of ``above_chance_pct``."""
        return self.floor + (1.0 - self.floor) * 0.01 * above_chance_pct

    def point_weights(self, weights: FloatArray) -> FloatArray:
        """Weights of points, of which those of a run share its weight: (fits, runs) to (fits, points)."""
        return np.asarray(weights[:, self.run] / np.bincount(self.run, minlength=len(self.params))[self.run])


def end_of_run(tokens: FloatArray, values: FloatArray) -> tuple[float, float]:
    """Value at the end of a run, from the trend of the last tenth of its tokens, and the scatter around that trend.

    Args:
        tokens: increasing, above 0, shape (checkpoints,).
        values: shape (checkpoints,).

    Returns:
        The trend's value at the last checkpoint and the standard deviation of a checkpoint around the trend. With fewer
        than three checkpoints in the last tenth: the last value, and NaN.

    >>> end_of_run(np.array([1.0, 2.0, 100.0]), np.array([0.1, 0.2, 0.3]))
    (0.3, nan)
    """
    last = tokens >= (1.0 - _END) * tokens[-1]
    if np.count_nonzero(last) < _FEWEST:
        return float(values[-1]), float("nan")
    at = np.log(tokens[last] / tokens[-1])
    slope, end = np.polyfit(at, values[last], 1)
    residual = values[last] - end - slope * at
    return float(end), float(np.sqrt((residual**2).sum() / (at.size - 2)))


def stages(tokens: FloatArray, loss: FloatArray, accuracy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Loss and accuracy along one run: means over up to five stages of equal length after the warm-up.

    >>> loss, accuracy = stages(np.arange(1.0, 101.0), np.full(100, 2.0), np.linspace(0.0, 0.99, 100))
    >>> loss, accuracy.round(3)
    (array([2., 2., 2., 2., 2.]), array([0.18 , 0.365, 0.545, 0.725, 0.905]))
    """
    kept = np.flatnonzero(tokens >= _WARM_UP * tokens[-1])
    parts = np.array_split(kept, min(_STAGES, kept.size))
    return np.array([loss[part].mean() for part in parts]), np.array([accuracy[part].mean() for part in parts])
