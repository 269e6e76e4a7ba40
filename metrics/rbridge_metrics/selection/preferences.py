"""The squared hinge loss of all pairs of models within tasks, for many orders of the models at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rbridge_metrics.selection.labels import Labels
from rbridge_metrics.selection.population import Indices

Float32 = npt.NDArray[np.float32]

#: Added to the utility of models that are left out, which stand above all others: no pair with them is violated.
_FAR = np.float32(1e6)


class Preferences(NamedTuple):
    """The models of each task in ascending order of accuracy; those left out of training come last.

    Attributes:
        order: models by position, shape (draws, tasks, models).
        level: shape of ``order``, equal for neighbours of equal accuracy, and ascending.
        hidden: number of models left out, shape (draws,).
    """

    order: Indices
    level: Indices
    hidden: Indices

    @classmethod
    def of(cls, labels: Labels) -> Preferences:
        """The order of the models by their labels."""
        left_out = labels.known[:, None] == 0
        ranked = np.where(left_out, np.inf, labels.ranked)
        order = ranked.argsort(axis=-1, kind="stable")
        sorted_ranks = np.take_along_axis(ranked, order, -1)
        step = (sorted_ranks[..., 1:] > sorted_ranks[..., :-1]) | np.isinf(sorted_ranks[..., 1:])
        level = np.concatenate([np.zeros_like(order[..., :1]), step.cumsum(axis=-1)], axis=-1)
        return cls(order, level, left_out.sum(axis=(1, 2)))

    def of_tasks(self, tasks: Indices) -> Preferences:
        """The same on some of the tasks."""
        return Preferences(self.order[:, tasks], self.level[:, tasks], self.hidden)

    def draws(self, at: Indices | slice) -> Preferences:
        """Some of the draws."""
        return Preferences(self.order[at], self.level[at], self.hidden[at])


class PairLoss:
    """Violations of the pairs of ``Preferences``.

    Models are held in ascending order, as (models, draws * tasks): the pairs whose places differ by n are two
    overlapping slices, so that each pair is computed once.

    Attributes:
        pull_at_zero: ``pull`` where all utilities are equal.
    """

    def __init__(self, preferences: Preferences) -> None:
        draws, tasks, models = preferences.order.shape
        column = np.arange(draws * tasks)
        order = preferences.order.reshape(-1, models).T
        level = preferences.level.reshape(-1, models).T
        self._sorted = order + column * models
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(models)[:, None], axis=0)
        self._back = (place * len(column) + column).T.reshape(draws, -1)
        self._untied: list[Float32] = []
        for apart in range(1, models):
            untied = level[apart:] > level[:-apart]
            if untied.all():
                break
            self._untied.append(untied.astype(np.float32))
        hidden = np.repeat(preferences.hidden, tasks)
        self._far = _FAR * np.maximum(np.arange(models)[:, None] - (models - hidden) + 1, 0).astype(np.float32)
        self._any_hidden = bool(hidden.any())
        self.pull_at_zero = self.pull(np.zeros(self._back.shape, dtype=np.float32))

    def pull(self, utility: Float32) -> Float32:
        """Half the negative gradient of the loss: the sum of a model's violations, as the better minus as the worse.

        Args:
            utility: shape (draws, tasks * models), as is the result.
        """
        better = utility.take(self._sorted)
        if self._any_hidden:
            better += self._far
        worse = better + np.float32(1.0)
        pull = np.zeros_like(better)
        for apart in range(1, len(better)):
            violation = worse[:-apart] - better[apart:]
            np.maximum(violation, 0.0, out=violation)
            if apart <= len(self._untied):
                violation *= self._untied[apart - 1]
            pull[apart:] += violation
            pull[:-apart] -= violation
        by_draw: Float32 = pull.take(self._back)
        return by_draw
