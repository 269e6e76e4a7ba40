"""Random populations of models for the tests of selection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def features(rng: np.random.Generator, *, models: int, tasks: int, proxies: int, alike: float = 1.0) -> Values:
    """Proxies of shape (models, tasks, proxies), correlated with each other; ``alike`` sets what tasks share."""
    families = rng.normal(size=(models, 6)) @ rng.normal(size=(6, proxies)) / 2.5
    return alike * families[:, None] + 0.7 * rng.normal(size=(models, tasks, proxies))


def by_three(rng: np.random.Generator, values: Values, noise: float = 0.5) -> Values:
    """Accuracies (models, tasks) computed from proxies 1, 4 and 7, with noise."""
    ability = values[..., 1] - values[..., 4] + 0.8 * values[..., 7]
    return np.asarray(1 / (1 + np.exp(-ability - noise * rng.normal(size=ability.shape))))


def by_itself(rng: np.random.Generator, models: int, tasks: int, shared: float = 1.0) -> Values:
    """Accuracies independent of every proxy; ``shared`` scales the part of a model that is equal on all tasks."""
    return np.asarray(shared * rng.normal(size=(models, 1)) + 0.5 * rng.normal(size=(models, tasks)))
